"""Message requests over sockets and REST: a stranger is told the ✓ and nothing else, until it is accepted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.gateway.peer import Peer, events_of
from tests.gateway.phone import Phone, link, sign_up
from tests.gateway.test_amendments import done, react
from tests.gateway.test_blocks import _saved, _shape, block
from tests.gateway.test_privacy import ask
from tests.support.patience import until
from whatsapp.wire import frames


def urls(stack: Any) -> list[str]:
    return [gateway["ws"] for gateway in stack.gateways.values()]


async def listed(phone: Phone, conversation: str) -> dict[str, Any]:
    items = (await phone.rest("GET", "/conversations")).json()["items"]
    return next(item for item in items if item["conversationId"] == conversation)


async def strangers(stack: Any) -> tuple[Phone, Phone, str]:
    ann, bob = await asyncio.gather(sign_up(stack), sign_up(stack))
    return ann, bob, await ann.direct(bob, strangers=True)


async def accept(how: str, bob: Phone, b: Peer, ann: Phone, conversation: str) -> None:
    if how == "answer":
        await b.say(conversation, "who is this?")
    elif how == "reaction":
        await done(b, react(conversation, (await b.expect(frames.Message)).message_id, "👍"))
    elif how == "contact":
        assert (await bob.rest("PUT", f"/contacts/{ann.user}", {})).status_code == 200
    else:
        await bob.accept(conversation)


@pytest.mark.parametrize(
    ("codec", "how"),
    [("json", "answer"), ("protobuf", "reaction"), ("protobuf", "contact"), ("json", "expressly")],
)
async def test_nothing_is_told_until_it_is_accepted_and_then_all_is(stack: Any, codec: str, how: str) -> None:
    one, two = urls(stack)
    ann, bob = await asyncio.gather(sign_up(stack), sign_up(stack))
    laptop, tablet = await link(ann), await link(bob)
    async with (
        # Both are there before the conversation is: nothing that they know from then is out of date.
        await Peer.open(one, ann, codec) as a,
        await Peer.open(two, laptop, codec) as own,
        await Peer.open(two, bob, codec) as b,
        await Peer.open(one, tablet, codec) as second,
    ):
        conversation = await ann.direct(bob, strangers=True)
        elsewhere = await ann.direct(await sign_up(stack))
        sent = await a.say(conversation, "hello?")
        got = await b.expect(frames.Message)
        assert got.request
        assert (await second.expect(frames.Message)).request
        assert not (await own.expect(frames.Message)).request, "the stranger is told nothing of that"
        if how == "reaction":
            b.inbox.append(got)
        for peer in (b, second):
            await peer.ack(conversation, 1)
        item = await listed(bob, conversation)
        assert (item["request"], item["unread"]) == (True, 1)
        assert (await bob.rest("GET", "/me/badge")).json() == {"badge": 0}
        await b.read(conversation, 1)
        # One's own devices are told as ever.
        await second.expect(
            frames.StatusUpdate, conversation_id=conversation, status="read", user_id=bob.user
        )
        await b.send(frames.Typing(conversation, True))
        assert await ask(a, bob) == ("unknown", False)
        assert not (await listed(ann, conversation))["request"]
        await until(lambda: _saved(stack, conversation, 1), "receipts are written")
        receipts = f"/conversations/{conversation}/messages/{sent.message_id}/receipts"
        assert [i["status"] for i in (await ann.rest("GET", receipts)).json()["items"]] == ["sent"]
        late = await link(ann)
        async with await Peer.open(one, late, codec) as fresh:
            await fresh.round_trip()
            for peer in (a, own, fresh):
                await peer.round_trip()
                assert not [f for f in peer.log if isinstance(f, frames.StatusUpdate) and f.user_id]
                assert not [f for f in peer.log if isinstance(f, frames.Typing)]
        # Whoever reads it later is told the same.
        events = (await bob.rest("GET", f"/conversations/{conversation}/events")).json()["items"]
        assert [event["request"] for event in events] == [True]
        async with await Peer.open(two, await link(bob), codec, sync=False) as fresh:
            (message,) = events_of(await fresh.sync({conversation: 0}))
            assert message.request
        await accept(how, bob, b, ann, conversation)
        for peer in (a, own):
            for status in ("delivered", "read"):
                told = await peer.expect(frames.StatusUpdate, user_id=bob.user, status=status)
                assert (told.conversation_id, told.up_to) == (conversation, 1)
        assert [i["status"] for i in (await ann.rest("GET", receipts)).json()["items"]] == ["read"]
        assert (await ask(a, bob))[0] == "online"
        if how in ("contact", "expressly"):
            notice = await second.expect(frames.Notice, kind="flags")
            assert notice.data == {"conversationId": conversation, "request": False}
        assert not (await listed(bob, conversation))["request"]
        # And from now on as among people who know each other, at both gateways.
        last = (await a.say(conversation, "so")).seq or 0
        for peer in (b, second):
            assert not (await peer.expect(frames.Message, seq=last)).request
        await second.ack(conversation, last)
        await a.expect(frames.StatusUpdate, user_id=bob.user, status="delivered", up_to=last)
        await b.send(frames.Typing(conversation, True))
        await a.expect(frames.Typing, user_id=bob.user)
        await bob.accept(conversation)
        assert elsewhere


async def test_who_is_in_the_address_book_is_no_stranger(stack: Any) -> None:
    ann, bob = await asyncio.gather(sign_up(stack), sign_up(stack))
    assert (await bob.rest("PUT", f"/contacts/{ann.user}", {})).status_code == 200
    conversation = await ann.direct(bob, strangers=True)
    async with await Peer.open(stack.ws, ann) as a, await Peer.open(stack.ws, bob) as b:
        await a.say(conversation)
        assert not (await b.expect(frames.Message)).request
        await b.ack(conversation, 1)
        await a.expect(frames.StatusUpdate, user_id=bob.user, status="delivered")
    # Once accepted, for good.
    assert (await bob.rest("DELETE", f"/contacts/{ann.user}")).status_code == 204
    assert not (await listed(bob, conversation))["request"]


async def test_the_strangers_address_book_makes_no_difference(stack: Any) -> None:
    ann, bob = await asyncio.gather(sign_up(stack), sign_up(stack))
    assert (await ann.rest("PUT", f"/contacts/{bob.user}", {})).status_code == 200
    conversation = await ann.direct(bob, strangers=True)
    async with await Peer.open(stack.ws, ann) as a, await Peer.open(stack.ws, bob) as b:
        await a.say(conversation)
        assert (await b.expect(frames.Message)).request


async def test_two_strangers_who_write_at_the_same_time_have_accepted_each_other(stack: Any) -> None:
    ann, bob, conversation = await strangers(stack)
    one, two = urls(stack)
    async with await Peer.open(one, ann) as a, await Peer.open(two, bob) as b:
        await asyncio.gather(a.say(conversation, "you"), b.say(conversation, "you too"))
        for peer, other in ((a, b), (b, a)):
            await peer.expect(frames.Message)
            await peer.ack(conversation, 2)
            assert other.phone is not None
        for peer, who in ((a, bob), (b, ann)):
            await peer.expect(frames.StatusUpdate, user_id=who.user, status="delivered", up_to=2)
        for phone in (ann, bob):
            assert not (await listed(phone, conversation))["request"]


async def test_a_blocked_stranger_stays_one_after_the_unblock(stack: Any) -> None:
    ann, bob, conversation = await strangers(stack)
    one, two = urls(stack)
    async with await Peer.open(one, ann) as a, await Peer.open(two, bob) as b:
        await a.say(conversation, "hello?")
        await b.expect(frames.Message)
        await block(bob, ann)
        await a.say(conversation, "hello??")
        await block(bob, ann, on=False)
        await a.say(conversation, "hello???")
        assert (await b.expect(frames.Message, seq=3)).request
        await b.ack(conversation, 3)
        await b.round_trip()
        await until(lambda: _saved(stack, conversation, 3), "receipts are written")
        await a.round_trip()
        assert not [f for f in a.log if isinstance(f, frames.StatusUpdate) and f.user_id]
        assert await ask(a, bob) == ("unknown", False)


async def _life(stack: Any, codec: str, here: bool) -> list[Any]:
    """All that a stranger sees of somebody who is ``here`` and reads, or who is offline."""
    ann, bob, conversation = await strangers(stack)
    one, two = urls(stack)
    seen: list[Any] = []
    async with await Peer.open(one, ann, codec) as a, await Peer.open(two, bob, codec) as b:
        if not here:
            await b.close()
        sent = [await a.say(conversation, f"{n}") for n in range(3)]
        if here:
            await b.messages(3)
            await b.ack(conversation, 3)
            await b.read(conversation, 3)
            await b.round_trip()
            await until(lambda: _saved(stack, conversation, 3), "receipts are written")
        seen.append(await ask(a, bob))
        await a.round_trip()
        seen.append(a.log[1:])
        async with await Peer.open(one, await link(ann), codec) as late:
            await late.round_trip()
            seen.append(late.log[1:])
        for path in (
            f"/conversations/{conversation}/events",
            f"/conversations/{conversation}/messages/{sent[1].message_id}/receipts",
        ):
            answer = await ann.rest("GET", path)
            seen.append((answer.status_code, sorted(answer.headers), answer.json()))
    return [_shape(one) for one in seen]


async def test_a_stranger_sees_what_it_would_see_of_somebody_offline(stack: Any) -> None:
    assert await _life(stack, "json", True) == await _life(stack, "protobuf", False)
