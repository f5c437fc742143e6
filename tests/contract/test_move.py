"""A log that moves from PostgreSQL to Cassandra reads there as it read here, and goes on where it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command

from delivery.store.cassandra.moved import Differs, Target
from delivery.store.cassandra.session import Cassandra
from delivery.store.cassandra.store import CassandraStore
from delivery.store.interface import Change, Flags, Outcome, PageRequest, PositionWrite, ReceiptWrite, Store
from delivery.store.move import CONVERSATIONS, DEVICES, FLAGGED, NIL, Source
from tests.contract.harness import T0, PostgresHarness, amendment, new_id, send

pytestmark = pytest.mark.needs_cassandra


class Both:
    """A log on PostgreSQL with something of everything, and the store that it moves to."""

    def __init__(self, harness: PostgresHarness, url: str, session: Cassandra) -> None:
        self.harness, self.url, self.session = harness, url, session
        self.old: Store = harness.store
        self.new: Store = CassandraStore(session)
        self.ann, self.bob, self.cat = sorted(new_id() for _ in range(3))
        self.devices = {user: new_id() for user in (self.ann, self.bob, self.cat)}
        self.writer = new_id()
        self.pass_ = 0

    async def fill(self) -> None:
        store, ann, bob, cat = self.old, self.ann, self.bob, self.cat
        for user, device in self.devices.items():
            await store.link_device(user, device, T0)
        self.direct = await store.ensure_direct(ann, bob, new_id(), T0)
        self.blocked = await store.ensure_direct(ann, cat, new_id(), T0)
        self.group = new_id()
        await store.create_group(self.group, T0)
        added = Change(new_id(), "member_added", b"\x80", joins=(ann, bob, cat), speak=(ann,))
        await store.change(self.writer, self.group, ann, [added], T0)
        self.first = await self.say(ann, self.direct, b"one", seq_num=1)
        self.gone = await self.say(ann, self.direct, b"two", seq_num=2)
        await self.say(bob, self.direct, b"three", lasts=60_000)
        await self.amend(ann, self.direct, self.first, "edit", b"eins")
        await self.amend(bob, self.direct, self.first, "reaction", b"!")
        await self.amend(ann, self.direct, self.gone, "delete")
        await self.say(bob, self.group, b"all", mentions=[ann, cat])
        removed = Change(new_id(), "member_removed", b"\x80", leaves=(cat,))
        await store.change(self.writer, self.group, ann, [removed], T0 + 9)
        await self.say(cat, self.blocked, b"seen")
        await store.withhold(ann, cat, True, T0 + 10)
        await self.say(cat, self.blocked, b"hidden")
        await store.save(
            [PositionWrite(self.devices[bob], self.direct, 3)],
            [ReceiptWrite(self.direct, bob, 3, 2), ReceiptWrite(self.direct, ann, 0, 0, 2)],
            T0 + 20,
        )
        await store.set_flags(ann, self.direct, Flags(muted_until=5, pinned=True, draft=b"d"), T0 + 21)

    async def say(self, user: str, conversation: str, body: bytes, **options: Any) -> str:
        one = send(conversation, user, self.devices[user], body=body, **options)
        result = await self.old.append(self.writer, [one], T0 + 5)
        assert result.results[0].outcome is Outcome.STORED
        return one.message_id

    async def amend(self, user: str, conversation: str, target: str, kind: str, body: bytes = b"") -> None:
        one = amendment(conversation, user, self.devices[user], target, kind, body)
        result = await self.old.append(self.writer, [one], T0 + 6)
        assert result.results[0].outcome is Outcome.STORED

    async def move(self) -> int:
        """A pass; of how many conversations the events were copied."""
        self.pass_ += 1
        async with Source.open(self.url) as source:
            target = Target(self.session, T0 + 100 + self.pass_)
            copied = 0
            for conversation in await source.keys(CONVERSATIONS, NIL):
                copied += await target.conversation(source, conversation)
            for device in await source.keys(DEVICES, NIL):
                await target.device(source, device)
            for member in await source.keys(FLAGGED, NIL):
                await target.flags(source, member)
        return copied

    async def verify(self) -> None:
        async with Source.open(self.url) as source:
            target = Target(self.session, T0 + 900)
            for conversation in await source.keys(CONVERSATIONS, NIL):
                await target.verify(source, conversation)

    async def read(self, store: Store) -> dict[str, Any]:
        """Everything that anybody can be told."""
        ids = [self.direct, self.blocked, self.group]
        found: dict[str, Any] = {"conversations": await store.conversations(ids)}
        found["heads"] = await store.roster_heads(ids)
        found["silent"] = await store.silent(list(self.devices))
        found["devices"] = await store.devices(list(self.devices))
        found["badges"] = await store.badges(list(self.devices), T0 + 30)
        for user, device in self.devices.items():
            pages = await store.pages([PageRequest(one, user, 0) for one in ids])
            found[user] = {
                "pages": [(page.events, page.through, page.head, page.floor) for page in pages],
                "listed": await store.listed(user, 10),
                "behind": sorted(await store.behind(user, device)),
                "positions": await store.positions(user, device, ids),
                "receipts": sorted(await store.receipts([], user, 0)),
                "flags": await store.flags(user, self.direct),
            }
        return found


@pytest.fixture
async def both(
    new_postgres_url: str, contract_cassandra: tuple[str, int, str], django_db_blocker: Any
) -> AsyncIterator[Both]:
    host, port, keyspace = contract_cassandra
    session = await Cassandra([host], keyspace, port=port).open()
    with django_db_blocker.unblock():
        async with PostgresHarness(new_postgres_url) as harness:
            made = Both(harness, new_postgres_url, session)
            await made.fill()
            yield made
    await session.close()


async def test_it_reads_there_as_it_read_here(both: Both) -> None:
    assert await both.move() == 3
    await both.verify()
    old, new = await both.read(both.old), await both.read(both.new)
    for name in old:
        assert new[name] == old[name], name


async def test_a_later_pass_brings_what_has_changed_since_and_nothing_else(both: Both) -> None:
    await both.move()
    await both.say(both.ann, both.direct, b"later", seq_num=3)
    await both.amend(both.ann, both.direct, both.first, "delete")
    await both.old.save([PositionWrite(both.devices[both.bob], both.direct, 6)], [], T0 + 50)
    with pytest.raises(Differs):
        await both.verify()
    assert await both.move() == 1
    await both.verify()
    old, new = await both.read(both.old), await both.read(both.new)
    for name in old:
        assert new[name] == old[name], name
    contents = await both.session.rows(
        "SELECT content FROM $.event WHERE conversation = ? AND bucket = 0", both.direct
    )
    assert b"eins" not in [row[0] for row in contents]


async def test_the_log_goes_on_where_it_was(both: Both) -> None:
    await both.move()
    head = (await both.old.roster_heads([both.direct]))[both.direct].head
    device = both.devices[both.ann]
    wrong = send(both.direct, both.ann, device, body=b"x", seq_num=9)
    again = send(both.direct, both.ann, device, body=b"one", seq_num=1, message_id=both.first)
    right = send(both.direct, both.ann, device, body=b"next", seq_num=3)
    results = (await both.new.append(new_id(), [again, wrong, right], T0 + 200)).results
    assert [one.outcome for one in results] == [Outcome.DUPLICATE, Outcome.OUT_OF_ORDER, Outcome.STORED]
    assert (results[0].seq, results[1].expected, results[2].seq) == (1, 3, head + 1)
    edit = amendment(both.direct, both.ann, device, both.first, "edit", b"uno")
    assert (await both.new.append(new_id(), [edit], T0 + 201)).results[0].outcome is Outcome.STORED
    (page,) = await both.new.pages([PageRequest(both.direct, both.bob, 0)])
    assert page.events[0].content == b"uno"
    assert [event.kind for event in page.events].count("edit") == 1


async def test_what_is_not_the_same_is_noticed(both: Both) -> None:
    await both.move()
    ((message_id,),) = await both.session.rows(
        "SELECT message_id FROM $.event WHERE conversation = ? AND bucket = 0 AND seq = 3", both.direct
    )
    await both.session.run(
        f"UPDATE $.event USING TIMESTAMP {2**61} SET content = 0x00"
        " WHERE conversation = ? AND bucket = 0 AND seq = 3 AND message_id = ?",
        both.direct,
        message_id,
    )
    with pytest.raises(Differs, match=both.direct):
        await both.verify()


async def test_a_pass_that_was_interrupted_is_begun_anew(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dies(*_: Any) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(Target, "_write", dies)
        with pytest.raises(ConnectionError):
            for _ in range(3):
                await both.move()
    await both.amend(both.ann, both.direct, both.first, "delete")
    await both.move()
    await both.verify()


async def test_the_command_cuts_over_when_nobody_uses_the_log(
    both: Both, settings: Any, valkey_server: Any, contract_cassandra: tuple[str, int, str], capsys: Any
) -> None:
    host, port, keyspace = contract_cassandra
    settings.DATABASE_URL, settings.HOT_URL = both.url, valkey_server.url(8)
    settings.CASSANDRA_CONTACT_POINTS, settings.CASSANDRA_PORT = [host], port
    settings.CASSANDRA_KEYSPACE, settings.LOG_STORE = keyspace, "postgres"

    async def run(*arguments: str) -> str:
        await asyncio.to_thread(call_command, "move_log", "--to", "cassandra", *arguments)
        return str(capsys.readouterr().out)

    with redis.Redis.from_url(settings.HOT_URL) as hot:
        hot.flushdb()
        hot.set("gw:{one}:alive", "gateway-1")
        hot.set("a mark", "of before")
        assert "3 conversations, of 3 the events; 3 devices" in await run()
        await both.old.unlink_device(both.cat, both.devices[both.cat], T0 + 60)
        with pytest.raises(CommandError, match="1 processes use the log"):
            await run("--cut-over")
        assert hot.exists("a mark")
        hot.delete("gw:{one}:alive")
        said = await run("--cut-over")
        assert "of 0 the events; 2 devices" in said
        assert "Compared, and the same" in said
        assert not hot.exists("a mark")
    old, new = await both.read(both.old), await both.read(both.new)
    assert new["devices"] == old["devices"]
    settings.LOG_STORE = "cassandra"
    with pytest.raises(CommandError, match="not on PostgreSQL any more"):
        await run()
