"""Each module of fault tests that kill processes owns a system, whose tests repair what they broke; tests of exact
interleavings have a database, a Valkey and processes inside the test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools import ports
from tests.contract.cassandra import CassandraHarness
from tests.contract.harness import PostgresHarness
from tests.faults.engine import World, valkey
from tests.faults.rig import Rig
from tests.support.cassandra import Cassandra, on_cassandra
from tests.support.cluster import Cluster
from tests.support.stack import System, hot_on_cluster
from whatsapp.infra import faults


@pytest.fixture(scope="module")
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A test build with two gateways and a worker. ``LIMITS`` of the module goes over the limits table."""
    limits = getattr(request.module, "LIMITS", {})
    with System(env={"WHATSAPP_TEST_BUILD": "1"}, limits=limits) as system:
        yield Rig(system)


@pytest.fixture
def hot_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a Valkey of this test alone; with ``./dev test --hot cluster`` that of the session's cluster, emptied."""
    if hot_on_cluster():
        cluster: Cluster = request.getfixturevalue("hot_cluster")
        cluster.empty()
        yield cluster.url
        return
    with valkey(tmp_path / "hot", ports.choose()) as url:
        yield url


@pytest.fixture
def one_hot_url(hot_url: str) -> str:
    """The same for what is about one node; ``infra/test_cluster.py`` has its like for several."""
    if hot_on_cluster():
        pytest.skip("it is about one node")
    return hot_url


@pytest.fixture
async def log(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """The harness of a log of this test alone: in a database of its own, or, by ``--store cassandra``, in a keyspace in which
    nobody's rows wait to be told."""
    if on_cassandra():
        harness: Any = CassandraHarness(request.getfixturevalue("faults_keyspace"), since=1)
    else:
        harness = PostgresHarness(request.getfixturevalue("new_postgres_url"))
    async with harness:
        if on_cassandra():
            await harness.forget_writers()
        yield harness


@pytest.fixture(scope="session")
def faults_keyspace(request: pytest.FixtureRequest) -> Iterator[tuple[str, int, str]]:
    """Host, port and keyspace for tests of the engine, which run one after the other: the session's node, or
    ``WHATSAPP_TEST_CASSANDRA=host:port/keyspace``."""
    if where := os.environ.get("WHATSAPP_TEST_CASSANDRA"):
        address, keyspace = where.split("/")
        host, port = address.rsplit(":", 1)
        yield host, int(port), keyspace
        return
    node: Cassandra = request.getfixturevalue("cassandra_node")
    name = node.new_keyspace()
    yield node.host, node.port, name
    node.drop(name)


@pytest.fixture
async def world(log: Any, hot_url: str) -> AsyncIterator[World]:
    """A log and a Valkey of this test alone, for processes inside the test."""
    async with World(log, hot_url) as world:
        yield world


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``off("sent", …)``: these protections are off in the processes inside this test, until it ends or calls again."""

    def switch(*names: str) -> None:
        monkeypatch.setattr(faults, "off", names.__contains__)

    return switch
