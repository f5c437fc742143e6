"""People whose devices are reached by a recording sender, over real stores: what they are sent, and what their screens show."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import psycopg
import pytest

from delivery.ids import conversation_id
from delivery.inbox import Complete, Inbox, Registration, dirty_key, marker_key
from delivery.store.interface import Store
from delivery.store.values import Change, Flags, Outcome, PositionWrite, ReceiptWrite
from notifications.dispatch import Dispatch
from notifications.plans import Plan
from notifications.policy import Policy
from notifications.senders.interface import Push, Result, Target, Urgency
from tests.contract.people import T0, amendment, new_id, send
from tests.notifications.dispatching import ACCEPTED
from whatsapp.infra import clock
from whatsapp.infra.directory import sessions_key
from whatsapp.infra.hot import Hot
from whatsapp.infra.postgres import open_pool

HOUR = 3_600_000
KEY, SECRET = b"\x04" + b"k" * 64, b"s" * 16


@dataclass
class Phone:
    """A device, as its provider reaches it: a newer notification takes the place of an earlier one of the same key."""

    user: str
    id: str
    token: str
    pushes: list[Push] = field(default_factory=list)
    shown: dict[str, dict[str, Any]] = field(default_factory=dict)  # collapse key → what it says
    badge: int = 0

    def take(self, push: Push) -> None:
        self.pushes.append(push)
        if push.badge is not None:
            self.badge = push.badge
        said = json.loads(push.content) if push.content else {}
        if push.urgency is Urgency.MESSAGE:
            self.shown[push.collapse] = said
        for key in said.get("clear", ()):
            self.shown.pop(key, None)

    def told(self) -> list[tuple[str, int]]:
        """(conversation, seq) of what it shows."""
        return sorted((said["conversationId"], said["seq"]) for said in self.shown.values())

    def new(self) -> list[Push]:
        """What came since this was last asked."""
        pushes, self.pushes = self.pushes, []
        return pushes


class World:
    """``now`` is its clock."""

    provider = "apns"

    def __init__(self, store: Store, hot: Hot, url: str) -> None:
        self.store, self.hot, self.now = store, hot, T0
        self.pool = open_pool(url, low=1, high=4)
        self.url = url
        self.writer = new_id()
        self.phones: dict[str, Phone] = {}  # by token
        self.again: dict[str, int] = {}
        self._inbox = Inbox(hot)

    async def open(self) -> World:
        await self.pool.open(wait=True)
        self.policy = Policy(self.store, self.hot, self.pool)
        self.dispatch = Dispatch(self.pool, {"app": self})
        return self

    async def send(self, target: Target, push: Push) -> Result:
        self.phones[target.token].take(push)
        return ACCEPTED

    async def close(self) -> None:
        await self.pool.close()

    async def sql(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            cursor = await connection.execute(statement, params)
            return await cursor.fetchall() if cursor.description else []

    # people

    async def account(self) -> str:
        user = new_id()
        await self.sql(
            "INSERT INTO accounts_account (id, name, about, language, region, created_at) VALUES (%s, '', '', '', 0, %s)",
            user, T0,
        )  # fmt: skip
        return user

    async def device(self, user: str, **fields: Any) -> Phone:
        """A linked device that is reached, since long ago. ``fields``: of its target."""
        phone = Phone(user, new_id(), new_id())
        await self.sql(
            """INSERT INTO accounts_device (id, user_id, name, "primary", linked_at, last_seen_at, unlinked_for, session_from)
            VALUES (%s, %s, '', false, 0, 0, '', 0)""",
            phone.id, user,
        )  # fmt: skip
        values = {"p256dh": KEY, "auth": SECRET, "preview": True, "badge": 0, "success_at": 1, **fields}
        values |= {"device_id": phone.id, "app": "app", "token": phone.token, "set_at": 1}
        values |= {"token_hash": hashlib.sha256(phone.token.encode()).digest()}
        values = {"error": "", "time_zone": "UTC", **values}
        marks = ", ".join(["%s"] * len(values))
        await self.sql(
            f"INSERT INTO notifications_pushtarget ({', '.join(values)}) VALUES ({marks})", *values.values()
        )
        await self.store.link_device(user, phone.id, 1)
        self.phones[phone.token] = phone
        return phone

    async def person(self, **fields: Any) -> Phone:
        return await self.device(await self.account(), **fields)

    async def direct(self, one: str, other: str) -> str:
        return await self.store.ensure_direct(one, other, conversation_id(self.now, "direct"), self.now)

    async def group(self, *members: str) -> str:
        conversation = conversation_id(self.now, "group")
        await self.store.create_group(conversation, self.now)
        await self.change(conversation, joins=members)
        return conversation

    async def change(self, conversation: str, joins: Sequence[str] = (), leaves: Sequence[str] = ()) -> int:
        kind = "member_added" if joins else "member_removed"
        change = Change(new_id(), kind, msgspec.msgpack.encode({}), tuple(joins), tuple(leaves))
        changed = await self.store.change(self.writer, conversation, (*joins, *leaves)[0], [change], self.now)
        return changed.seqs[0]

    async def block(self, user: str, sender: str) -> None:
        await self.store.withhold(user, sender, True, self.now)
        await self.sql(
            "INSERT INTO accounts_block (owner_id, user_id, at) VALUES (%s, %s, %s)", user, sender, self.now
        )

    async def unblock(self, user: str, sender: str) -> None:
        await self.store.withhold(user, sender, False, self.now)
        await self.sql("DELETE FROM accounts_block WHERE owner_id = %s AND user_id = %s", user, sender)

    # what they do

    async def say(self, conversation: str, sender: str, **fields: Any) -> int:
        """A message; its seq. ``fields``: of :func:`tests.contract.people.send`."""
        mentions = list(fields.pop("mentions", ()))
        extra = msgspec.msgpack.encode({"mentions": mentions}) if mentions else None
        made = send(conversation, sender, new_id(), mentions=mentions, **{"extra": extra, **fields})
        (result,) = (await self.store.append(self.writer, [made], self.now)).results
        assert result.outcome is Outcome.STORED
        await self.store.save([], [ReceiptWrite(conversation, sender, sent=result.seq)], self.now)
        self.last_id = made.message_id
        return result.seq

    async def amend(self, conversation: str, sender: str, target: str, kind: str, body: bytes = b"") -> int:
        made = amendment(conversation, sender, new_id(), target, kind, body)
        (result,) = (await self.store.append(self.writer, [made], self.now)).results
        assert result.outcome is Outcome.STORED
        return result.seq

    async def read(self, user: str, conversation: str, seq: int) -> None:
        """On another device."""
        await self.store.save([], [ReceiptWrite(conversation, user, seq, seq)], self.now)

    async def ack(self, phone: Phone, conversation: str, seq: int) -> None:
        await self.store.save([PositionWrite(phone.id, conversation, seq)], [], self.now)

    async def flag(self, user: str, conversation: str, **flags: Any) -> None:
        await self.store.set_flags(user, conversation, Flags(**flags), self.now)

    async def connect(self, phone: Phone) -> None:
        await self._inbox.register([Registration(phone.user, phone.id, "gateway", self.now, "online")])

    async def disconnect(self, *phones: Phone) -> None:
        await self.hot.run([("DEL", sessions_key(phone.user)) for phone in phones])

    async def has_marker(self, phone: Phone) -> None:
        await self._inbox.complete([Complete(phone.user, phone.id, "epoch", [])])

    async def forget(self, phone: Phone) -> None:
        """The hot node loses what it has of a user."""
        keys = (
            sessions_key(phone.user),
            marker_key(phone.user, phone.id),
            dirty_key(phone.user, phone.id),
        )
        await self.hot.run([("DEL", *keys)])

    # what they are sent

    async def plan(self, *users: str) -> Plan:
        return await self.policy.plan(users, self.now)

    async def settle(self, *phones: Phone) -> None:
        """As a worker that finds their users due."""
        plan = await self.plan(*{phone.user for phone in phones})
        self.again = plan.again
        assert await self.dispatch.deliver(plan.pushes) == {}


@contextlib.asynccontextmanager
async def world_of(
    store: Store, url: str, hot_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    """``url``: PostgreSQL with the accounts, wherever the log is."""
    hot = Hot(hot_url)
    await hot.start()
    world = await World(store, hot, url).open()
    monkeypatch.setattr(clock, "now_ms", lambda: world.now)
    try:
        yield world
    finally:
        monkeypatch.undo()
        await world.close()
        await hot.stop()
