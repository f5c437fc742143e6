"""fsck of a log on Cassandra: each kind of disagreement is found and mended; of what is right, or under way, nothing is said."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import override_settings

from delivery.fsck import elsewhere
from delivery.fsck.runner import Report, run
from delivery.fsck.section import BUSY, Finding, Section, Twice
from delivery.ids import conversation_id
from delivery.store import chosen
from delivery.store.cassandra import rows
from delivery.store.cassandra.document import Claim, Document, Intent, Lock, State, Step
from delivery.store.cassandra.session import Cassandra
from delivery.store.cassandra.store import CassandraStore
from delivery.store.fsck import ALL
from delivery.store.interface import Unavailable
from delivery.store.values import Change, PositionWrite, ReceiptWrite
from tests.contract.people import amendment, new_id, send
from whatsapp.infra.clock import now_ms

HOUR = 3_600_000


def ask(call: Callable[[Any], Any]) -> Any:
    """What a coroutine of the store on Cassandra returns."""
    return chosen.background.ask(lambda store: call(store.store))  # type: ignore[attr-defined]


def cql(statement: str, *params: Any) -> list[tuple[Any, ...]]:
    return ask(lambda store: store._db.rows(statement, *params))  # type: ignore[no-any-return]


def emptied() -> None:
    """fsck walks along everything there is: what tests before have left in this keyspace goes."""
    for table in (
        "conversation", "event", "message", "outbox", "writer", "progress", "linked", "device", "direct", "roster",
        "member", "position", "seqnum", "receipt",
    ):  # fmt: skip
        for _ in range(5):
            try:
                if cql(f"SELECT * FROM $.{table} LIMIT 1"):
                    cql(f"TRUNCATE $.{table}")
                break
            except Unavailable:
                continue


def stamp() -> int:
    return now_ms() * 1000


@dataclass
class Town:
    """Ann and Bob talk (8 events), and share a group with Cat; Ann has blocked Dan. All of it a few minutes ago."""

    ann: str = field(default_factory=new_id)
    bob: str = field(default_factory=new_id)
    cat: str = field(default_factory=new_id)
    dan: str = field(default_factory=new_id)
    direct: str = ""
    group: str = field(default_factory=lambda: conversation_id(now_ms(), "group"))
    blocked: str = ""
    writer: str = field(default_factory=new_id)
    at: int = field(default_factory=lambda: now_ms() - 5 * 60_000)
    ids: list[str] = field(default_factory=list)  # message ids of the direct conversation, by seq - 1
    devices: dict[str, str] = field(default_factory=dict)
    counts: dict[tuple[str, str], Any] = field(default_factory=dict)

    def build(self) -> Town:
        for user in (self.ann, self.bob, self.cat, self.dan):
            self.devices[user] = new_id()
            ask(lambda store, u=user: store.link_device(u, self.devices[u], self.at))
        self.direct = ask(lambda store: store.ensure_direct(self.ann, self.bob, new_id(), self.at))
        self.blocked = ask(lambda store: store.ensure_direct(self.ann, self.dan, new_id(), self.at))
        ask(lambda store: store.create_group(self.group, self.at))
        joins = (self.ann, self.bob, self.cat)
        added = Change(new_id(), "member_added", b"\x80", joins, speak=(self.ann,))
        ask(lambda store: store.change(self.writer, self.group, self.ann, [added], self.at))
        self.say(self.ann, self.direct, lasts=HOUR)
        self.say(self.ann, self.direct)
        self.say(self.bob, self.direct)
        self.amend(self.ann, "edit", 2, b"eins")
        self.amend(self.bob, "reaction", 2, b"!")
        self.say(self.ann, self.direct)
        self.amend(self.ann, "delete", 6, b"")
        self.say(self.bob, self.direct)
        self.say(self.cat, self.group, mentions=(self.bob,))
        self.say(self.dan, self.blocked)
        ask(lambda store: store.withhold(self.ann, self.dan, True, self.at))
        self.say(self.dan, self.blocked)
        self.say(self.dan, self.blocked)
        ask(
            lambda store: store.save(
                [PositionWrite(self.devices[self.bob], self.direct, 6)],
                [ReceiptWrite(self.direct, self.bob, 6, 5)],
                self.at,
            )
        )
        return self

    def _append(self, one: Any) -> None:
        ask(lambda store: store.append(self.writer, [one], self.at))
        if one.conversation == self.direct:
            self.ids.append(one.message_id)

    def _next(self, user: str, conversation: str) -> int:
        return next(self.counts.setdefault((user, conversation), itertools.count(1)))  # type: ignore[no-any-return]

    def say(self, user: str, conversation: str, **options: Any) -> None:
        seq_num = self._next(user, conversation)
        self._append(send(conversation, user, self.devices[user], seq_num=seq_num, **options))

    def amend(self, user: str, kind: str, seq: int, body: bytes) -> None:
        self._append(amendment(self.direct, user, self.devices[user], self.ids[seq - 1], kind, body))

    # -- what goes wrong

    def document(self, decide: Callable[[Document], Any], conversation: str = "") -> None:
        ask(lambda store: store._documents.change(conversation or self.direct, decide, now_ms()))

    def set(self, conversation: str = "", **values: Any) -> None:
        def decide(document: Document) -> None:
            for name, value in values.items():
                setattr(document, name, value)

        self.document(decide, conversation)

    def event(self, values: str, seq: int) -> None:
        cql(
            f"UPDATE $.event SET {values} WHERE conversation = ? AND bucket = 0 AND seq = ? AND message_id = ?",
            self.direct, seq, self.ids[seq - 1],
        )  # fmt: skip

    def delete(self, table: str, **key: Any) -> None:
        where = " AND ".join(f"{name} = ?" for name in key)
        cql(f"DELETE FROM $.{table} WHERE {where}", *key.values())

    def insert(self, table: str, **values: Any) -> None:
        statement, params = rows.of(table, **values)
        cql(statement, *params)

    def link(self, user: str) -> int:
        return int(cql("SELECT link FROM $.linked WHERE device = ?", self.devices[user])[0][0])

    def place(self, user: str) -> tuple[str, int]:
        return self.devices[user], self.link(user)


@pytest.fixture(scope="module")
def on_cassandra(cassandra_at: tuple[str, int, str]) -> Iterator[None]:
    host, port, keyspace = cassandra_at
    with override_settings(
        CASSANDRA_CONTACT_POINTS=[host],
        CASSANDRA_PORT=port,
        CASSANDRA_KEYSPACE=keyspace,
        LOG_STORE="cassandra",
    ):
        yield
        chosen.background.close()


@pytest.fixture(scope="module")
def town(on_cassandra: None) -> Town:
    emptied()
    return Town().build()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Twice, "apart_s", 0.05)


def fsck(
    *, repair: bool = False, only: str = "", tail: int = ALL, **options: Any
) -> tuple[list[Finding], Report]:
    sections: list[Section] = [*elsewhere.before(), elsewhere.Conversations(tail), *elsewhere.after()]
    found: list[Finding] = []
    chosen_ = [section for section in sections if not only or section.name == only]
    report = run(chosen_, repair=repair, tell=lambda _, finding: found.append(finding), **options)
    return found, report


def test_of_what_is_right_nothing_is_said(town: Town) -> None:
    found, report = fsck()
    assert found == []
    assert report.cursor is None
    assert report.checked["conversations"] == 3
    assert report.checked["messages"] >= 12


def _claim(town: Town, **values: Any) -> Claim:
    return Claim(
        town.ann, new_id(), b"h" * 16, 9, 6, town.at * 1000 + 900, town.at, town.at, **values
    )  # fmt: skip


def _an_open_claim(town: Town) -> None:
    def plain(document: Document) -> None:
        document.head += 1
        claim = _claim(town)
        claim.seq = document.head
        claim.ordinal = document.ordinal
        claim.state = State.OPEN
        document.claims.append(claim)

    town.document(plain)


def _an_intent(town: Town) -> None:
    def decide(document: Document) -> None:
        document.head += 1
        step = Step(document.head, new_id(), "info", b"\x80")
        document.intent = Intent(
            town.writer,
            stamp(),
            town.ann,
            town.at,
            document.ordinal,
            document.next_stamp(now_ms()),
            town.at,
            [step],
        )

    town.document(decide, town.group)


def _beyond(town: Town) -> None:
    head = 100
    claim = Claim(town.ann, new_id(), b"h" * 16, head, 50, stamp(), town.at, town.at, town.devices[town.ann])
    statement, params = rows.event(claim, town.direct, send(town.direct, town.ann, town.devices[town.ann]))
    cql(statement, *params)


def _young_no_more(town: Town) -> None:
    town.set(created_at=1)


#: kind → section, and what makes it so. Where one thing going wrong shows in several kinds, the first cause is named.
WRONG: dict[str, tuple[str, Callable[[Town], Any]]] = {
    "lock.endless": ("conversations", lambda t: t.set(lock=Lock(1, now_ms() + 900_000))),
    "claim.overdue": ("conversations", _an_open_claim),
    "intent.abandoned": ("conversations", _an_intent),
    "floor.ordinal": ("conversations", lambda t: t.set(floor_ordinal=7)),
    "log.ordinal": ("conversations", lambda t: t.event("ordinal = 99", 4)),
    "head.ordinal": ("conversations", lambda t: t.set(ordinal=1)),
    "head.oldest_at": ("conversations", lambda t: t.set(oldest_at=0)),
    "head.stamp": ("conversations", lambda t: t.set(stamp=1)),
    "message.missing": ("conversations", lambda t: t.delete("message", message_id=t.ids[1])),
    "event.edited": ("conversations", lambda t: t.event("edited = 7", 3)),
    "event.superseded": ("conversations", lambda t: t.event("superseded = true", 5)),
    "event.about_gone": ("conversations", lambda t: (t.amend(t.bob, "reaction", 3, b"?"), t.event("content = null", 3))),
    "about.missing": ("conversations", lambda t: t.delete("about", conversation=t.direct, target=2)),
    "about.orphan": (
        "conversations",
        lambda t: t.insert("about", conversation=t.direct, target=2, seq=3, message_id=new_id(), kind="edit", stamp=stamp()),
    ),
    "vanishing.missing": ("conversations", lambda t: cql("TRUNCATE $.vanishing")),
    "activity.missing": ("conversations", lambda t: cql("TRUNCATE $.activity")),
    "seqnum.behind": ("conversations", lambda t: t.set(lasts={t.devices[t.ann]: 1})),
    "head.behind": ("conversations", _beyond),
    "receipt.beyond": (
        "conversations",
        lambda t: ask(lambda store: store.save([], [ReceiptWrite(t.direct, t.bob, 150)], t.at)),
    ),
    "receipt.stranger": (
        "conversations",
        lambda t: ask(lambda store: store.save([], [ReceiptWrite(t.direct, t.cat, 1, 1, 1)], t.at)),
    ),
    "mention.beyond": (
        "conversations", lambda t: t.insert("mention", conversation=t.group, member=t.bob, seq=99, stamp=1)
    ),
    "roster.interval": (
        "conversations",
        lambda t: t.insert(
            "member", conversation=t.group, member=t.bob, joined_seq=2, left_seq=0, speaker=False, stamp=stamp()
        ),
    ),
    "roster.missing": (
        "conversations", lambda t: t.delete("roster", member=t.cat, conversation=t.group)
    ),
    "roster.differs": (
        "conversations",
        lambda t: t.insert("roster", member=t.cat, conversation=t.group, joined_seq=1, left_seq=2, stamp=stamp()),
    ),
    "head.roster_seq": ("conversations", lambda t: t.set(t.group, roster_seq=0)),
    "head.members": ("conversations", lambda t: t.set(t.group, members=9)),
    "direct.unlisted": (
        "conversations",
        lambda t: (_young_no_more(t), t.delete("direct", low=min(t.ann, t.bob), high=max(t.ann, t.bob))),
    ),
    "receipt.shown": ("conversations", lambda t: t.set(t.blocked, shown={})),
    "silent.missing": ("conversations", lambda t: t.delete("silent", member=t.dan, conversation=t.blocked)),
    "withheld.run": (
        "conversations", lambda t: t.document(lambda d: setattr(d.blocks[t.ann], "through", 1), t.blocked)
    ),
    "head.below_floor": (
        "conversations",
        lambda t: (t.delete("event", conversation=t.blocked, bucket=0), t.set(t.blocked, floor=90)),
    ),
    "head.missing": ("logs", lambda t: t.delete("conversation", conversation=t.direct)),
    "direct.head": ("directs", lambda t: t.set(kind="group")),
    "direct.member": ("directs", lambda t: t.set(people=[t.ann])),
    "roster.stranger": (
        "lists",
        lambda t: t.insert("roster", member=t.dan, conversation=t.group, joined_seq=1, left_seq=0, kind="group", stamp=1),
    ),
    "device.unready": (
        "lives", lambda t: cql("UPDATE $.linked SET ready = false WHERE device = ?", t.devices[t.cat])
    ),
    "device.unlisted": ("lives", lambda t: t.delete("device", member=t.cat, device=t.devices[t.cat])),
    "device.stale": (
        "devices", lambda t: t.insert("device", member=t.cat, device=new_id(), linked_at=1, link=1, stamp=1)
    ),
    "position.unlinked": (
        "positions", lambda t: t.insert("position", device=t.devices[t.bob], link=7, conversation=t.direct, acked=1, stamp=1)
    ),
    "position.stranger": (
        "positions",
        lambda t: t.insert(
            "position", device=t.place(t.dan)[0], link=t.link(t.dan), conversation=t.direct, acked=1, stamp=1
        ),
    ),
    "position.beyond": (
        "positions",
        lambda t: ask(lambda store: store.save([PositionWrite(t.devices[t.bob], t.direct, 5_000)], [], t.at)),
    ),
    "position.expired": (
        "positions",
        lambda t: t.insert(
            "position", device=t.devices[t.cat], link=t.link(t.cat), conversation=t.group, expired=50, stamp=50
        ),
    ),
    "seqnum.unlinked": ("counts", lambda t: t.insert("seqnum", device=new_id(), conversation=t.direct, last=1, stamp=1)),
    "message.nowhere": (
        "messages",
        lambda t: t.insert(
            "message", message_id=new_id(), sender=t.ann, conversation=t.direct, seq=4, at=t.at, body_hash=b"h", stamp=1
        ),
    ),
    "writer.behind": ("writers", lambda t: t.delete("writer", part=int(t.writer[0], 16), writer=t.writer)),
    "progress.ahead": (
        "progress",
        lambda t: t.insert("progress", writer=t.writer, epoch="e", row=stamp() * 2, at=t.at, stamp=stamp() * 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_each_is_found_and_mended(town: Town, kind: str) -> None:
    section, corrupt = WRONG[kind]
    corrupt(town)
    found, _ = fsck(only=section)
    assert kind in {finding.kind for finding in found}
    assert not any(finding.mended for finding in found)
    mended, _ = fsck(only=section, repair=True)
    assert kind in {finding.kind for finding in mended}
    assert [finding for finding in mended if not finding.mended] == []
    left, _ = fsck(repair=True)  # what is seen from elsewhere of the same
    assert [finding for finding in left if not finding.mended] == []
    assert fsck()[0] == []


def test_the_end_of_a_log_alone_and_where_to_go_on(town: Town) -> None:
    town.event("ordinal = 99", 3)
    assert fsck(only="conversations", tail=3)[0] == []
    found, report = fsck(only="conversations", batch=1, seconds=0)
    assert (found, report.cursor) == ([], ("conversations", ""))
    seen, start = set(), report.cursor
    while start is not None:
        found, report = fsck(only="conversations", batch=1, start=start, seconds=0.01)
        seen |= {finding.kind for finding in found}
        start = report.cursor
    assert seen == {"log.ordinal"}
    assert all(finding.mended for finding in fsck(repair=True)[0])


def test_who_cannot_have_the_lock_says_so(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("delivery.store.cassandra.lock.LOCK_WAIT_S", 0.2)
    town.event("ordinal = 99", 3)
    town.set(lock=Lock(1, now_ms() + 9_000))
    found, report = fsck(only="conversations", repair=True)
    assert [finding.kind for finding in found] == [BUSY]
    assert (report.found, report.busy) == (0, 1)
    town.set(lock=None)
    assert [(finding.kind, finding.mended) for finding in fsck(repair=True)[0]] == [("log.ordinal", True)]


class Busy:
    """Two gateways at work, in a thread: messages, edits, deletes, reactions, mentions, members, blocks, devices, receipts."""

    def __init__(self, at: tuple[str, int, str]) -> None:
        self._at = at
        self.done = 0
        self.error: BaseException | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Busy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(60)

    async def _run(self) -> None:
        host, port, keyspace = self._at
        sessions = [await Cassandra([host], keyspace, port=port).open() for _ in range(2)]
        try:
            stores = [CassandraStore(session) for session in sessions]
            work = (self._direct, self._group, self._people)
            await asyncio.gather(*(one(store) for store in stores for one in work))
        except BaseException as error:
            self.error = error
        finally:
            for session in sessions:
                await session.close()

    async def _direct(self, store: CassandraStore) -> None:
        ann, bob, mine, writer = (new_id() for _ in range(4))
        await store.link_device(ann, mine, now_ms())
        conversation = await store.ensure_direct(ann, bob, new_id(), now_ms())
        number = 0
        while not self._ended.is_set():
            sends = [
                send(conversation, ann, mine, seq_num=number + k, lasts=HOUR * (k % 2)) for k in (1, 2, 3)
            ]
            number += 3
            await store.append(writer, sends, now_ms())
            for kind, body in (("reaction", b"!"), ("edit", b"x"), ("delete", b"")):
                target = sends[number % 3].message_id
                await store.append(writer, [amendment(conversation, ann, mine, target, kind, body)], now_ms())
            seq = number * 2
            await store.save(
                [PositionWrite(mine, conversation, seq)],
                [ReceiptWrite(conversation, bob, seq, seq)],
                now_ms(),
            )
            await store.withhold(bob, ann, number % 2 == 0, now_ms())
            self.done += 6

    async def _group(self, store: CassandraStore) -> None:
        group, writer = conversation_id(now_ms(), "group"), new_id()
        people = [new_id() for _ in range(4)]
        await store.create_group(group, now_ms())
        joined = Change(new_id(), "member_added", b"\x80", tuple(people))
        await store.change(writer, group, people[0], [joined], now_ms())
        while not self._ended.is_set():
            mentioned = send(group, people[0], new_id(), mentions=people)
            await store.append(writer, [mentioned], now_ms())
            for joins, leaves in (((), (people[3],)), ((people[3],), ())):
                one = Change(new_id(), "member_removed", b"\x80", joins, leaves)
                await store.change(writer, group, people[0], [one], now_ms())
            self.done += 3

    async def _people(self, store: CassandraStore) -> None:
        user = new_id()
        while not self._ended.is_set():
            device = new_id()
            await store.ensure_direct(user, new_id(), new_id(), now_ms())
            await store.link_device(user, device, now_ms())
            await store.unlink_device(user, device, now_ms())
            self.done += 1


@pytest.mark.timeout(300)
def test_of_what_is_under_way_nothing_is_said(
    town: Town, cassandra_at: tuple[str, int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Twice, "apart_s", 1.0)
    with Busy(cassandra_at) as busy:
        rounds = 0
        while (rounds < 3 or busy.done < 200) and busy.error is None:
            found, report = fsck(repair=rounds % 2 == 1)
            assert [finding for finding in found if finding.kind != BUSY] == []
            rounds += 1
    assert busy.error is None
    assert report.checked["conversations"] > 3
    assert fsck()[0] == []
