"""Blocks over sockets and REST: nothing of the blocked reaches who has blocked, and nothing tells the blocked."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from tests.gateway.peer import Peer, events_of, talking, texts
from tests.gateway.phone import Phone, couple, link, new_id, sign_up
from tests.gateway.test_amendments import delete, done, edit, react
from tests.support.patience import until
from whatsapp.wire import frames


async def block(phone: Phone, other: Phone, on: bool = True) -> None:
    answer = await phone.rest("PUT" if on else "DELETE", f"/blocks/{other.user}", {} if on else None)
    assert answer.status_code == 204, answer.text


async def items(phone: Phone, conversation: str) -> list[dict[str, Any]]:
    answer = await phone.rest("GET", f"/conversations/{conversation}/events")
    return answer.json()["items"]  # type: ignore[no-any-return]


async def test_what_is_withheld_comes_neither_live_nor_late(stack: Any, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert ann.phone is not None
        assert bob.phone is not None
        await ann.say(conversation, "before")
        await bob.expect(frames.Message)
        laptop = await link(ann.phone)
        async with await Peer.open(stack.gateways["gateway-2"]["ws"], laptop, codec) as own:
            await block(bob.phone, ann.phone)
            for text in ("withheld", "and this"):
                await ann.say(conversation, text)
            assert texts(await own.messages(2)) == ["withheld", "and this"]
        # The blocked still gets what the other writes; and a device that is linked meanwhile learns nothing.
        await bob.say(conversation, "answer")
        await ann.expect(frames.Message)
        late = await link(bob.phone)
        await until(lambda: _sent(stack, conversation, 4), "his own answer counts as read")
        (listed,) = (await bob.phone.rest("GET", "/conversations")).json()["items"]
        assert (listed["head"], listed["unread"], listed["lastEvent"]["seq"]) == (4, 0, 4)
        assert (await bob.phone.rest("GET", "/me/badge")).json() == {"badge": 0}
        await block(bob.phone, ann.phone, on=False)
        await ann.say(conversation, "after")
        assert (await bob.expect(frames.Message)).encrypted_content == b"after"
        async with await Peer.open(stack.ws, late, codec, sync=False) as fresh:
            assert texts(events_of(await fresh.sync({conversation: 0}))) == ["before", "answer", "after"]
        assert [item["seq"] for item in await items(bob.phone, conversation)] == [1, 4, 5]
        assert [item["seq"] for item in await items(ann.phone, conversation)] == [1, 2, 3, 4, 5]
        assert texts(f for f in bob.log if isinstance(f, frames.Message)) == ["before", "after"]


async def test_a_conversation_that_is_opened_while_a_block_is_in_force(stack: Any) -> None:
    ann, bob = await asyncio.gather(sign_up(stack), sign_up(stack))
    await block(bob, ann)
    conversation = await ann.direct(bob)
    async with await Peer.open(stack.ws, ann) as a, await Peer.open(stack.ws, bob) as b:
        await a.say(conversation, "hello?")
        await block(bob, ann, on=False)
        await a.say(conversation, "hello!")
        assert (await b.expect(frames.Message)).encrypted_content == b"hello!"
        assert [item["seq"] for item in await items(bob, conversation)] == [2]


async def test_groups_are_exempt(stack: Any) -> None:
    ann, bob, _ = await couple(stack)
    await block(bob, ann)
    group = (await ann.rest("POST", "/groups", {"name": "all", "members": [bob.user]})).json()["groupId"]
    async with await Peer.open(stack.ws, ann) as a, await Peer.open(stack.ws, bob) as b:
        await a.say(group, "here you hear me")
        assert (await b.expect(frames.Message)).encrypted_content == b"here you hear me"
        await b.ack(group, 3)
        await a.expect(frames.StatusUpdate, user_id=bob.user, conversation_id=group)


async def test_receipts_are_told_in_neither_direction(stack: Any, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert ann.phone is not None
        assert bob.phone is not None
        other = await sign_up(stack)
        elsewhere = await ann.phone.direct(other), await bob.phone.direct(other)
        for n in range(3):
            await ann.say(conversation, str(n))
        await bob.say(conversation, "3")
        await bob.messages(3)
        await ann.expect(frames.Message)
        await block(bob.phone, ann.phone)
        await bob.ack(conversation, 3)
        await bob.read(conversation, 3)
        await ann.ack(conversation, 4)
        await ann.read(conversation, 4)
        # A fence: a receipt of another conversation comes behind.
        async with await Peer.open(stack.ws, other, codec) as third:
            for peer, talk in ((ann, elsewhere[0]), (bob, elsewhere[1])):
                await peer.say(talk)
                await third.expect(frames.Message)
                await third.ack(talk, 1)
                await peer.expect(frames.StatusUpdate, conversation_id=talk, status="delivered")
        for peer in (ann, bob):
            told = [f for f in peer.log if isinstance(f, frames.StatusUpdate) and f.user_id]
            assert [f for f in told if f.conversation_id == conversation] == []
        # What was acknowledged meanwhile is true, and is told when there is no block any more.
        await block(bob.phone, ann.phone, on=False)
        await ann.expect(frames.StatusUpdate, conversation_id=conversation, status="read", up_to=3)
        await bob.expect(frames.StatusUpdate, conversation_id=conversation, status="read", up_to=4)


async def _life(stack: Any, codec: str, blocks: bool) -> list[Any]:
    """All that somebody sees who writes to somebody who is offline, or who has ``blocks`` and is here."""
    ann, bob, conversation = await couple(stack)
    laptop, fresh = await link(ann), await link(ann)
    urls = [gateway["ws"] for gateway in stack.gateways.values()]
    seen: list[Any] = []
    async with (
        await Peer.open(urls[0], ann, codec) as a,
        await Peer.open(urls[1], laptop, codec) as own,
        await Peer.open(urls[1], bob, codec) as b,
    ):
        sent = [await a.say(conversation, f"before {n}") for n in range(3)]
        await b.messages(3)
        await b.ack(conversation, 3)
        await b.read(conversation, 2)
        await done(a, edit(conversation, sent[0].message_id, "edited"))
        await done(a, react(conversation, sent[1].message_id, "👍"))
        await b.expect(frames.Event, kind="reaction")
        await b.ack(conversation, 5)
        for peer in (a, own):
            await peer.expect(frames.StatusUpdate, status="read", up_to=2)
            await peer.expect(frames.StatusUpdate, status="delivered", up_to=5)
        await own.messages(3)
        for kind in ("edit", "reaction"):
            await own.expect(frames.Event, kind=kind)
        await until(lambda: _saved(stack, conversation, 5), "receipts are written")
        if blocks:
            await block(bob, ann)
        else:
            await b.close()
        start = len(a.log), len(own.log)
        retried = a.message(conversation, "hello?", seq_num=1)
        seen.append(await a.ask(retried))
        seen.append(await a.ask(retried))
        seen.append(await a.attempt(conversation, "out of order", seq_num=9))
        for frame in (
            edit(conversation, sent[0].message_id, "edited again"),
            react(conversation, sent[1].message_id, "😱"),
            react(conversation, sent[1].message_id, ""),
            react(conversation, sent[1].message_id, ""),
            react(conversation, retried.message_id, "👍"),
            edit(conversation, retried.message_id, "hello!"),
            delete(conversation, sent[2].message_id),
            edit(conversation, sent[2].message_id, "too late"),
            edit(conversation, new_id(), "unknown"),
            a.message(conversation, "a reply", reply_to=retried.message_id),
            a.message(conversation, "mentioning", mentions=[bob.user], recipient_ids=[bob.user]),
        ):
            seen.append(await a.ask(frame))
        if blocks:
            await b.ack(conversation, 5)
            await b.read(conversation, 5)
            await b.round_trip()
        last = await a.say(conversation, "last")
        await own.expect(frames.Message, seq=last.seq)
        await a.round_trip()
        seen += [a.log[start[0] :], own.log[start[1] :]]
        async with await Peer.open(stack.ws, fresh, codec, sync=False) as late:
            await late.sync({conversation: 0})
            await late.round_trip()
            seen.append(late.log[1:])  # without ``ready``: its epoch and time are the system's
        await until(lambda: _sent(stack, conversation, last.seq or 0), "one's own are known to be read")
        await until(lambda: _saved(stack, conversation, last.seq or 0), "what the late device has is written")
        for path in (
            "/conversations",
            f"/conversations/{conversation}/events",
            f"/conversations/{conversation}/events?before=100",
            *[f"/conversations/{conversation}/messages/{m.message_id}/receipts" for m in (*sent, last)],
            f"/conversations/{conversation}/messages/{retried.message_id}/receipts",
        ):
            answer = await ann.rest("GET", path)
            seen.append((answer.status_code, sorted(answer.headers), answer.json()))
        assert await ann.direct(bob) == conversation
        if blocks:
            assert not [f for f in b.log if isinstance(f, frames.Message) and f.seq > 5]
    return [_shape(one) for one in seen]


async def _sent(stack: Any, conversation: str, seq: int) -> bool:
    async with stack.stored() as log:
        return [one.sent for one in (await log.receipts(conversation)).values()].count(seq) == 1


async def _saved(stack: Any, conversation: str, up_to: int) -> bool:
    async with stack.stored() as log:
        return [one.delivered for one in (await log.receipts(conversation)).values()].count(up_to) == 1


def _shape(one: Any) -> str:
    """Without what differs between any two runs: ids by the order of their coming, times, and refs."""
    text = one if isinstance(one, str) else repr(one) if not isinstance(one, tuple) else json.dumps(one)
    ids: dict[str, int] = {}
    text = re.sub(
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        lambda found: f"id{ids.setdefault(found.group(), len(ids))}",
        text,
    )
    return re.sub(r"\b1[789]\d{11}\b|ref='r\d+'|epoch='[^']*'", "-", text)


async def test_nothing_tells_the_blocked(stack: Any, codec: str) -> None:
    blocked, offline = await _life(stack, codec, True), await _life(stack, codec, False)
    assert blocked == offline


async def test_blocks_while_messages_are_on_their_way(stack: Any) -> None:
    """Two gateways: what came live is what the log has, and everything else is withheld, wherever the block fell."""
    ann, bob, conversation = await couple(stack)
    laptop = await link(ann)
    urls = [gateway["ws"] for gateway in stack.gateways.values()]
    async with (
        await Peer.open(urls[0], ann) as a,
        await Peer.open(urls[1], laptop) as second,
        await Peer.open(urls[1], bob) as b,
    ):

        async def write(peer: Peer) -> None:
            for n in range(60):
                await peer.say(conversation, str(n))

        async def toggle() -> None:
            for turn in range(6):
                await asyncio.sleep(0.02)  # somewhere among the messages
                await block(bob, ann, on=turn % 2 == 0)

        await asyncio.gather(write(a), write(second), toggle())
        last = await a.say(conversation, "last")
        await b.expect(frames.Message, seq=last.seq)
        live = {f.seq for f in b.log if isinstance(f, frames.Message)}
        live |= {e.seq for f in b.log if isinstance(f, frames.SyncBatch) for e in f.events}
        late = await link(bob)
        async with await Peer.open(urls[0], late, sync=False) as fresh:
            assert {e.seq for e in events_of(await fresh.sync({conversation: 0}))} == live
        async with stack.stored() as log:
            withheld = sum(one.withheld for one in await log.events(conversation))
        assert len(live) + withheld == last.seq == 121
        assert withheld > 0


@pytest.mark.parametrize("late", [False, True])
async def test_a_block_over_the_other_gateway(stack: Any, late: bool) -> None:
    """No process needs to be told of a block for messages: the append says it."""
    async with talking(stack) as (ann, bob, conversation):
        assert ann.phone is not None
        assert bob.phone is not None
        await ann.say(conversation, "known to both gateways")
        await bob.expect(frames.Message)
        if late:
            await bob.close()
        # Not over the accounts, so that nobody is told.
        async with stack.stored() as log:
            await log.store.withhold(bob.phone.user, ann.phone.user, True, 1)
            await ann.say(conversation, "withheld")
            await log.store.withhold(bob.phone.user, ann.phone.user, False, 1)
        await ann.say(conversation, "after")
        if late:
            bob = await Peer.open(stack.ws, bob.phone)
            assert bob.ready is not None
            assert bob.ready.pending == 1
        async with bob:
            await until(lambda: any(_has(f, b"after") for f in bob.log), "what is not withheld came")
            assert not any(_has(f, b"withheld") for f in bob.log)


def _has(frame: Any, content: bytes) -> bool:
    events = frame.events if isinstance(frame, frames.SyncBatch) else [frame]
    return any(isinstance(event, frames.Message) and event.encrypted_content == content for event in events)
