"""What a gateway shows beside its counters, read when it is scraped (``whatsapp.infra.metrics``)."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Protocol

from django.db import connection
from psycopg_pool import AsyncConnectionPool

from chats.admission import Admission
from delivery.node import Node
from whatsapp.infra import clock, metrics

LAG_EVERY_S = 0.25


class Shown(Protocol):
    """What is looked at of a :class:`chats.gateway.Gateway`."""

    node: Node
    pool: AsyncConnectionPool
    admission: Admission
    spoken: Counter[tuple[str, str]]
    most_connections: int
    draining: bool

    @property
    def unauthenticated(self) -> int: ...


def bind(gateway: Shown) -> None:
    """Make this gateway the one that the process's gauges speak of."""
    node, hot = gateway.node, gateway.node.bus.hot
    progress = node.fanout.progress
    time = asyncio.get_running_loop().time

    def lag() -> float:
        oldest = node.fanout.oldest
        waiting = max(0.0, time() - oldest) if oldest else 0.0
        # Without a batch of its own no row of this writer can be open.
        return max(waiting, progress.broken_for_ms / 1000) if node.fanout.added else 0.0

    source = metrics.source
    source(
        "whatsapp_connections", "Open WebSocket connections, by codec and version.",
        lambda: dict(gateway.spoken), ("codec", "version"),
    )  # fmt: skip
    source(
        "whatsapp_connections_unauthenticated",
        "Open connections that have not sent a good token yet.",
        lambda: gateway.unauthenticated,
    )
    source(
        "whatsapp_connections_limit",
        "Connections that this gateway keeps at most.",
        lambda: gateway.most_connections,
    )
    source(
        "whatsapp_admission_slots", "Devices that were told to come again and have not come yet.",
        lambda: len(gateway.admission.due),
    )  # fmt: skip
    source(
        "whatsapp_admission_furthest_slot_seconds",
        "When the last of those who were told to come again may come.",
        lambda: gateway.admission.furthest_s(clock.now_ms()),
    )
    source("whatsapp_sessions_open", "Authenticated sessions of this process.", lambda: node.hub.count)
    source("whatsapp_draining", "1 while the gateway is going away.", lambda: int(gateway.draining))
    source("whatsapp_sends_waiting", "Sends that wait for their append to begin.", lambda: node.log.waiting)
    source(
        "whatsapp_outbox_lag_seconds",
        "Age of the oldest batch that is durable and not marked on the hot node yet; 0 if there is none.",
        lag,
    )
    source("whatsapp_hot_up", metrics.HOT_UP, lambda: int(hot.available))
    source("whatsapp_hot_term", "The present term of this process, 0 without one.", lambda: hot.term)
    source(
        "whatsapp_hot_epoch_info",
        "Always 1; the label is the epoch of the hot node that this process knows. All processes must show the same.",
        lambda: {hot.epoch: 1} if hot.epoch else None,
        ("epoch",),
    )
    pools(engine=gateway.pool)


def pools(**pools: Any) -> None:
    """Show the connection pools of this process, and Django's own."""

    def stats() -> dict[str, dict[str, int]]:
        known = {name: pool.get_stats() for name, pool in pools.items()}
        django = connection._connection_pools.get(connection.alias)  # opened by the first request
        return {**known, "django": django.get_stats()} if django is not None else known

    def sizes() -> dict[tuple[str, str], int]:
        shown = {}
        for name, found in stats().items():
            idle = found.get("pool_available", 0)
            shown[name, "idle"] = idle
            shown[name, "used"] = found.get("pool_size", 0) - idle
            shown[name, "waiting"] = found.get("requests_waiting", 0)
        return shown

    def one(key: str, factor: float = 1) -> Any:
        return lambda: {name: found.get(key, 0) * factor for name, found in stats().items()}

    source = metrics.source
    source(
        "whatsapp_pool_connections",
        "PostgreSQL connections of a pool: idle, used; and requests waiting for one.",
        sizes,
        ("pool", "state"),
    )
    source("whatsapp_pool_limit", "Most connections that a pool may open.", one("pool_max"), ("pool",))
    source("whatsapp_pool_requests_total", "Connections asked for.", one("requests_num"), ("pool",))
    source(
        "whatsapp_pool_errors_total", "Connections asked for and not got.", one("requests_errors"), ("pool",)
    )
    source(
        "whatsapp_pool_wait_seconds_total", "Time spent waiting for a connection.",
        one("requests_wait_ms", 0.001), ("pool",),
    )  # fmt: skip


async def watch_loop() -> None:
    """Measure for ever how late the loop's timers come."""
    time, series = asyncio.get_running_loop().time, metrics.LAG.series()
    while True:
        due = time() + LAG_EVERY_S
        await asyncio.sleep(LAG_EVERY_S)
        series.observe(max(0.0, time() - due))
