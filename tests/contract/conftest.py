"""One suite for every store: a test that asks for ``harness`` runs once an implementation."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from delivery.store.cassandra.session import Cassandra
from tests.contract.both import Both
from tests.contract.cassandra import CassandraHarness
from tests.contract.harness import DjangoHarness, PostgresHarness
from tests.contract.people import People

IMPLEMENTATIONS = {"postgres": PostgresHarness, "django": DjangoHarness}

#: Files about the inside of PostgreSQL.
SQL_ONLY = frozenset(("test_older_callers",))
#: For tests that make a store of their own by :func:`alone`.
ALL = [*IMPLEMENTATIONS, pytest.param("cassandra", marks=pytest.mark.needs_cassandra)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test marked ``sql_only`` is about the inside of PostgreSQL."""
    if "harness" not in metafunc.fixturenames:
        return
    inside = metafunc.module.__name__.rpartition(".")[2] in SQL_ONLY
    inside = inside or any(metafunc.definition.iter_markers("sql_only"))
    names: list[Any] = list(IMPLEMENTATIONS) if inside else ALL
    metafunc.parametrize("harness", names, indirect=True)


def _hot_url(request: pytest.FixtureRequest) -> str:
    """Where copies of state documents are made; ``WHATSAPP_TEST_COPIES=0``: nowhere."""
    return "" if os.environ.get("WHATSAPP_TEST_COPIES") == "0" else request.getfixturevalue("valkey_url")


def alone(name: str, request: pytest.FixtureRequest) -> Any:
    """A harness that is not entered yet, of a store that nobody else uses."""
    if name == "cassandra":
        if "WHATSAPP_TEST_CASSANDRA" in os.environ:
            return CassandraHarness(request.getfixturevalue("contract_cassandra"), _hot_url(request))
        node = request.getfixturevalue("cassandra_node")
        keyspace = node.new_keyspace()
        request.addfinalizer(lambda: node.drop(keyspace))
        return CassandraHarness((node.host, node.port, keyspace), _hot_url(request))
    return IMPLEMENTATIONS[name](request.getfixturevalue("new_postgres_url"))


@pytest.fixture(scope="session")
def contract_url(postgres_server: Any) -> str:
    """A database for this suite; its tests use ids of their own, and ages of their own where a call sees everything."""
    return postgres_server.create("contract")


@pytest.fixture(scope="session")
def contract_cassandra(request: pytest.FixtureRequest) -> Iterator[tuple[str, int, str]]:
    """Host, port and keyspace: the session's node, or ``WHATSAPP_TEST_CASSANDRA=host:port/keyspace``."""
    if where := os.environ.get("WHATSAPP_TEST_CASSANDRA"):
        address, keyspace = where.split("/")
        host, port = address.rsplit(":", 1)
        yield host, int(port), keyspace
        return
    node = request.getfixturevalue("cassandra_node")
    keyspace = node.new_keyspace()
    yield node.host, node.port, keyspace
    node.drop(keyspace)


@pytest.fixture
async def harness(request: pytest.FixtureRequest, django_db_blocker: Any) -> AsyncIterator[Any]:
    if request.param == "cassandra":
        at = request.getfixturevalue("contract_cassandra")
        async with CassandraHarness(at, _hot_url(request)) as harness:
            yield harness
        return
    url = request.getfixturevalue("contract_url")
    with django_db_blocker.unblock():
        async with IMPLEMENTATIONS[request.param](url) as harness:
            yield harness


@pytest.fixture
async def people(harness: Any) -> People:
    return await People(harness.store).meet()


@pytest.fixture
async def both(
    new_postgres_url: str, contract_cassandra: tuple[str, int, str], django_db_blocker: Any
) -> AsyncIterator[Both]:
    host, port, keyspace = contract_cassandra
    session = await Cassandra([host], keyspace, port=port).open()
    with django_db_blocker.unblock():
        async with PostgresHarness(new_postgres_url) as harness:
            made = Both(harness, new_postgres_url, session)
            made.at = (host, port)
            await made.fill()
            yield made
    await session.close()
