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
from delivery.store import chosen
from whatsapp.infra import hot_sync
from whatsapp.wire.errors import Code

log = logging.getLogger(__name__)

_TIMEOUT_S = 1.0


class LiveOutput(serializers.Serializer):
    status = serializers.ChoiceField(choices=["ok"])


class PartsOutput(serializers.Serializer):
    database = serializers.BooleanField()
    hot = serializers.BooleanField()
    log = serializers.BooleanField(required=False, help_text="Cassandra, where messages are there.")


class ReadyOutput(serializers.Serializer):
    status = serializers.ChoiceField(choices=["ok", "degraded"])
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
        """PostgreSQL and the hot state answer. Sockets that are open stay, whatever this says.

        Where messages are on Cassandra, `log` says whether a majority of its nodes answers. While it does not, `status` is
        `degraded`: sessions open as ever, and messages are refused as `unavailable`. Where messages are in PostgreSQL they
        are in `database`, and there is no `log`.
        """
        needed = {"database": _database(), "hot": _hot()}
        parts = {**needed, "log": _log()} if chosen.elsewhere() else needed
        if not all(needed.values()):
            missing = ", ".join(name for name, up in needed.items() if not up)
            raise Refused(
                Code.UNAVAILABLE,
                f"Not ready: {missing} does not answer.",
                details={"parts": parts},
                retry_after_ms=1000,
            )
        return Response({"status": "ok" if all(parts.values()) else "degraded", "parts": parts})


def _database() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return bool(cursor.fetchone())
    except DatabaseError as error:
        log.warning("database is not ready: %s", type(error).__name__)
        return False


def _log() -> bool:
    """Nothing that keeps a gateway from taking sessions: another gateway would have no other log."""
    if chosen.answers():
        return True
    log.warning("the log is not ready: a majority of Cassandra's nodes does not answer")
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
