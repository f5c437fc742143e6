"""How the processes that fan out report who may have to be told; bound in the composition root. Nothing where no app is set."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from celery import current_app
from django.conf import settings
from psycopg_pool import AsyncConnectionPool

from delivery import absent
from delivery.node import Node
from delivery.tasks import enqueue_soon
from notifications.due import Due, nowhere
from whatsapp.infra.bus import Bus

#: By its name: those who report load nothing of what sends.
TASK = "notifications.tasks.push"


def submit(shard: int, token: str) -> None:
    """Enqueue the task of a shard; does not wait for the broker. Shards without a holder are looked for, if it is lost."""
    enqueue_soon(current_app.signature(TASK), shard, token)


def due(bus: Bus, pool: AsyncConnectionPool, here: Callable[[str], Mapping[str, object]] = nowhere) -> Due:
    return Due(bus.hot, pool, submit, here)


def bind_gateway(node: Node, pool: AsyncConnectionPool) -> None:
    """Before the node starts."""
    if settings.PUSH_APPS:
        by_user = node.hub.by_user
        node.report_absent(due(node.bus, pool, lambda user: by_user.get(user, {})))


def bind_worker() -> None:
    """For the lanes and the sweep of this process, before they are opened."""
    if settings.PUSH_APPS:
        absent.make = due
