"""The engine inside the test, as fault tests have it, and the world of the policy on either store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.contract.cassandra import CassandraHarness
from tests.contract.harness import PostgresHarness
from tests.faults.conftest import faults_keyspace, hot_url, log, off, world
from tests.notifications.world import World, world_of

__all__ = ["each_world", "faults_keyspace", "hot_url", "log", "off", "world"]


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
