"""Hidden read receipts over sockets and REST: reciprocal, in direct conversations only, by whatever way a receipt may come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from delivery.ports import OPEN
from delivery.session import Hub
from delivery.silence import Silence
from tests.gateway.peer import Peer
from tests.gateway.phone import Phone, couple, link, new_id, sign_up
from tests.gateway.test_blocks import _saved, block
from tests.gateway.test_privacy import add, show
from tests.support.patience import until
from whatsapp.wire import frames


def reads(peer: Peer, who: Phone, conversation: str = "") -> list[int | None]:
    """What the peer was told that somebody has read."""
    return [
        f.up_to
        for f in peer.log
        if isinstance(f, frames.StatusUpdate) and f.status == "read" and f.user_id == who.user
        and conversation in ("", f.conversation_id)
    ]  # fmt: skip


async def _read(stack: Any, conversation: str, phone: Phone, seq: int) -> bool:
    async with stack.stored() as log:
        found = (await log.receipts(conversation)).get(phone.user)
    return found is not None and found.read == seq


async def states(phone: Phone, conversation: str, message: str) -> list[str]:
    answer = await phone.rest("GET", f"/conversations/{conversation}/messages/{message}/receipts")
    return [item["status"] for item in answer.json()["items"]]


async def test_hidden_by_every_way_until_it_is_shown_again(stack: Any, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    one, two = [gateway["ws"] for gateway in stack.gateways.values()]
    tablet = await link(bob)
    async with (
        await Peer.open(one, ann, codec) as a,
        await Peer.open(two, bob, codec) as b,
        await Peer.open(one, tablet, codec) as second,
    ):
        group = (await ann.rest("POST", "/groups", {"name": "g", "members": [bob.user]})).json()["groupId"]
        sent = [await a.say(conversation, str(n)) for n in range(4)]
        mine = await b.say(conversation, "4")
        await b.messages(4)
        await a.expect(frames.Message)
        await b.ack(conversation, 4)
        await b.read(conversation, 1)
        await a.expect(frames.StatusUpdate, user_id=bob.user, status="read", up_to=1)
        since = a.ready.server_time if a.ready is not None else 0
        await show(bob, readReceipts="nobody")
        await b.read(conversation, 3)
        # The user's own devices are told; the other hears what was delivered, and in groups what was read, which comes behind.
        await second.expect(frames.StatusUpdate, user_id=bob.user, status="read", up_to=3)
        await a.ack(conversation, 5)
        await b.expect(frames.StatusUpdate, user_id=ann.user, status="delivered", up_to=5)
        await a.read(conversation, 5)
        for peer, other, who in ((a, b, bob), (b, a, ann)):
            told = await peer.say(group, "in a group")
            await other.expect(frames.Message, conversation_id=group)
            await other.ack(group, told.seq or 0)
            await other.read(group, told.seq or 0)
            await peer.expect(frames.StatusUpdate, conversation_id=group, user_id=who.user, status="read")
        assert reads(a, bob, conversation) == [1]
        assert reads(b, ann, conversation) == [], "who hides it is not told, either"
        await until(lambda: _read(stack, conversation, bob, 3), "it is written")
        await until(lambda: _read(stack, conversation, ann, 5), "it is written")
        assert await states(ann, conversation, sent[0].message_id) == ["delivered"]
        assert await states(bob, conversation, mine.message_id or "") == ["delivered"]
        # After a reconnect, at either gateway, with and without a time; and what is told says nothing of when it was read.
        async with stack.stored() as log:
            await log.received_at(conversation, since - 60_000)
        for url, fields, told in ((one, {}, [since - 60_000]), (two, {"since": since}, [])):
            async with await Peer.open(url, await link(ann), codec, sync=False) as fresh:
                await fresh.sync(**fields)
                await fresh.round_trip()
                assert reads(fresh, bob, conversation) == []
                got = [f for f in fresh.log if isinstance(f, frames.StatusUpdate) and f.user_id == bob.user]
                assert [f.timestamp for f in got if f.conversation_id == conversation] == told
        (item,) = [
            i for i in (await bob.rest("GET", "/conversations")).json()["items"] if i["kind"] == "direct"
        ]
        assert (item["read"], item["unread"]) == (3, 0)
        # Shown again: the next thing read is told, and who asks is told where the other is.
        await show(bob, readReceipts="everyone")
        await b.expect(
            frames.StatusUpdate, conversation_id=conversation, user_id=ann.user, status="read", up_to=5
        )
        assert await states(ann, conversation, sent[0].message_id) == ["read"]
        await b.read(conversation, 4)
        await a.expect(frames.StatusUpdate, user_id=bob.user, status="read", up_to=4)
        assert reads(a, bob, conversation) == [1, 4]


async def test_contacts_are_told_and_the_address_book_counts_at_once(stack: Any) -> None:
    """Here the other one hides it, so it is the reading side that is not told."""
    ann, bob, conversation = await couple(stack)
    cat = await sign_up(stack)
    other = await cat.direct(bob)
    one, two = [gateway["ws"] for gateway in stack.gateways.values()]
    async with AsyncExitStack() as opened:
        a, b, c = [
            await opened.enter_async_context(await Peer.open(url, phone, code))
            for url, phone, code in ((one, ann, "json"), (two, bob, "protobuf"), (one, cat, "json"))
        ]
        for n in range(4):
            await a.say(conversation, str(n))
            await c.say(other, str(n))
        await b.messages(8)
        for talk in (conversation, other):
            await b.ack(talk, 4)
        await show(ann, readReceipts="contacts")
        await show(cat, readReceipts="contacts")
        await add(cat, bob)

        async def read(seq: int) -> None:
            await b.read(conversation, seq)
            await b.read(other, seq)
            await c.expect(
                frames.StatusUpdate, conversation_id=other, user_id=bob.user, status="read", up_to=seq
            )
            await a.round_trip()

        await read(1)
        assert reads(a, bob) == []
        await add(ann, bob)
        # Who shows it to more people is told of them where they are now.
        await a.expect(frames.StatusUpdate, conversation_id=conversation, user_id=bob.user, status="read")
        await read(2)
        await a.expect(frames.StatusUpdate, user_id=bob.user, status="read", up_to=2)
        assert (await ann.rest("DELETE", f"/contacts/{bob.user}")).status_code == 204
        await read(3)
        await asyncio.gather(a.round_trip(), c.round_trip())
        assert max(seq or 0 for seq in reads(a, bob)) == 2


async def test_nobody_and_a_block_are_two_things(stack: Any) -> None:
    ann, bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann) as a, await Peer.open(stack.ws, bob) as b:
        await a.say(conversation)
        await b.expect(frames.Message)
        await b.ack(conversation, 1)
        await a.expect(frames.StatusUpdate, user_id=bob.user, status="delivered")
        await show(bob, readReceipts="nobody")
        await b.read(conversation, 1)
        await b.round_trip()
        await until(lambda: _saved(stack, conversation, 1), "it is written")
        await until(lambda: _read(stack, conversation, bob, 1), "it is written")
        await block(bob, ann)
        await block(bob, ann, on=False)
        # Both are told where the other is, as far as that is shown.
        await a.expect(frames.StatusUpdate, user_id=bob.user, status="delivered", up_to=1)
        await a.round_trip()
        assert reads(a, bob) == []


@pytest.mark.parametrize("value", ["friends", None, 1])
async def test_only_what_there_is_can_be_set(stack: Any, value: Any) -> None:
    ann = await sign_up(stack)
    answer = await ann.rest("PATCH", "/me/privacy", {"readReceipts": value})
    assert answer.status_code == 400


async def test_many_who_have_gone_are_asked_for_together() -> None:
    """A gateway that closes has what many of its users have just read, and no session to know to whom they show it."""
    asked: list[list[str]] = []

    class Store:
        async def silent(self, users: Sequence[str]) -> dict[str, frozenset[str]]:
            asked.append(list(users))
            await asyncio.sleep(0)
            return {user: frozenset() for user in users}

    store: Any = Store()
    silence = Silence(store, Hub())
    users = [new_id() for _ in range(100)]
    assert await asyncio.gather(*map(silence.reads, users)) == [OPEN] * 100
    assert asked == [users]
