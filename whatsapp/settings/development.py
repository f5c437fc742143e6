"""A checkout on one machine: secrets are made once, SMS go to a file, test numbers are accepted."""

from __future__ import annotations

import os

from whatsapp.settings import env
from whatsapp.settings.accounts import TOKEN_KEYS_FILE
from whatsapp.settings.base import *  # noqa: F403
from whatsapp.settings.base import CONTENT_POLICIES, CONTENT_SECURITY_POLICY, REST_FRAMEWORK, WHATSAPP_DATA
from whatsapp.settings.databases import database_entries
from whatsapp.settings.logs import hash_key, logging_config

_SECRETS: dict[str, str] = {}
if not (os.environ.get("SECRET_KEY") and os.environ.get("TOKEN_KEYS")):
    _SECRETS = env.local_secrets(WHATSAPP_DATA)

SECRET_KEY = os.environ.get("SECRET_KEY") or _SECRETS["SECRET_KEY"]
TOKEN_KEYS = env.token_keys(os.environ.get("TOKEN_KEYS") or _SECRETS["TOKEN_KEYS"], TOKEN_KEYS_FILE)
FRANKING_KEYS = env.franking_keys(os.environ.get("FRANKING_KEYS") or env.local_franking_keys(SECRET_KEY))
LOG_HASH_KEY = hash_key(SECRET_KEY)
LOGGING = logging_config(LOG_HASH_KEY, default_format="auto")
DATABASE_URL = os.environ.get("DATABASE_URL") or "postgresql://postgres@127.0.0.1:5432/whatsapp"
DATABASES = database_entries(DATABASE_URL, pool=True)

ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "*")
SMS_SENDER = os.environ.get("SMS_SENDER", "accounts.sms.FileSender")
PHONE_TEST_NUMBERS = True
CONSENT_PURPOSES = env.words("CONSENT_PURPOSES", "diagnostics")  # something to try
WHITENOISE_USE_FINDERS = True  # no collectstatic needed
# Found when asked for: to list a thousand files takes every process that starts, and every test client, a third of a second.
WHITENOISE_AUTOREFRESH = True

# Whoever opens an address of the API in a browser sees a page, which may have a style and nothing else.
REST_FRAMEWORK = {
    **REST_FRAMEWORK,
    "DEFAULT_RENDERER_CLASSES": [
        *REST_FRAMEWORK["DEFAULT_RENDERER_CLASSES"],
        "accounts.rest.pages.PageRenderer",
    ],
}
CONTENT_POLICIES = {
    "/": {
        **CONTENT_SECURITY_POLICY["DIRECTIVES"],
        "style-src": ["'self'"],
        "img-src": ["data:"],
    },
    **CONTENT_POLICIES,
}
