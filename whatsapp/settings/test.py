"""Tests: as development, with fixed secrets and without a pool, so that test databases can be dropped."""

from __future__ import annotations

import os

from whatsapp.settings import env
from whatsapp.settings.accounts import TOKEN_KEYS_FILE
from whatsapp.settings.base import *  # noqa: F403
from whatsapp.settings.databases import database_entries
from whatsapp.settings.logs import hash_key, logging_config

SECRET_KEY = os.environ.get("SECRET_KEY") or "tests-only-" + "s" * 50
TOKEN_KEYS = env.token_keys(os.environ.get("TOKEN_KEYS") or "test:" + "k" * 48, TOKEN_KEYS_FILE)
FRANKING_KEYS = env.franking_keys(os.environ.get("FRANKING_KEYS") or "test:" + "f" * 48)
LOG_HASH_KEY = hash_key(SECRET_KEY)
LOGGING = logging_config(LOG_HASH_KEY)
DATABASE_URL = os.environ.get("DATABASE_URL") or "postgresql://postgres@127.0.0.1:5432/whatsapp"
DATABASES = database_entries(DATABASE_URL, pool=False)

ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "*")
SMS_SENDER = os.environ.get("SMS_SENDER", "accounts.sms.FileSender")
PHONE_TEST_NUMBERS = True
WHITENOISE_USE_FINDERS = True
# Found when asked for: to list a thousand files takes every process that starts, and every test client, a third of a second.
WHITENOISE_AUTOREFRESH = True
# Staff passwords in tests need no strength.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Tests of many PINs would wait for their hashes; what is shipped is tested by itself.
PIN_MEMORY_KIB, PIN_PASSES = 1_024, 1
