"""A server that is away or dies in a call is ``Unavailable``, nothing else, and the next call works."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool

from delivery.store.interface import Outcome, PageRequest, PositionWrite, Unavailable
from delivery.store.postgres import PostgresStore
from tests.contract.harness import T0, People, PostgresHarness, new_id


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
