"""The lives of devices: whoever dies in the middle of a link, an unlink or an expiry leaves behind what the next call ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from delivery.store.cassandra import devices, fsck_rows
from delivery.store.cassandra.positions import acked
from delivery.store.cassandra.session import Cassandra, Row
from delivery.store.cassandra.store import CassandraStore
from delivery.store.interface import Unavailable
from delivery.store.values import DeviceRow, Outcome, PageRequest, Position, PositionWrite, ReceiptWrite
from tests.contract.people import T0, People, send

DAY = 86_400_000


class Dying(Cassandra):
    """From its ``left``-th statement on nothing is sent any more; ``answers``: that one is, but its answer is lost."""

    left = 10_000
    answers = True

    async def _ask(self, operation: str, request: Awaitable[Any]) -> Any:
        if operation != "prepare":
            self.left -= 1
            if self.left < 0 or (self.left == 0 and self.answers):
                request.close()  # type: ignore[attr-defined]
                raise Unavailable("dead")
        answer = await super()._ask(operation, request)
        if self.left == 0 and operation != "prepare":
            raise Unavailable("dead")
        return answer


@pytest.fixture
async def dying(cassandra_at: tuple[str, int, str]) -> AsyncIterator[Dying]:
    host, port, keyspace = cassandra_at
    session = Dying([host], keyspace, port=port)
    await session.open()
    yield session
    await session.close()


@pytest.fixture
async def people(session: Cassandra) -> People:
    return await People(CassandraStore(session)).meet()  # type: ignore[arg-type]


async def at_every_step(
    dying: Dying,
    begin: Callable[[], Awaitable[Any]],
    call: Callable[[CassandraStore, Any], Awaitable[Any]],
    end: Callable[[Any], Awaitable[None]],
) -> int:
    """``call`` dies at its first statement, at its second, … before or after it has happened; ``end`` is told of each. How many
    statements it has."""
    for step in (*range(1, 20), *range(20, 150, 3)):
        for answers in (True, False) if step < 20 else (step % 2 == 0,):
            subject = await begin()
            dying.left, dying.answers = step, answers
            try:
                await call(CassandraStore(dying), subject)
                died = False
            except Unavailable:
                died = True
            dying.left = 10_000
            await end(subject)
            if not died:
                return step - 1
    raise AssertionError("it has no end")


async def test_a_link_that_dies_anywhere_is_ended_by_the_next(people: People, dying: Dying) -> None:
    store = people.store
    await people.say(b"1", b"2", b"3")

    async def begin() -> str:
        return str(uuid4())

    async def link(dead: CassandraStore, device: str) -> None:
        await dead.link_device(people.bob, device, T0)

    async def end(device: str) -> None:
        await store.link_device(people.bob, device, T0)
        at = (await store.positions(people.bob, device, [people.conversation]))[people.conversation]
        assert at == Position(3, 3)
        assert DeviceRow(device, T0) in (await store.devices([people.bob]))[people.bob]
        # All of it is one life: what is saved counts.
        await store.save([PositionWrite(device, people.conversation, 5)], [], T0)
        assert (await store.positions(people.bob, device, [people.conversation]))[people.conversation] == (
            5,
            3,
            0,
        )
        await store.unlink_device(people.bob, device, T0)
        assert device not in [row.device for row in (await store.devices([people.bob]))[people.bob]]

    assert await at_every_step(dying, begin, link, end) >= 5


async def test_an_unlink_that_dies_anywhere_is_ended_by_the_next(people: People, dying: Dying) -> None:
    store = people.store
    await people.say(b"1", b"2", b"3")

    async def begin() -> str:
        device = str(uuid4())
        await store.link_device(people.bob, device, T0)
        await store.append(people.writer, [send(people.conversation, people.bob, device, seq_num=1)], T0)
        return device

    async def unlink(dead: CassandraStore, device: str) -> None:
        await dead.unlink_device(people.bob, device, T0)

    async def end(device: str) -> None:
        await store.unlink_device(people.bob, device, T0)
        assert device not in [row.device for row in (await store.devices([people.bob]))[people.bob]]
        assert await store.positions(people.bob, device, [people.conversation]) == {}
        await store.link_device(people.bob, device, T0)
        head = (await store.conversations([people.conversation]))[people.conversation].head
        assert (await store.positions(people.bob, device, [people.conversation]))[people.conversation] == (
            head, head, 0,
        )  # fmt: skip
        one = send(people.conversation, people.bob, device, seq_num=1)
        (result,) = (await store.append(people.writer, [one], T0)).results
        assert result.outcome is Outcome.STORED, "it counts from 1 again"
        await store.unlink_device(people.bob, device, T0)

    assert await at_every_step(dying, begin, unlink, end) >= 5


async def test_what_comes_late_of_an_earlier_life_is_not_of_this_one(
    people: People, session: Cassandra
) -> None:
    store, device = people.store, str(uuid4())
    await people.say(b"1", b"2", b"3")
    await store.link_device(people.bob, device, T0, 1)
    ((first,),) = await session.rows("SELECT link FROM $.linked WHERE device = ?", device)
    await store.unlink_device(people.bob, device, T0)
    cql, params = acked(device, first, people.conversation, 3)
    await session.run(cql, *params)
    await session.run(
        "INSERT INTO $.device (member, device, linked_at, link) VALUES (?, ?, ?, ?) USING TIMESTAMP ?",
        people.bob, device, T0, first, first,
    )  # fmt: skip
    assert device not in [row.device for row in (await store.devices([people.bob]))[people.bob]]
    await store.link_device(people.bob, device, T0, 1)
    assert await store.positions(people.bob, device, [people.conversation]) == {
        people.conversation: Position(0, 3)
    }


async def test_links_and_unlinks_at_once_leave_one_state(people: People, session: Cassandra) -> None:
    stores = [people.store, *(CassandraStore(session) for _ in range(2))]
    for _ in range(6):
        device = str(uuid4())
        calls = [store.link_device(people.bob, device, T0) for store in stores for _ in range(2)]
        calls += [store.unlink_device(people.bob, device, T0) for store in stores]
        await asyncio.gather(*calls)
        listed = device in [row.device for row in (await people.store.devices([people.bob]))[people.bob]]
        there = await people.store.positions(people.bob, device, [people.conversation])
        assert listed is bool(there)
        rows = await session.rows("SELECT link, ended, ready FROM $.linked WHERE device = ?", device)
        assert listed is (bool(rows) and not rows[0][1])


async def test_a_position_in_doubt_is_repeated_not_lost(people: People, dying: Dying) -> None:
    """Written twice, late, or in the wrong order it is the same."""
    await people.say(*[b"x"] * 5)
    store = people.store
    dying.left, dying.answers = 2, False
    acks = [PositionWrite(people.tablet, people.conversation, 4)]
    receipts = [ReceiptWrite(people.conversation, people.bob, 4, 4)]
    with pytest.raises(Unavailable):
        await CassandraStore(dying).save(acks, receipts, T0 + 5)
    await store.save([PositionWrite(people.tablet, people.conversation, 2)], [], T0)
    await store.save(acks, receipts, T0 + 9)
    at = await store.positions(people.bob, people.tablet, [people.conversation])
    assert at == {people.conversation: Position(4, 5)}
    (told,) = await store.receipts([people.conversation], people.alice, 0)
    assert (told.delivered, told.read) == (4, 4)


async def test_an_expiry_that_dies_anywhere_is_ended_by_the_next(people: People, dying: Dying) -> None:
    store = people.store
    # A day that was swept is not swept again: each run over the same tables has its own.
    days = iter(range(10_000 + random.randrange(50), 0, -50))

    async def begin() -> tuple[str, int]:
        past = next(days) * DAY
        conversation = await store.ensure_direct(people.alice, str(uuid4()), str(uuid4()), T0)
        sends = [send(conversation, people.alice, people.phone) for _ in range(4)]
        await store.append(people.writer, sends[:3], past)
        await store.append(people.writer, sends[3:], past + 20 * DAY)
        await store.save([PositionWrite(people.phone, conversation, 1)], [], past)
        return conversation, past

    async def expire(dead: CassandraStore, subject: tuple[str, int]) -> None:
        await dead.expire(subject[1] + 35 * DAY, 30 * DAY)

    async def end(subject: tuple[str, int]) -> None:
        conversation, past = subject
        while await store.expire(past + 35 * DAY, 30 * DAY):
            pass
        (page,) = await store.pages([PageRequest(conversation, people.alice, 0)])
        assert ([event.seq for event in page.events], page.floor, page.head) == ([4], 3, 4)
        assert page.events[0].ordinal == 4
        assert (await store.positions(people.alice, people.phone, [conversation]))[conversation] == (3, 4, 3)

    assert await at_every_step(dying, begin, expire, end) >= 8


async def test_two_expiries_at_once_end_each_event_once(people: People, session: Cassandra) -> None:
    past = (
        random.randrange(20_000, 1_000_000) * DAY
    )  # so long after the others' days that nothing of them is due twice
    others = [
        await people.store.ensure_direct(people.alice, str(uuid4()), str(uuid4()), T0) for _ in range(5)
    ]
    for conversation in others:
        await people.append(*(send(conversation, people.alice, people.phone) for _ in range(7)), now=past)
    while await people.store.expire(past - 1, 0):
        pass  # what other tests have left behind
    stores = [people.store, CassandraStore(session)]
    gone = await asyncio.gather(
        *(store.expire(past + 31 * DAY, 30 * DAY, 20) for store in stores for _ in range(2))
    )
    gone += [await people.store.expire(past + 31 * DAY, 30 * DAY)]
    assert sum(gone) == 35
    for conversation in others:
        assert await people.read(people.alice, conversation=conversation) == []


async def test_a_window_of_a_long_log_costs_a_few_looks(
    people: People, dying: Dying, session: Cassandra
) -> None:
    conversation = people.conversation
    insert = """INSERT INTO $.event (conversation, bucket, seq, message_id, ordinal, at, sender, kind)
    VALUES (?, ?, ?, ?, ?, ?, ?, 'text') USING TIMESTAMP ?"""
    await session.write([
        (insert, (conversation, n // 4096, n, str(uuid4()), n, T0 + n, people.alice, T0 + n))
        for n in range(1, 9_001) if n % 7  # some never came to be
    ])  # fmt: skip
    dying.left = 1_000
    assert await devices.before(dying, conversation, 0, 9_000, T0 + 7_001) == 7_000
    assert dying.left >= 1_000 - 16
    assert await devices.before(dying, conversation, 0, 9_000, T0 + 9_001) == 9_000
    assert await devices.before(dying, conversation, 0, 9_000, T0) == 0


class Meanwhile(Cassandra):
    """Something happens behind fsck's look for the device in its user's list."""

    def __init__(self, session: Cassandra, then: Callable[[], Awaitable[None]]) -> None:
        self.__dict__ = dict(session.__dict__)
        self._then: Callable[[], Awaitable[None]] | None = then

    async def rows(self, cql: str, *params: Any, serial: bool = False) -> list[Row]:
        found = await super().rows(cql, *params, serial=serial)
        if cql == fsck_rows._DEVICE and self._then is not None:
            then, self._then = self._then, None
            await then()
        return found


async def unlinked_while_it_is_mended(people: People, session: Cassandra) -> None:
    """fsck has seen twice that a device that lives is in no list of its user's, and cannot put it back."""
    store: Any = people.store
    user, phone = people.alice, people.phone
    await store.link_device(user, phone, T0)
    cql = f"DELETE FROM $.device USING TIMESTAMP {2**61} WHERE member = ? AND device = ?"
    await session.run(cql, user, phone)
    (seen,) = await fsck_rows._lives(session, store._documents, [phone])
    assert seen.kind == "device.unlisted"
    meanwhile = Meanwhile(session, lambda: store.unlink_device(user, phone, T0 + 1))
    await fsck_rows._mend_life(meanwhile, store._documents, seen)
    assert await fsck_rows._lives_of(session, [phone]) == {}, "it was unlinked, and is linked again"


async def test_a_device_that_is_unlinked_while_fsck_mends_it_stays_unlinked(
    people: People, session: Cassandra
) -> None:
    await unlinked_while_it_is_mended(people, session)


async def test_twin_fsck_that_links_without_condition(
    people: People, session: Cassandra, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def anew(
        db: Cassandra, documents: Any, user: str, device: str, life: int, now: int, since: int
    ) -> bool:
        await devices.unlink(db, documents, user, device, now)
        await devices.link(db, documents, user, device, now, since)
        return True

    monkeypatch.setattr(devices, "anew", anew)
    with pytest.raises(AssertionError, match="linked again"):
        await unlinked_while_it_is_mended(people, session)


async def test_what_fsck_cannot_put_back_begins_another_life_with_all_that_it_is_owed(
    people: People, session: Cassandra
) -> None:
    store: Any = people.store
    await store.link_device(people.bob, people.tablet, T0)
    await store.append(people.writer, [people.send()], T0 + 10)
    cql = f"DELETE FROM $.device USING TIMESTAMP {T0 * 1000} WHERE member = ? AND device = ?"
    await session.run(cql, people.bob, people.tablet)
    (seen,) = await fsck_rows._lives(session, store._documents, [people.tablet])
    await fsck_rows._mend_life(session, store._documents, seen)
    assert [row.device for row in (await store.devices([people.bob]))[people.bob]] == [people.tablet]
    (behind,) = await store.behind(people.bob, people.tablet)
    assert behind.conversation == people.conversation
