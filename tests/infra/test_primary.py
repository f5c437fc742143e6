"""Several servers, of which one has to prove that it is the primary; connections to one that does not are ended."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from delivery.store.libpq import Channel
from delivery.store.operation import Query
from devtools.postgres import PostgresServer
from tests.support import early
from tests.support.patience import until
from tests.support.proxy import Network
from whatsapp.infra import primary
from whatsapp.infra.postgres import open_pool
from whatsapp.infra.primary_check import proves

SLOW_S = 60.0  # far more than a proof may take


@pytest.fixture(autouse=True)
def guard(monkeypatch: pytest.MonkeyPatch) -> Iterator[primary.Guard]:
    """A guard of this test's own, with less patience."""
    guard = primary.Guard()
    monkeypatch.setattr(primary, "guard", guard)
    monkeypatch.setattr(primary, "PROOF_S", 1.0)
    monkeypatch.setattr(primary, "EVERY_S", 0.1)
    monkeypatch.setattr(primary, "IDLE_S", 0.3)
    yield guard
    deadline = time.monotonic() + 20
    while guard._thread is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert guard._thread is None, "it ends when there is nothing to guard"


@asynccontextmanager
async def two_ways(url: str) -> AsyncIterator[tuple[Network, Network, str]]:
    """Two addresses of one server, and a URL that names both."""
    user, _, rest = url.partition("@")
    place, _, name = rest.partition("/")
    async with Network([f"http://{place}"]) as one, Network([f"http://{place}"]) as two:
        hosts = ",".join(network.http.removeprefix("http://") for network in (one, two))
        yield one, two, f"{user}@{hosts}/{name}"


@asynccontextmanager
async def pool_of(url: str) -> AsyncIterator[AsyncConnectionPool]:
    async with open_pool(url, low=2) as pool:
        await pool.wait()
        yield pool


async def test_who_waits_for_a_silent_server_is_told_and_finds_the_other(
    new_postgres_url: str, guard: primary.Guard
) -> None:
    """A half-open link: no reset ever comes, and the statement would take longer than anybody waits."""
    async with two_ways(new_postgres_url) as (one, two, url), pool_of(url) as pool:
        channel = Channel(pool)
        assert await channel.rows(Query("SELECT 1::bigint", ())) == [(1,)]
        assert two.connections == 0
        one.silence()
        async with asyncio.timeout(SLOW_S):
            with pytest.raises(psycopg.OperationalError):
                await channel.rows(Query("SELECT 2::bigint", ()))
            with pytest.raises(psycopg.OperationalError):
                async with pool.connection() as idle:  # it only lay in the pool
                    await idle.execute("SELECT 1")
            await until(lambda: _row(channel), "the other one answers", SLOW_S)
        assert two.connections
        assert guard.current == ("127.0.0.1", two.http.rpartition(":")[2])
        await channel.close()


async def _row(channel: Channel) -> bool:
    try:
        return await channel.rows(Query("SELECT 3::bigint", ())) == [(3,)]
    except psycopg.Error:
        return False


async def test_twin_one_address_waits_on(new_postgres_url: str) -> None:
    async with two_ways(new_postgres_url) as (one, _, url), pool_of(re.sub(",[^/]*", "", url)) as pool:
        channel = Channel(pool)
        assert await channel.rows(Query("SELECT 1::bigint", ())) == [(1,)]
        one.silence()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await channel.rows(Query("SELECT 2::bigint", ()))
        await channel.close()
        one.restore()


async def test_threads_that_wait_are_told_too(new_postgres_url: str) -> None:
    async with two_ways(new_postgres_url) as (one, _, url):
        primary.guard.start(url)
        connection = await asyncio.to_thread(primary.Connection.connect, url, autocommit=True)
        sleeping = asyncio.create_task(asyncio.to_thread(connection.execute, "SELECT pg_sleep(600)"))
        one.silence()
        async with asyncio.timeout(SLOW_S):
            with pytest.raises(psycopg.OperationalError):
                await sleeping
        connection.close()
        one.restore()


async def test_a_slow_statement_on_a_sound_server_is_waited_for(new_postgres_url: str) -> None:
    async with two_ways(new_postgres_url) as (_, two, url):
        primary.guard.start(url)
        connection = await asyncio.to_thread(primary.Connection.connect, url, autocommit=True)
        await asyncio.to_thread(connection.execute, "SELECT pg_sleep(4)")
        assert two.connections == 0
        connection.close()


def test_a_server_of_an_older_timeline_is_no_primary_any_more(guard: primary.Guard) -> None:
    guard.heard("00000002")
    guard.heard("00000002")
    with pytest.raises(psycopg.OperationalError, match="replaced"):
        guard.heard("00000001")
    guard.heard("00000003")


@pytest.fixture(scope="module")
def alone() -> Iterator[PostgresServer]:
    """A primary that no standby follows."""
    folder = early.folder("alone")
    server = PostgresServer(folder / "postgres", password="x", log=folder / "postgres.log")
    child = server.start()
    server.sql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (p1, p2)'")
    server.sql("SELECT pg_reload_conf()")
    yield server
    child.kill()
    server._clear()


async def test_a_primary_alone_proves_nothing_and_is_not_asked_over_and_over(alone: PostgresServer) -> None:
    """A session that waits for a standby stays when its client is gone: who asks again and again would take them all."""
    url = alone.url("postgres")
    with psycopg.connect(url) as plain:  # the twin: it says that it takes writes, and can be read
        assert plain.execute("SHOW transaction_read_only").fetchall() == [("off",)]
    assert not await asyncio.to_thread(proves, url)
    for kind in range(10):
        with pytest.raises(psycopg.OperationalError):
            if kind % 2:
                await primary.AsyncConnection.connect(url, connect_timeout=2)
            else:
                await asyncio.to_thread(primary.Connection.connect, url, connect_timeout=2)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    assert await asyncio.to_thread(alone.sql, waiting) == "1"
    alone.sql("ALTER SYSTEM RESET synchronous_standby_names")  # as if a standby had come
    alone.sql("SELECT pg_reload_conf()")
    await until(lambda: asyncio.to_thread(proves, url), "it proves again", 20)
