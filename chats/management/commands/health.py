"""``manage.py health``: whether all parts of the system are there, seen from a machine of its own."""

from __future__ import annotations

import json
from typing import Any

import redis
from celery import Celery
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import Error as DatabaseError
from django.db import connection

from delivery.store import chosen
from delivery.sweep import LEASE_KEY
from whatsapp.infra import hot_sync

TIMEOUT_S = 2.0
#: The same for the log on Cassandra: this process begins by opening a session.
LOG_TIMEOUT_S = 10.0


class Command(BaseCommand):
    help = """Say which parts answer: database, hot node, log (Cassandra, if messages are there), broker, a worker, the sweep.
    Exit code 1 when one is missing."""
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help='one object: {"parts": {…}, "missing": […]}')

    def handle(self, *args: Any, **options: Any) -> None:
        broker = _broker()
        parts = {
            "database": _database(),
            "hot": _hot(),
            **({"log": chosen.answers(LOG_TIMEOUT_S)} if chosen.elsewhere() else {}),
            "broker": broker,
            "worker": broker and _worker(),
            "sweep": _hot(LEASE_KEY),
        }
        missing = [name for name, up in parts.items() if not up]
        if options["json"]:
            self.stdout.write(json.dumps({"parts": parts, "missing": missing}))
        else:
            for name, up in parts.items():
                self.stdout.write(f"{name:10} {'ok' if up else 'MISSING'}")
        if missing:
            raise SystemExit(1)


def _database() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return True
    except DatabaseError:
        return False


def _hot(key: str = "") -> bool:
    """The hot node answers; with ``key``, it exists there."""
    options = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
    try:
        with hot_sync.client(settings.HOT_URL, **options) as client:
            return bool(client.exists(key) if key else client.ping())
    except redis.RedisError:
        return False


def _app() -> Celery:
    """Of the project's application, only its broker matters here."""
    app = Celery("health", broker=settings.BROKER_URL, set_as_current=False)
    app.conf.update(accept_content=["json"], broker_transport_options={"socket_timeout": TIMEOUT_S + 1})
    return app


def _broker() -> bool:
    try:
        with _app().connection_for_write(connect_timeout=TIMEOUT_S) as link:
            link.ensure_connection(max_retries=1, timeout=TIMEOUT_S)
            return True
    except Exception:  # each transport has errors of its own
        return False


def _worker() -> bool:
    try:
        return bool(_app().control.ping(timeout=TIMEOUT_S))
    except Exception:
        return False
