"""``LOGGING``, from the environment.

=============== =========================================================================================================
variable        meaning
=============== =========================================================================================================
LOG_LEVEL       of every logger that has none of its own: DEBUG, INFO (default), WARNING, ERROR
LOG_FORMAT      ``json`` (default); ``console``: for people; ``auto``: console if stderr is a terminal
LOG_HASH_KEY    secret of the keyed hashes of ids; without it one is derived from SECRET_KEY
=============== =========================================================================================================
"""

from __future__ import annotations

import os
import sys
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from whatsapp.settings.scrub import scrub, unexpected

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
#: A short key could be found by trying all of them.
MIN_KEY_BYTES = 32


def hash_key(secret_key: str) -> str:
    """``LOG_HASH_KEY``, or what stands for it. Raises ``ImproperlyConfigured``."""
    own = os.environ.get("LOG_HASH_KEY", "")
    if own and len(own.encode()) < MIN_KEY_BYTES:
        raise ImproperlyConfigured(f"LOG_HASH_KEY must have at least {MIN_KEY_BYTES} bytes.")
    return own or f"log-hash:{secret_key}"


def logging_config(hash_key: str, default_format: str = "json") -> dict[str, Any]:
    """A ``LOGGING``. Raises ``ImproperlyConfigured``."""
    level = os.environ.get("LOG_LEVEL", "INFO").upper()
    if level not in LEVELS:
        raise ImproperlyConfigured(f"LOG_LEVEL is {level!r}; it must be one of {', '.join(LEVELS)}.")
    style = os.environ.get("LOG_FORMAT", default_format)
    if style not in ("json", "console", "auto"):
        raise ImproperlyConfigured(f"LOG_FORMAT is {style!r}; it must be json, console or auto.")
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": "whatsapp.infra.logs.Formatter",
                "secret": hash_key,
                "scrub": scrub,
                "console": style == "console" or (style == "auto" and terminal),
                "colors": terminal,
            }
        },
        "filters": {
            "unexpected": {"()": "django.utils.log.CallbackFilter", "callback": unexpected},
            "repeats": {"()": "whatsapp.infra.logs.Repeats"},
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["repeats"]}
        },
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Their own handlers would bypass the formatter.
            "django": {"handlers": [], "propagate": True, "level": "INFO"},
            "django.server": {"handlers": [], "propagate": True},
            # At DEBUG it prints the parameters of statements.
            "django.db.backends": {"level": "INFO"},
            # A line for each 4xx says nothing an operator can act upon.
            "django.request": {"level": "ERROR", "filters": ["unexpected"]},
            # "Invalid HTTP_HOST header" and the like: a client's own words.
            "django.security": {"level": "CRITICAL"},
            # At DEBUG they print arguments of tasks, messages and headers.
            "celery": {"level": "INFO"},
            "kombu": {"level": "INFO"},
            "httpx": {"level": "WARNING"},
            "httpcore": {"level": "WARNING"},
            "websockets": {"level": "INFO"},
            "uvicorn": {"level": "INFO"},
            "psycopg": {"level": "INFO"},
            "psycopg.pool": {"level": "WARNING"},  # a line for each connection that is asked for
            "asyncio": {"level": "INFO"},
        },
    }
