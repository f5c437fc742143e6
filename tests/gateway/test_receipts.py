"""``ack`` and receipts: C5, R10, R11."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from chats.handlers.receipts import LOOKUPS_PER_MINUTE
from delivery.inbox import dirty_key
from tests.gateway.peer import Peer, events_of, talking
from tests.gateway.phone import Runs, couple, link, new_id, saved, sign_up
from tests.support.hot import server_of
from tests.support.patience import until
from whatsapp.wire import frames


def receipts(peer: Peer) -> list[tuple[str, int | None]]:
    return [(f.status, f.up_to) for f in peer.log if isinstance(f, frames.StatusUpdate) and f.user_id]


async def fence(a: Peer, b: Peer, conversation: str) -> None:
    """What ``b`` caused before this has reached ``a``: typing takes the same ways as receipts."""
    await b.round_trip()
    await b.send(frames.Typing(conversation, True))
    await a.expect(frames.Typing)


async def test_c5_nothing_is_delivered_before_an_ack(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        for _ in range(3):
            await ann.say(conversation)
        await bob.messages(3)
        await fence(ann, bob, conversation)
        assert receipts(ann) == []
        await bob.ack(conversation, 2)
        got = await ann.expect(frames.StatusUpdate, status="delivered")
        assert bob.phone is not None
        assert (got.conversation_id, got.up_to, got.user_id) == (conversation, 2, bob.phone.user)
        assert got.timestamp
        assert got.message_id is None


async def test_r10_acks_out_of_order_never_lower(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        for _ in range(4):
            await ann.say(conversation)
        await bob.messages(4)
        for seq in (3, 1, 2, 4, 0):
            await bob.ack(conversation, seq)
            await bob.round_trip()
        await ann.expect(frames.StatusUpdate, status="delivered", up_to=4)
        await fence(ann, bob, conversation)
        ups = [up or 0 for _, up in receipts(ann)]
        assert ups == sorted(set(ups))
        assert ups[-1] == 4
    assert bob.phone is not None
    await saved(stack, bob.phone, conversation, 4)
    async with await Peer.open(stack.ws, bob.phone, codec, sync=False) as again:
        assert await again.sync() == []


async def test_r10_an_ack_counts_up_to_what_was_sent(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        await ann.say(conversation)
        await bob.messages(1)
        await bob.ack(conversation, 10**9)
        await ann.expect(frames.StatusUpdate, status="delivered", up_to=1)
        await ann.say(conversation)
        await ann.say(conversation)
        await bob.messages(2)
        await fence(ann, bob, conversation)
        assert receipts(ann) == [("delivered", 1)]
    assert bob.phone is not None
    await saved(stack, bob.phone, conversation, 1)
    async with await Peer.open(stack.ws, bob.phone, codec, sync=False) as again:
        assert [event.seq for event in events_of(await again.sync())] == [2, 3]


async def test_r10_an_ack_before_anything_was_sent_counts_nothing(stack: Runs, codec: str) -> None:
    """A device that claims before its sync what it has never seen: ``have`` is for that, not ``ack``."""
    ann, bob, conversation = await couple(stack)
    async with (
        await Peer.open(stack.ws, ann, codec) as a,
        await Peer.open(stack.ws, bob, codec, sync=False) as b,
    ):
        await a.say(conversation)
        await b.ack(conversation, 1)
        answer = await b.ask(frames.StatusUpdate(conversation, "read", up_to=1))
        assert answer.code == "bad_request"
        assert [e.seq for e in events_of(await b.sync())] == [1]


async def test_unknown_ids_in_an_ack_are_ignored(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        await ann.say(conversation)
        await bob.messages(1)
        await bob.send(frames.Ack({new_id(): 5, conversation: 1, new_id(): 0}))
        await ann.expect(frames.StatusUpdate, status="delivered", up_to=1)
        await bob.round_trip()
        assert not bob.waiting(frames.Error)


@pytest.mark.parametrize("by", ["upTo", "messageId"])
async def test_status_update_delivered_equals_ack(stack: Runs, codec: str, by: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        ticks = [await ann.say(conversation) for _ in range(3)]
        await bob.messages(3)
        which: dict[str, Any] = {"up_to": 2} if by == "upTo" else {"message_id": ticks[1].message_id}
        await bob.send(frames.StatusUpdate(conversation, "delivered", **which))
        await ann.expect(frames.StatusUpdate, status="delivered", up_to=2)
        await fence(ann, bob, conversation)
        assert receipts(ann) == [("delivered", 2)]


@pytest.mark.parametrize("by", ["upTo", "messageId"])
async def test_c5_read_is_forwarded_up_to_what_was_acknowledged(stack: Runs, codec: str, by: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert bob.phone is not None
        ticks = [await ann.say(conversation) for _ in range(3)]
        await bob.messages(3)

        def read(seq: int) -> frames.StatusUpdate:
            if by == "upTo":
                return frames.StatusUpdate(conversation, "read", up_to=seq)
            return frames.StatusUpdate(conversation, "read", message_id=ticks[seq - 1].message_id)

        answer = await bob.ask(read(1))
        assert (answer.code, answer.retryable) == ("bad_request", False)
        await bob.ack(conversation, 2)
        answer = await bob.ask(read(3))
        assert answer.code == "bad_request"
        await bob.send(read(2))
        got = await ann.expect(frames.StatusUpdate, status="read")
        assert (got.up_to, got.user_id, got.conversation_id) == (2, bob.phone.user, conversation)
        await fence(ann, bob, conversation)
        assert receipts(ann) == [("delivered", 2), ("read", 2)]


async def test_c5_a_device_reads_only_what_it_acknowledged_itself(stack: Runs, codec: str) -> None:
    """Another device's ack does not count for this one."""
    async with talking(stack, codec) as (ann, bob, conversation):
        assert bob.phone is not None
        laptop = await link(bob.phone)
        async with await Peer.open(stack.ws, laptop, codec) as second:
            await ann.say(conversation)
            await bob.messages(1)
            await second.messages(1)
            await bob.ack(conversation, 1)
            await ann.expect(frames.StatusUpdate, status="delivered", up_to=1)
            answer = await second.ask(frames.StatusUpdate(conversation, "read", up_to=1))
            assert answer.code == "bad_request"
            await second.ack(conversation, 1)
            await second.read(conversation, 1)
            await ann.expect(frames.StatusUpdate, status="read", up_to=1)
            got = await bob.expect(frames.StatusUpdate, status="read")  # the other device may clear its badge
            assert (got.user_id, got.up_to) == (bob.phone.user, 1)


async def test_c5_a_device_linked_later_reads_nothing_that_no_device_acknowledged(
    stack: Any, codec: str
) -> None:
    """Its position begins at the head, which is not an ack."""
    ann, bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann, codec) as a:
        for _ in range(3):
            await a.say(conversation)
        laptop = await link(bob)
        async with await Peer.open(stack.ws, laptop, codec) as second:
            answer = await second.ask(frames.StatusUpdate(conversation, "read", up_to=3))
            assert (answer.code, answer.retryable) == ("bad_request", False)
            await a.say(conversation)
            await second.messages(1)
            await fence(a, second, conversation)
            assert receipts(a) == []
            await second.ack(conversation, 4)
            await second.read(conversation, 4)
            await a.expect(frames.StatusUpdate, status="read", up_to=4)


async def test_what_was_acknowledged_before_is_read_after_a_reconnect(stack: Any, codec: str) -> None:
    """By an ack of the session before, or by ``have``."""
    ann, bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann, codec) as a:
        async with await Peer.open(stack.ws, bob, codec) as b:
            for _ in range(2):
                await a.say(conversation)
            await b.messages(2)
            await b.ack(conversation, 1)
            await b.round_trip()
        await saved(stack, bob, conversation, 1)
        async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
            await b.read(conversation, 1)
            await a.expect(frames.StatusUpdate, status="read", up_to=1)
            await b.sync({conversation: 2})
            await b.read(conversation, 2)
            await a.expect(frames.StatusUpdate, status="read", up_to=2)
            assert not b.waiting(frames.Error)


async def test_c7_lookups_have_a_rate_of_their_own(stack: Any, codec: str) -> None:
    async with talking(stack, codec) as (_ann, bob, conversation):
        refs = [f"x{number}" for number in range(LOOKUPS_PER_MINUTE + 200)]
        for ref in refs:
            await bob.send(frames.StatusUpdate(conversation, "read", message_id=new_id(), ref=ref))
        codes = [(await bob.expect(frames.Error, ref=ref)).code for ref in refs]
        assert codes[:LOOKUPS_PER_MINUTE] == ["not_found"] * LOOKUPS_PER_MINUTE
        assert "rate_limited" in codes


@pytest.mark.sql_only("it locks a table")
async def test_a_lookup_that_fails_is_answered_with_its_ref(stack: Any, codec: str) -> None:
    async with (
        talking(stack, codec) as (_ann, bob, conversation),
        await psycopg.AsyncConnection.connect(stack.database_url) as blocker,
    ):
        await blocker.execute("LOCK TABLE delivery_device IN ACCESS EXCLUSIVE MODE")
        answer = await bob.ask(frames.StatusUpdate(conversation, "read", message_id=new_id()))
        assert (answer.code, answer.retryable) == ("unavailable", True)


async def test_read_of_an_unknown_message_is_not_found(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        await ann.say(conversation)
        carl = await sign_up(stack)
        assert ann.phone is not None
        async with await Peer.open(stack.ws, ann.phone, codec) as a:
            foreign = await a.say(await ann.phone.direct(carl))
        for message_id in (new_id(), foreign.message_id):
            answer = await bob.ask(frames.StatusUpdate(conversation, "read", message_id=message_id))
            assert (answer.code, answer.message_id) == ("not_found", message_id)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"up_to": 1, "message_id": new_id()},
        {"status": "sent", "up_to": 1},
        {"status": "queued", "up_to": 1},
    ],
    ids=["neither", "both", "sent", "queued"],
)
async def test_a_wrong_status_update_is_a_bad_request(
    stack: Runs, codec: str, fields: dict[str, Any]
) -> None:
    async with talking(stack, codec) as (_ann, bob, conversation):
        answer = await bob.ask(frames.StatusUpdate(conversation, **{"status": "read", **fields}))
        assert answer.code == "bad_request"


async def test_receipts_that_changed_while_away_follow_sync_complete(stack: Runs, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann, codec) as a:
        await a.say(conversation)
        await a.say(conversation)
    async with await Peer.open(stack.ws, bob, codec) as b:  # its sync acknowledges
        await b.read(conversation, 1)
        await b.say(conversation, "answer")

    async def changed() -> bool:
        """On a new socket each time: a live one may hear the same receipts before it asks again."""
        async with await Peer.open(stack.ws, ann, codec, sync=False) as a:
            await a.sync()
            await a.round_trip()
            if set(receipts(a)) != {("delivered", 2), ("read", 1)}:
                return False
            complete = [type(f).__name__ for f in a.log].index("SyncComplete")
            assert all(i > complete for i, f in enumerate(a.log) if isinstance(f, frames.StatusUpdate))
            return True

    # written behind by half a second at most
    await until(changed, "the receipts of Bob after sync_complete")


async def test_r11_marks_go_with_their_ack_and_stay_without(stack: Any, codec: str) -> None:
    """Seen from outside: ``pending`` of the next ``ready`` counts what was not acknowledged."""
    ann, bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann, codec) as a:
        async with await Peer.open(stack.ws, bob, codec) as b:
            await a.say(conversation)
            await b.messages(1)

        async def pending() -> int:
            async with await Peer.open(stack.ws, bob, codec, sync=False) as again:
                assert again.ready is not None
                return again.ready.pending

        assert await pending() == 1
        async with await Peer.open(stack.ws, bob, codec):
            pass
        # A device that was linked just now compares heads and positions each time it comes, and one that did so while its
        # position was being written would mark again: it looks once, when the mark is gone.
        async with server_of(stack.hot_url, bob.user) as hot:
            await until(lambda: _is_none(hot.exists(dirty_key(bob.user, bob.device))), "no mark is left")
        assert await pending() == 0


async def _is_none(count: Any) -> bool:
    return not await count
