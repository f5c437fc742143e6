"""/health: whether a load balancer should send requests and sockets here."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from redis.backoff import NoBackoff
from redis.retry import Retry
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import Refused
from accounts.rest.schema import operation
from accounts.rest.views import DocumentView
from whatsapp.infra import hot_sync
from whatsapp.wire.errors import Code

log = logging.getLogger(__name__)

_TIMEOUT_S = 1.0


class LiveOutput(serializers.Serializer):
    status = serializers.ChoiceField(choices=["ok"])


class PartsOutput(serializers.Serializer):
    database = serializers.BooleanField()
    hot = serializers.BooleanField()


class ReadyOutput(LiveOutput):
    parts = PartsOutput()


class LiveView(DocumentView):
    @operation(
        "live", tag="health", summary="The process answers", answer=LiveOutput, example={"status": "ok"}
    )
    def get(self, request: Request) -> Response:
        """Nothing behind the process is asked."""
        return Response({"status": "ok"})


class ReadyView(DocumentView):
    @operation(
        "ready",
        tag="health",
        summary="New sessions can be opened",
        answer=ReadyOutput,
        example={"status": "ok", "parts": {"database": True, "hot": True}},
        refuses=[Code.UNAVAILABLE],
    )
    def get(self, request: Request) -> Response:
        """PostgreSQL and the hot state answer. Sockets that are open stay, whatever this says."""
        parts = {"database": _database(), "hot": _hot()}
        if not all(parts.values()):
            missing = ", ".join(name for name, up in parts.items() if not up)
            raise Refused(
                Code.UNAVAILABLE,
                f"Not ready: {missing} does not answer.",
                details={"parts": parts},
                retry_after_ms=1000,
            )
        return Response({"status": "ok", "parts": parts})


def _database() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return bool(cursor.fetchone())
    except DatabaseError as error:
        log.warning("database is not ready: %s", type(error).__name__)
        return False


@cache
def _client() -> Any:
    return hot_sync.client(
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
