"""A change that always fails is tried a bounded number of times, and then no longer holds up what comes behind it. The store is a
stand-in that fails as it is told to; the rows are PostgreSQL's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from delivery.pending import PendingSweep
from delivery.store import pending
from delivery.store.interface import Unavailable
from delivery.store.pending import Elsewhere, ForgetFlags, LinkDevice, SetFlags
from delivery.store.values import Flags
from tests.contract.people import new_id
from whatsapp.infra import clock

START = 1_900_000_000_000
SECRET = b"nobody sees this"


class Store:
    """Takes everything but flags; ``away``: nothing at all."""

    def __init__(self) -> None:
        self.linked: list[str] = []
        self.away = False
        self.error: Exception = Unavailable(f"CassErrorServerInvalidQuery: {SECRET!r}")

    async def conversations(self, ids: Any) -> dict[str, Any]:
        if self.away:
            raise Unavailable("away")
        return {}

    async def set_flags(self, *_: Any) -> None:
        raise Unavailable("away") if self.away else self.error

    async def link_device(self, user: str, device: str, now: int, since: int) -> None:
        if self.away:
            raise Unavailable("away")
        self.linked.append(device)


class Rounds:
    """The sweep, with the clock moved to when something is due."""

    def __init__(self, url: str, sweep: PendingSweep, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url, self.sweep, self._patch, self.now = url, sweep, monkeypatch, START
        self.set(START)

    def set(self, now: int) -> None:
        self.now = now
        self._patch.setattr(clock, "now_ms", lambda: now)

    async def sql(self, statement: str, *params: Any) -> list[Any]:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            cursor = await connection.execute(statement, params)
            return await cursor.fetchall() if cursor.description else []

    async def write(self, subject: str, operation: pending.Operation) -> int:
        rows = await self.sql(pending.INSERT, subject, None, self.now, self.now, pending.encode(operation))
        return int(rows[0][0])

    async def run(self, rounds: int) -> None:
        for _ in range(rounds):
            self.set(self.now + pending.LONGEST_MS + 1)
            await self.sweep.once()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def rounds(
    new_postgres_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Rounds]:
    async with AsyncConnectionPool(
        new_postgres_url, min_size=1, max_size=2, open=False, kwargs={"autocommit": True}
    ) as pool:
        yield Rounds(new_postgres_url, PendingSweep(pool, cast(Elsewhere, store)), monkeypatch)


@pytest.mark.parametrize(
    "error", [Unavailable(f"CassErrorServerInvalidQuery: {SECRET!r}"), ValueError(SECRET)]
)
async def test_what_always_fails_is_parked_and_what_is_behind_it_goes_on(
    rounds: Rounds, store: Store, error: Exception
) -> None:
    store.error = error
    user, phone = new_id(), new_id()
    bad = await rounds.write(user, SetFlags(user, new_id(), Flags(draft=SECRET), START))
    await rounds.write(user, LinkDevice(user, phone, START, 0))
    await rounds.run(pending.MOST_FAILURES - 1)
    assert store.linked == [], "in the order of the rows"
    assert (rounds.sweep.waiting, rounds.sweep.parked) == (2, 0)
    assert rounds.sweep.age_s == (rounds.now - START) / 1000
    await rounds.run(1)
    assert store.linked == []
    await rounds.run(1)
    assert store.linked == [phone]
    assert (rounds.sweep.waiting, rounds.sweep.parked, rounds.sweep.age_s) == (0, 1, 0.0)
    ((parked, row, why),) = await rounds.sql("SELECT parked, id, error FROM delivery_pending")
    assert (parked, row) == (True, bad)
    assert why in ("Unavailable CassErrorServerInvalidQuery", "ValueError"), "never what it says beyond that"
    await rounds.run(3)
    assert await rounds.sql("SELECT failures FROM delivery_pending") == [(pending.MOST_FAILURES,)]


async def test_a_store_that_is_away_parks_nothing(rounds: Rounds, store: Store) -> None:
    store.away = True
    user, phone = new_id(), new_id()
    await rounds.write(user, LinkDevice(user, phone, START, 0))
    await rounds.run(3 * pending.MOST_FAILURES)
    assert (rounds.sweep.waiting, rounds.sweep.parked) == (1, 0)
    store.away = False
    await rounds.run(1)
    assert store.linked == [phone]
    assert await rounds.sql("SELECT id FROM delivery_pending") == []


async def test_a_row_of_an_older_process_is_carried_out(rounds: Rounds, store: Store) -> None:
    """It does not say when it was written, and counts for no age."""
    user, phone = new_id(), new_id()
    old = """INSERT INTO delivery_pending (subject, pair, due_at, tries, operation)
        VALUES (%s::uuid, NULL, %s::bigint, 0, %s::bytea)"""
    await rounds.sql(old, user, 2**50, pending.encode(ForgetFlags(user)))
    await rounds.run(1)
    assert (rounds.sweep.waiting, rounds.sweep.age_s) == (1, 0.0)
    await rounds.sql(old, new_id(), START, pending.encode(LinkDevice(user, phone, START, 0)))
    await rounds.run(1)
    assert store.linked == [phone]
