"""What all environments share. Secrets, ``DATABASES`` and hosts are set by the environment's own module."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from kombu import Queue

from whatsapp.infra.build import data_folder
from whatsapp.settings import env, servers
from whatsapp.settings.abuse import *  # noqa: F403
from whatsapp.settings.accounts import *  # noqa: F403
from whatsapp.settings.breaker import *  # noqa: F403
from whatsapp.settings.cassandra import *  # noqa: F403
from whatsapp.settings.databases import *  # noqa: F403
from whatsapp.settings.devices import *  # noqa: F403
from whatsapp.settings.fsck import *  # noqa: F403
from whatsapp.settings.guards import *  # noqa: F403
from whatsapp.settings.moderation import *  # noqa: F403
from whatsapp.settings.pins import *  # noqa: F403
from whatsapp.settings.push import *  # noqa: F403
from whatsapp.settings.residency import *  # noqa: F403
from whatsapp.settings.rest import *  # noqa: F403
from whatsapp.settings.schedule import *  # noqa: F403
from whatsapp.settings.security import *  # noqa: F403
from whatsapp.settings.staff import *  # noqa: F403
from whatsapp.settings.staff import STAFF_APPS
from whatsapp.settings.storage import *  # noqa: F403

BASE_DIR = Path(__file__).resolve().parent.parent.parent
#: Folder of local state: development SMS, generated secrets, logs.
WHATSAPP_DATA = Path(data_folder()).absolute()

DEBUG = False  # also in development: the answers to errors are problem documents everywhere
ALLOWED_HOSTS: list[str] = []

INSTALLED_APPS = [
    # First: it replaces runserver. It loads Twisted, a seventh of the time that a process takes to start, for nobody else.
    *(["daphne"] if sys.argv[1:2] == ["runserver"] else []),
    *STAFF_APPS,
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",  # Swagger UI, served from here
    "django_celery_beat",
    "delivery",
    "accounts",
    "groups",
    "media",
    "notifications",
    "chats",
]

# All of them synchronous: a request crosses from the event loop to a thread once.
MIDDLEWARE = [
    "whatsapp.infra.requests.RequestMiddleware",  # first: what it times and names is the whole answer
    "django.middleware.security.SecurityMiddleware",
    "whatsapp.infra.headers.ContentPolicy",
    "corsheaders.middleware.CorsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "accounts.rest.middleware.ApiMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "whatsapp.urls"
ASGI_APPLICATION = "whatsapp.asgi.application"
APPEND_SLASH = True  # only the admin's addresses end in a slash

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# ``django.contrib.auth`` is for staff in the admin only; people who chat are ``accounts.Account``.
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True

STATIC_URL = "/static/"
STATIC_ROOT: str | None = None

# Bodies of the API are small JSON objects; uploads will have a parser of their own.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576
FILE_UPLOAD_MAX_MEMORY_SIZE = 1_048_576

# -- other servers ---------------------------------------------------------------------------------------------------------
#: For the asynchronous pools of gateways and workers; Django reads DATABASES, made from the same URL.
DATABASE_URL = os.environ.get("DATABASE_URL", "")
HOT_URL, BROKER_URL, CACHE_URL, ADMIN_LAYER_URL = servers.urls(os.environ)

CACHES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": CACHE_URL,
        "KEY_PREFIX": "cache",
        "OPTIONS": {"socket_timeout": 2, "socket_connect_timeout": 2},
    }
}

CHANNEL_LAYERS: dict[str, dict[str, Any]] = {
    # Groups "user.<id>" on the bus between gateways.
    "default": {"BACKEND": "whatsapp.infra.layer.BusLayer"},
    # Admin live pages and runserver. Without ``socket_timeout: None`` redis-py 8 ends every idle consumer after 5 s.
    "admin": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [{"address": ADMIN_LAYER_URL, "socket_timeout": None}], "prefix": "admin"},
    },
}

# -- Celery ----------------------------------------------------------------------------------------------------------------
CELERY_BROKER_URL = BROKER_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A broker that refuses to write, because its disk or its memory is full, is as good as away: a worker tries again.
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
CELERY_BROKER_TRANSPORT_OPTIONS = servers.broker_options(BROKER_URL, os.environ)
CELERY_RESULT_BACKEND = None
CELERY_RESULT_EXPIRES = None  # or beat would add a task that cleans up results
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True
CELERY_TASK_DEFAULT_QUEUE = "celery"
CELERY_TASK_QUEUES = [Queue(name) for name in ("celery", "fanout", "drain", "push", "media", "maintenance")]
# The first pattern that fits wins.
CELERY_TASK_ROUTES = (
    [
        ("delivery.tasks.drain", {"queue": "drain"}),
        ("delivery.tasks.fanout_lane", {"queue": "fanout"}),
        ("delivery.tasks.*", {"queue": "maintenance"}),
        ("accounts.tasks.*", {"queue": "maintenance"}),
        ("groups.tasks.*", {"queue": "maintenance"}),
        ("media.tasks.process", {"queue": "media"}),
        ("media.tasks.*", {"queue": "maintenance"}),
        ("notifications.tasks.push", {"queue": "push"}),
        # By the process that sends the others: with its credentials, and the way out of its network.
        ("notifications.tasks.test_push", {"queue": "push"}),
        ("notifications.tasks.*", {"queue": "maintenance"}),
        ("chats.tasks.*", {"queue": "maintenance"}),
        ("whatsapp.staff.tasks.*", {"queue": "maintenance"}),
    ],
)

# -- where requests come from -----------------------------------------------------------------------------------------------
#: Networks whose ``X-Forwarded-For`` is believed (CIDR); empty: the source address counts.
TRUSTED_PROXIES = env.words("TRUSTED_PROXIES")
