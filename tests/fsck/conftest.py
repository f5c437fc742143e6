"""A small world in which something of everything is kept, and ways to run fsck over it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import connection, transaction

from chats.fsck import sections
from delivery.fsck.runner import Report, run
from delivery.fsck.section import Finding
from delivery.inbox import dirty_key, marker_key
from delivery.store.fsck import ALL
from delivery.store.sync import store
from delivery.store.values import Amendment, PositionWrite, ReceiptWrite, Send
from groups.models import Group, Icon
from tests.accounts.conftest import Person, _memory_layer, clock, limits, told  # noqa: F401 - fixtures
from tests.chats.conftest import open_direct
from tests.groups.conftest import make, sign_in
from whatsapp.infra import files
from whatsapp.infra.clock import now_ms
from whatsapp.infra.directory import sessions_key
from whatsapp.infra.hot import parse_epoch

NIL = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(autouse=True)
def room(limits: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Limits of development; what goes to the lanes is dropped, for no worker runs beside these tests."""
    limits(groups_per_hour=100_000, group_changes_per_hour=100_000)
    monkeypatch.setattr("delivery.changes._tell", lambda entry: None)
    monkeypatch.setattr("delivery.fsck.section.Twice.apart_s", 0.05)


@pytest.fixture
def hot(valkey_server: Any, settings: Any) -> Any:
    """A database of the node for this test alone: fsck walks along all keys."""
    settings.HOT_URL = valkey_server.url(9)
    node = redis.Redis.from_url(settings.HOT_URL)
    node.flushdb()
    return node


def sql(statement: str, *params: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall() if cursor.description else []


def say(
    person: Person, conversation: str, *bodies: str, kind: str = "text", lasts: int = 0, at: int = 0
) -> list[str]:
    """Append messages with ascending seqNums; their ids."""
    known = sql(
        "SELECT last FROM delivery_seqnum WHERE device = %s AND conversation = %s",
        person.device_id, conversation,
    )  # fmt: skip
    last = known[0][0] if known else 0
    sends = [
        Send(
            conversation, person.user_id, person.device_id, str(uuid.uuid4()), kind, body.encode(),
            blake2b(body.encode(), digest_size=16).digest(), 1, last + 1 + place, lasts=lasts,
        )
        for place, body in enumerate(bodies)
    ]  # fmt: skip
    with transaction.atomic():
        store.append(str(uuid.uuid4()), sends, at or now_ms() - 120_000)
    return [send.message_id for send in sends]


def amend(person: Person, conversation: str, kind: str, target: str, body: str) -> None:
    amendment = Amendment(
        conversation, person.user_id, person.device_id, str(uuid.uuid4()), kind, body.encode(), b"h" * 16, 1,
        target=target, distinct=20,
    )  # fmt: skip
    with transaction.atomic():
        store.append(str(uuid.uuid4()), [amendment], now_ms() - 120_000)


def ack(person: Person, conversation: str, seq: int) -> None:
    with transaction.atomic():
        store.save(
            [PositionWrite(person.device_id, conversation, seq)],
            [ReceiptWrite(conversation, person.user_id, seq, seq)],
            now_ms(),
        )


@dataclass
class World:
    """Ann and Bob talk and share a group with Cat; Ann has blocked Dan. Bob has a mark for what he has not read."""

    ann: Person
    bob: Person
    cat: Person
    dan: Person
    direct: str  # of Ann and Bob: 8 events
    group: str
    blocked: str  # of Ann and Dan
    hot: Any

    @property
    def epoch(self) -> str:
        return parse_epoch(self.hot.execute_command("INFO server replication commandstats"))

    def head(self, conversation: str, columns: str) -> tuple[Any, ...]:
        # Names of columns, from these tests.
        return sql(f"SELECT {columns} FROM delivery_head WHERE conversation = %s", conversation)[0]

    def complete(self, person: Person, marks: dict[str, int]) -> None:
        """A device whose dirty set is complete under this epoch, with a session."""
        dirty, marker = (
            dirty_key(person.user_id, person.device_id),
            marker_key(person.user_id, person.device_id),
        )
        if marks:
            self.hot.zadd(dirty, marks)
            self.hot.expire(dirty, 1000)
        self.hot.set(marker, self.epoch, ex=1000)

    def session(self, person: Person, process: str) -> None:
        self.hot.set(
            sessions_key(person.user_id), f'{{"{person.device_id}": ["{process}", 5, "online"]}}', ex=900
        )


@pytest.fixture
def world(db: Any, hot: Any) -> World:
    ann, bob, cat, dan = (sign_in() for _ in range(4))
    direct, blocked = open_direct(ann, bob), open_direct(ann, dan)
    group = make(ann, bob, cat)
    first, *_ = say(ann, direct, "one", "two", "three")
    say(bob, direct, "four")
    amend(ann, direct, "edit", first, "eins")
    amend(bob, direct, "reaction", first, "!")
    say(ann, direct, "seven", "eight")
    say(cat, group, "hello", "again")
    say(dan, blocked, "hi")
    assert ann.api.put(f"/blocks/{dan.user_id}").status_code in (200, 204)
    say(dan, blocked, "hidden", "hidden too")
    ack(bob, direct, 5)
    ack(ann, direct, 8)
    made = World(ann, bob, cat, dan, direct, group, blocked, hot)
    icon = Icon.objects.create(group_id=group, digest="d" * 32, created_at=1)
    for name in icon.names.values():
        files.save(name, b"a picture")
    Group.objects.filter(pk=group).update(icon=icon)
    group_head = made.head(group, "head")[0]
    made.complete(bob, {direct: 8, group: group_head})
    hot.set("gw:{alive}:alive", "gateway-1")
    made.session(bob, "alive")
    return made


def fsck(
    *, repair: bool = False, only: Sequence[str] = (), tail: int = ALL, **options: Any
) -> tuple[list[Finding], Report]:
    """What a run finds."""
    from delivery.fsck.hot import connect

    found: list[Finding] = []
    chosen = [
        section for section in sections(connect(settings.HOT_URL), tail) if not only or section.name in only
    ]
    report = run(chosen, repair=repair, tell=lambda _, finding: found.append(finding), **options)
    return found, report
