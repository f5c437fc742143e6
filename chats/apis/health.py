"""/health: whether a load balancer should send requests and sockets here."""

from __future__ import annotations

import logging
from functools import cache

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe
from redis.backoff import NoBackoff
from redis.retry import Retry

from accounts.rest.problems import problem
from whatsapp.wire.errors import Code

log = logging.getLogger(__name__)

_TIMEOUT_S = 1.0


@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """PostgreSQL and the hot state answer: new sessions can be opened. Sockets that are open stay, whatever this says."""
    parts = {"database": _database(), "hot": _hot()}
    if all(parts.values()):
        return JsonResponse({"status": "ok", "parts": parts})
    missing = ", ".join(name for name, up in parts.items() if not up)
    return problem(
        Code.UNAVAILABLE,
        f"Not ready: {missing} does not answer.",
        details={"parts": parts},
        retry_after_ms=1000,
    )


def _database() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return bool(cursor.fetchone())
    except DatabaseError as error:
        log.warning("database is not ready: %s", type(error).__name__)
        return False


@cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.HOT_URL,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1),  # once: the pooled connection may be one of a server that is gone
    )


def _hot() -> bool:
    try:
        return bool(_client().ping())
    except redis.RedisError as error:
        log.warning("hot state is not ready: %s", type(error).__name__)
        return False
