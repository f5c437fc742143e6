"""A server that is away or dies in a call is ``Unavailable``, nothing else, and the next call works."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from delivery.store.interface import Unavailable
from delivery.store.postgres import PostgresStore
from delivery.store.values import Outcome, PageRequest, PositionWrite
from tests.contract.harness import PostgresHarness
from tests.contract.people import T0, People, new_id


@pytest.fixture
async def alone(new_postgres_url: str) -> Any:
    async with PostgresHarness(new_postgres_url) as harness:
        yield harness


async def until_available(call: Callable[[], Awaitable[Any]]) -> Any:
    """Each connection of the pool may turn out dead once."""
    for _ in range(5):
        with contextlib.suppress(Unavailable):
            return await call()
    raise AssertionError("still unavailable")


async def test_a_connection_that_dies_in_an_append(alone: PostgresHarness) -> None:
    people = await People(alone.store).meet()
    one = people.send(seq_num=1)
    async with alone.held(people.conversation):
        task = asyncio.create_task(people.store.append(people.writer, [one], T0))
        await alone.waiting()
        await alone.disconnect()
        with pytest.raises(Unavailable):
            await task
    (result,) = await until_available(lambda: people.append(one))
    assert (result.outcome, result.seq) == (Outcome.STORED, 1)


async def test_connections_that_died_between_calls(alone: PostgresHarness) -> None:
    people = await People(alone.store).meet()
    await alone.disconnect()
    calls = [
        lambda: people.store.pages([PageRequest(people.conversation, people.alice, 0)]),
        lambda: people.store.save([PositionWrite(people.phone, people.conversation, 1)], [], T0),
        lambda: people.store.link_device(people.alice, people.desk, T0),
    ]
    for call in calls:
        await until_available(call)


async def test_an_append_after_its_connection_died_unseen(alone: PostgresHarness) -> None:
    people = await People(alone.store).meet()
    await people.say(b"1")
    await alone.disconnect()
    (result,) = await until_available(lambda: people.append(people.send()))
    assert result.seq == 2


async def test_a_cancelled_append_leaves_the_store_usable(alone: PostgresHarness) -> None:
    """Its outcome is unknown, so its connection is not used again: a later append never gets an earlier one's answer."""
    people = await People(alone.store).meet()
    await people.say(b"1")
    one = people.send()
    async with alone.held(people.conversation):
        task = asyncio.create_task(people.append(one))
        await alone.waiting()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (result,) = await people.append(one)
    assert result.outcome in (Outcome.STORED, Outcome.DUPLICATE)
    assert result.seq == 2
    assert len(await people.read(people.bob)) == 2


async def test_appends_of_one_store_at_once(alone: PostgresHarness) -> None:
    people = await People(alone.store).meet()
    answers = await asyncio.gather(*(people.append(people.send(), people.send()) for _ in range(20)))
    assert sorted(result.seq for answer in answers for result in answer) == list(range(1, 41))


async def test_the_only_connection_of_a_pool_is_shared(new_postgres_url: str) -> None:
    async with AsyncConnectionPool(new_postgres_url, min_size=1, max_size=1, open=False) as pool:
        people = await People(PostgresStore(pool)).meet()
        assert await people.say(b"1", b"2") == [1, 2]
        assert len(await people.read(people.bob)) == 2


async def test_more_than_the_socket_holds_at_once(alone: PostgresHarness) -> None:
    people = await People(alone.store).meet()
    results = await people.append(*(people.send(body=bytes([i]) * 65_536) for i in range(200)))
    assert [result.seq for result in results] == list(range(1, 201))
    events = await people.read(people.bob, after=198)
    assert [event.content for event in events] == [bytes([i]) * 65_536 for i in (198, 199)]


async def test_a_wait_that_the_session_cuts_short(new_postgres_url: str) -> None:
    """Also for calls that do not handle it themselves, under the limits of a gateway's pool."""
    options = {"options": "-c lock_timeout=50"}
    async with AsyncConnectionPool(
        new_postgres_url, min_size=2, max_size=2, open=False, kwargs=options
    ) as pool:
        people = await People(PostgresStore(pool)).meet()
        async with await psycopg.AsyncConnection.connect(new_postgres_url) as other:
            await other.execute("SELECT 1 FROM delivery_device FOR UPDATE")
            with pytest.raises(Unavailable):
                await people.store.save([PositionWrite(people.phone, people.conversation, 1)], [], T0)
        await people.store.save([PositionWrite(people.phone, people.conversation, 1)], [], T0)


async def test_no_server() -> None:
    pool = AsyncConnectionPool(
        "postgresql://nobody@127.0.0.1:1/none",
        min_size=0,
        max_size=1,
        open=False,
        timeout=0.2,
        reconnect_timeout=0.1,
    )
    await pool.open()
    store = PostgresStore(pool)
    for call in (
        store.append(new_id(), [People(store).send(conversation=new_id())], T0),
        store.devices([new_id()]),
        store.unlink_device(new_id(), new_id(), T0),
    ):
        with pytest.raises(Unavailable):
            await call
    await pool.close()
    with pytest.raises(Unavailable):
        await store.behind(new_id(), new_id())
