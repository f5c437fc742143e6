"""Production: nothing that matters has a default."""

from __future__ import annotations

import os

from whatsapp.settings import env
from whatsapp.settings.accounts import TOKEN_KEYS_FILE
from whatsapp.settings.base import *  # noqa: F403
from whatsapp.settings.databases import database_entries
from whatsapp.settings.logs import hash_key, logging_config

SECRET_KEY = env.required("SECRET_KEY")
#: Earlier ones, while a new one takes over (docs/security.md, "Secrets").
SECRET_KEY_FALLBACKS = env.words("SECRET_KEY_FALLBACKS")
TOKEN_KEYS = env.token_keys(TOKEN_KEYS_FILE or env.required("TOKEN_KEYS"), TOKEN_KEYS_FILE)
FRANKING_KEYS = env.franking_keys(env.required("FRANKING_KEYS"))
LOG_HASH_KEY = hash_key(SECRET_KEY)
LOGGING = logging_config(LOG_HASH_KEY)
DATABASE_URL = env.required("DATABASE_URL")
DATABASES = database_entries(DATABASE_URL, pool=True, max_size=env.number("DATABASE_POOL", 10))

ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")

# TLS ends in the load balancer beside the gateways, which sets this header and strips a client's own.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
# What `manage.py check --deploy` asks for and is not done here, on purpose.
SILENCED_SYSTEM_CHECKS = [
    # No redirect to https: the balancer speaks TLS only, and an API that redirects hides that a token went in clear.
    "security.W008",
    # No preloading: that is a promise about a whole domain, for its owner to make.
    "security.W021",
]
# A browser takes these names only over TLS, for this host alone (RFC 6265bis, section 4.1.3.2).
SESSION_COOKIE_SECURE = True
SESSION_COOKIE_NAME = "__Host-sessionid"
CSRF_COOKIE_SECURE = True
CSRF_COOKIE_NAME = "__Host-csrftoken"

# ``manage.py collectstatic`` fills it when an image is built.
STATIC_ROOT = os.environ.get("STATIC_ROOT") or None
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
