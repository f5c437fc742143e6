"""A Valkey of a test's own, which may lose what it knows, and gateways that make copies of state documents on it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from delivery.store.cassandra import documents, leases
from delivery.store.cassandra.session import Cassandra
from delivery.store.cassandra.store import CassandraStore
from devtools.processes import Child
from devtools.valkey import ValkeyServer
from tests.support import early
from whatsapp.infra.hot import Hot
from whatsapp.infra.hot_cluster import ClusterHot, open_hot
from whatsapp.infra.valkey import Command


class HotNode:
    def __init__(self, folder: Path) -> None:
        self._server = ValkeyServer(folder / "valkey", password="hot", log=folder / "valkey.log")
        self._folder = folder / "valkey"
        self._child: Child | None = self._server.start()
        self.url = self._server.url(0)

    @property
    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def flush(self) -> None:
        with contextlib.closing(self.redis) as node:
            node.flushall()

    def copies(self, conversation: str) -> list[bytes]:
        """The keys of the copies of a conversation's document."""
        with contextlib.closing(self.redis) as node:
            return list(node.scan_iter(f"document:{{{conversation}}}:*"))  # type: ignore[arg-type]

    def dump(self, name: str) -> None:
        """Keep all that is there now under a name."""
        with contextlib.closing(self.redis) as node:
            keys = {key: node.dump(key) for key in node.scan_iter("document:*")}
        self._dumps = {**getattr(self, "_dumps", {}), name: keys}

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    def start(self, *, emptied: bool = False, dump: str = "") -> None:
        """Again, ``emptied`` or with its own file; ``dump``: with what was kept under that name instead."""
        if emptied or dump:
            shutil.rmtree(self._folder)
        self._child = self._server.start()
        if dump:
            with contextlib.closing(self.redis) as node:
                for key, value in self._dumps[dump].items():
                    node.restore(key, 0, value)

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None


@pytest.fixture(scope="module")
def hot_node() -> Iterator[HotNode]:
    node = HotNode(Path(tempfile.mkdtemp(dir=early.FOLDER)))
    yield node
    node.stop()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of which a test need not wait for the end."""
    monkeypatch.setattr(leases, "CONFIRMED_S", 0.4)
    monkeypatch.setattr(leases, "_AGAIN_S", 0.1)
    monkeypatch.setattr(leases, "DEAD_S", 0.6)
    monkeypatch.setattr(leases, "AWAY_S", 0.3)
    monkeypatch.setattr(leases, "REOPEN_S", 1.0)
    monkeypatch.setattr(documents, "COPY_WAIT_S", 8.0)


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy is believed wherever and whenever it is found: the protection that twins take away."""

    async def run_under(self: Hot, asked: Sequence[tuple[str, Command]], patience_s: float) -> list[Any]:
        return await self.run_each([command for _, command in asked])

    monkeypatch.setattr(Hot, "run_under", run_under)
    monkeypatch.setattr(ClusterHot, "run_under", run_under)


async def hot(url: str, closing: contextlib.AsyncExitStack) -> Hot:
    """A connection to a hot node that is there."""
    made = open_hot(url)
    await made.start()
    closing.push_async_callback(made.stop)
    async with asyncio.timeout(10):
        while not made.available:
            await asyncio.sleep(0.005)
    return made


class Gateways:
    """Makes gateways, each with a session and a hot connection of its own, and closes them."""

    def __init__(self, at: tuple[str, int, str], url: str) -> None:
        self._at = at
        self._url = url
        self._closing = contextlib.AsyncExitStack()

    async def open(self, session: type[Cassandra] = Cassandra) -> Any:
        host, port, keyspace = self._at
        there = await hot(self._url, self._closing)
        store = CassandraStore(await session([host], keyspace, port=port).open(), hot=there, eager=True)
        self._closing.push_async_callback(store.close)
        return store


@pytest.fixture
async def gateways(cassandra_at: tuple[str, int, str], hot_node: HotNode) -> AsyncIterator[Gateways]:
    made = Gateways(cassandra_at, hot_node.url)
    yield made
    await made._closing.aclose()
