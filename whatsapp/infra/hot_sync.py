"""A blocking client of the hot node, or of the cluster, for pages, management commands and tests; nothing on the message path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from redis.cluster import ClusterNode, RedisCluster

from whatsapp.infra.hot import epoch_of_all, parse_epoch
from whatsapp.infra.slots import is_cluster, seeds


class _Lazy:
    """redis-py reads a cluster's map when the client is made; this one when it is used, as a client of one node does."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._url, self._options = url, options
        self._client: RedisCluster | None = None

    def __getattr__(self, name: str) -> Any:
        if self._client is None:
            found = seeds(self._url)
            login = dict(zip(("password", "username"), reversed(found[0].greeting[0][1:]), strict=False))
            self._client = RedisCluster(
                startup_nodes=[ClusterNode(seed.host, seed.port) for seed in found],
                ssl=found[0].tls is not None,
                **login,
                **self._options,
            )
        return getattr(self._client, name)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


def client(url: str, **options: Any) -> Any:
    """Connects when it is used; raises ``redis.RedisError`` then. ``options`` are those of ``redis.Redis``."""
    if is_cluster(url):
        return _Lazy(url, options)
    return redis.Redis.from_url(url, **options)


def each_node(hot: Any) -> list[Any]:
    """A client for each node that serves something."""
    if isinstance(hot, _Lazy):
        return [node.redis_connection or hot.get_redis_connection(node) for node in hot.get_primaries()]
    return [hot]


def _epochs(hot: Any) -> list[str]:
    found = []
    for node in each_node(hot):
        # In one word: redis-py then leaves the answer as it is.
        text = parse_epoch(node.execute_command("INFO server replication commandstats"))
        if isinstance(hot, _Lazy):
            text += f".{node.execute_command('CLUSTER INFO')['cluster_my_epoch']}"
        found.append(text)
    return found


def epoch(hot: Any) -> str:
    """What a process that is connected now calls its epoch: the one under which progress is earned."""
    found = _epochs(hot)
    return epoch_of_all(found) if isinstance(hot, _Lazy) else found[0]


def epochs_of(hot: Any, tags: Sequence[str]) -> dict[str, str]:
    """The epoch under which what belongs to each user or conversation is complete."""
    found = _epochs(hot)
    if not isinstance(hot, _Lazy):
        return dict.fromkeys(tags, found[0])
    by_name = dict(zip([node.name for node in hot.get_primaries()], found, strict=True))
    return {tag: by_name.get(hot.get_node_from_key(f"{{{tag}}}").name, "") for tag in tags}


def mget(hot: Any, keys: Sequence[str]) -> list[Any]:
    """Strings of many users."""
    if not keys:
        return []
    return list(hot.mget_nonatomic(keys) if isinstance(hot, _Lazy) else hot.mget(keys))


def scan(hot: Any, after: str, match: str, count: int) -> tuple[str, list[bytes]]:
    """A part of the keys behind the cursor ``after``; the next cursor, "" at the end of the last node."""
    number, _, cursor = after.rpartition(":")
    nodes = each_node(hot)
    at = int(number or 0)
    if at >= len(nodes):
        return "", []
    next_cursor, found = nodes[at].scan(int(cursor or 0), match=match, count=count)
    if next_cursor:
        return f"{at}:{next_cursor}", found
    return (f"{at + 1}:0", found) if at + 1 < len(nodes) else ("", found)
