"""The server that has what belongs to somebody, whether hot state is on one node or on a cluster."""

from __future__ import annotations

import redis.asyncio

from whatsapp.infra import hot_sync
from whatsapp.infra.slots import is_cluster, seeds


def server_of(url: str, tag: str) -> redis.asyncio.Redis:
    """A client for it: ``async with server_of(system.hot_url, user) as hot``."""
    if not is_cluster(url):
        return redis.asyncio.Redis.from_url(url)
    ((_, *login),) = seeds(url)[0].greeting
    with hot_sync.client(url) as client:
        node = client.get_node_from_key(f"{{{tag}}}")
    return redis.asyncio.Redis(host=node.host, port=node.port, password=login[-1])
