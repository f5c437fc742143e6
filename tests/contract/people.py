"""Who is in a test of a store and what they say: sends, amendments, two people with a conversation, all that is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from typing import Any, TypeVar
from uuid import uuid4

from delivery.store.interface import Store, Unavailable
from delivery.store.values import Amendment, Logged, PageRequest, Send
from tests.support.patience import until

#: Time of the first thing that happens in a test; far above 0, so that "now - 2 h" is a time.
T0 = 1_800_000_000_000


T = TypeVar("T")


def new_id() -> str:
    return str(uuid4())


async def answered(ask: Callable[[], Awaitable[T]]) -> T:
    """What no test is about is asked again, as whoever uses a store does, where a busy server gave no answer in time."""
    found: list[T] = []

    async def is_there() -> bool:
        try:
            found.append(await ask())
        except Unavailable:
            return False
        return True

    await until(is_there, "the store answers")
    return found[0]


def send(
    conversation: str,
    sender: str,
    device: str,
    *,
    message_id: str | None = None,
    body: bytes = b"hello",
    kind: str = "text",
    seq_num: int = 0,
    extra: bytes | None = None,
    envelopes: bytes | None = None,
    mentions: Sequence[str] = (),
    lasts: int = 0,
) -> Send:
    body_hash = blake2b(kind.encode() + body, digest_size=16).digest()
    return Send(
        conversation,
        sender,
        device,
        message_id or new_id(),
        kind,
        body,
        body_hash,
        T0 - 5,
        seq_num,
        extra,
        envelopes,
        mentions,
        lasts,
    )


def amendment(
    conversation: str,
    sender: str,
    device: str,
    target: str,
    kind: str,
    body: bytes = b"",
    *,
    message_id: str | None = None,
    seq_num: int = 0,
    oldest: int = 0,
    distinct: int = 20,
) -> Amendment:
    """``kind``: edit, delete, reaction or vote."""
    body_hash = blake2b(kind.encode() + target.encode() + body, digest_size=16).digest()
    return Amendment(
        conversation, sender, device, message_id or new_id(), kind, body, body_hash, T0 - 5, seq_num, b"\x80",
        target=target, oldest=oldest, distinct=distinct,
    )  # fmt: skip


class People:
    """A direct conversation with a linked device on each side, made through the store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.alice, self.bob = new_id(), new_id()
        self.phone, self.desk, self.tablet = new_id(), new_id(), new_id()  # phone and desk are Alice's
        self.writer = new_id()
        self.conversation = ""

    async def meet(self) -> People:
        await self.store.link_device(self.alice, self.phone, T0)
        await self.store.link_device(self.bob, self.tablet, T0)
        self.conversation = await self.store.ensure_direct(self.alice, self.bob, new_id(), T0)
        return self

    def send(self, **fields: Any) -> Send:
        """A send of Alice's phone, unless ``fields`` say otherwise."""
        values = {"conversation": self.conversation, "sender": self.alice, "device": self.phone, **fields}
        return send(**values)

    def amend(self, target: str, kind: str, body: bytes = b"", **fields: Any) -> Amendment:
        """An amendment by Alice's phone, unless ``fields`` say otherwise."""
        values = {"conversation": self.conversation, "sender": self.alice, "device": self.phone, **fields}
        return amendment(target=target, kind=kind, body=body, **values)

    async def append(self, *sends: Send, now: int = T0) -> list[Any]:
        return (await self.store.append(self.writer, sends, now)).results

    async def say(self, *bodies: bytes, now: int = T0) -> list[int]:
        """Append texts of Alice; their seqs."""
        return [
            result.seq for result in await self.append(*(self.send(body=body) for body in bodies), now=now)
        ]

    async def read(self, user: str, after: int = 0, conversation: str = "", limit: int = 100) -> list[Logged]:
        """Everything owed to a user after a seq, page by page."""
        return await read_all(self.store, conversation or self.conversation, user, after, limit)


async def read_all(
    store: Store, conversation: str, user: str, after: int = 0, limit: int = 100
) -> list[Logged]:
    events: list[Logged] = []
    while True:
        (page,) = await store.pages([PageRequest(conversation, user, after, limit)])
        assert len(page.events) <= limit
        events += page.events
        if page.through >= page.head:
            return events
        assert page.through > after, "a page that is not the last one must move on"
        after = page.through


def seqs(events: Sequence[Logged]) -> list[int]:
    return [event.seq for event in events]
