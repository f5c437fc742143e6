"""The engine inside the test, as fault tests have it, and the world of the policy on either store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from notifications.worker import PushWorker
from tests.contract.cassandra import CassandraHarness
from tests.contract.harness import PostgresHarness
from tests.faults.conftest import faults_keyspace, hot_url, log, off, world
from tests.faults.engine import World as EngineWorld
from tests.notifications.crowd import Crowd
from tests.notifications.world import World, world_of

__all__ = ["each_world", "faults_keyspace", "hot_url", "log", "off", "world"]


@pytest.fixture
async def crowd(world: EngineWorld, new_postgres_url: str) -> AsyncIterator[Crowd]:
    async with Crowd(world, new_postgres_url) as crowd:
        yield crowd


@pytest.fixture
async def running() -> AsyncIterator[Callable[[PushWorker], None]]:
    """``running(worker)``: it works and looks for shards that nobody holds, until the test ends."""
    tasks: list[asyncio.Task[None]] = []

    def start(worker: PushWorker) -> None:
        loop = asyncio.get_running_loop()
        tasks.extend([loop.create_task(worker.run()), loop.create_task(worker.look_for_orphans())])

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(params=["postgres", pytest.param("cassandra", marks=pytest.mark.needs_cassandra)])
async def each_world(
    request: pytest.FixtureRequest,
    postgres_url: str,
    valkey_url: str,
    monkeypatch: pytest.MonkeyPatch,
    django_db_blocker: Any,
) -> AsyncIterator[World]:
    harness: Any = PostgresHarness(postgres_url)
    if request.param == "cassandra":
        keyspace, node = (
            request.getfixturevalue("cassandra_keyspace"),
            request.getfixturevalue("cassandra_node"),
        )
        harness = CassandraHarness((node.host, node.port, keyspace), valkey_url)
    with django_db_blocker.unblock():
        async with harness, world_of(harness.store, postgres_url, valkey_url, monkeypatch) as world:
            yield world
