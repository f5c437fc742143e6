"""How the servers behind the system are, for the dashboard: one short look at each, an outage is an answer and not an error."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import redis
from django.conf import settings
from django.db import connection

from delivery.store import chosen
from delivery.store.cassandra.overview import NodeState
from delivery.store.interface import Unavailable
from whatsapp.infra import hot_sync
from whatsapp.infra.clock import now_ms
from whatsapp.staff.times import size, span


class Health(NamedTuple):
    name: str
    state: str  # up | slow | down
    facts: list[tuple[str, str]]

    @property
    def good(self) -> bool:
        return self.state == "up"


_POSTGRES = """
SELECT current_setting('server_version'), pg_database_size(current_database()),
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), current_setting('max_connections'),
       extract(epoch FROM now() - pg_postmaster_start_time()) * 1000,
       (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND application_name <> 'pg_receivewal')
"""
SLOW_MS = 250.0


def _state(took_ms: float) -> str:
    return "up" if took_ms < SLOW_MS else "slow"


def postgres() -> Health:
    """The store. (When it is away nobody is logged in and this is not asked.)"""
    started = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute(_POSTGRES)
        version, stored, used, most, uptime, standbys = cursor.fetchone()
    took = (time.monotonic() - started) * 1000
    facts = [
        ("version", version.split()[0]),
        ("up for", span(uptime)),
        ("size", size(stored)),
        ("connections", f"{used} of {most}"),
        ("standbys", str(standbys)),
        ("answer", span(took)),
    ]
    return Health("PostgreSQL", _state(took), facts)


def hot(client: Any) -> list[Health]:
    """The hot node, or each node of the cluster that serves something."""
    try:
        nodes = hot_sync.each_node(client)
    except (redis.RedisError, OSError) as error:
        return [Health("Valkey (hot state)", "down", [("error", type(error).__name__)])]
    if len(nodes) == 1:
        return [valkey("Valkey (hot node)", nodes[0])]
    return [valkey(f"Valkey (hot node {number})", node) for number, node in enumerate(nodes, 1)]


def valkey(name: str, client: redis.Redis) -> Health:
    started = time.monotonic()
    try:
        info: Any = client.info()
    except (redis.RedisError, OSError) as error:
        return Health(name, "down", [("error", type(error).__name__)])
    took = (time.monotonic() - started) * 1000
    aof = "on" if info.get("aof_enabled") else "off"
    facts = [
        ("version", str(info.get("valkey_version") or info.get("redis_version"))),
        ("up for", span(info["uptime_in_seconds"] * 1000)),
        (
            "memory",
            size(info["used_memory"]) + (f" of {size(info['maxmemory'])}" if info.get("maxmemory") else ""),
        ),
        ("clients", str(info["connected_clients"])),
        ("AOF", aof if info.get("aof_last_write_status", "ok") == "ok" else "failing"),
        ("answer", span(took)),
    ]
    return Health(name, _state(took), facts)


def cassandra() -> list[Health]:
    """Each node that the cluster is made of, as it sees itself."""
    try:
        nodes: list[NodeState] = chosen.shown("nodes")
    except Unavailable as error:
        return [Health("Cassandra", "down", [("error", str(error).partition(":")[0])])]
    return [_node("Cassandra" if len(nodes) == 1 else f"Cassandra {node.address}", node) for node in nodes]


def _node(name: str, node: NodeState) -> Health:
    place = [("data centre", node.data_center)]
    if not node.up:
        return Health(name, "down", [*place, ("error", "no answer")])
    facts = [("version", node.version), ("up for", span(now_ms() - node.started_at)), *place]
    if node.disk is not None:
        facts.append(("size", size(node.disk) if node.disk else "< 1 MiB"))  # it counts in whole ones
    if node.clients is not None:
        facts.append(("clients", str(node.clients)))
    return Health(name, _state(node.took_ms), [*facts, ("answer", span(node.took_ms))])


def queues() -> list[tuple[str, int]] | None:
    """What waits in each queue of the workers; None when the broker is away or is no Valkey."""
    if not settings.BROKER_URL.startswith(("redis://", "rediss://", "unix://")):
        return None
    names = [queue.name for queue in settings.CELERY_TASK_QUEUES]
    client = redis.Redis.from_url(settings.BROKER_URL, socket_timeout=1, socket_connect_timeout=1)
    try:
        pipeline = client.pipeline(transaction=False)
        for name in names:
            pipeline.llen(name)
        return list(zip(names, pipeline.execute(), strict=True))
    except (redis.RedisError, OSError):
        return None
    finally:
        client.close()
