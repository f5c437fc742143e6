"""``sync``: what is sent when, in which portions, and from where (C3, C4, R9, R12)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.peer import Peer, events_of, fill, talking, texts
from tests.gateway.phone import Phone, Runs, couple, new_id, saved, sign_up
from whatsapp.wire import frames


async def away(stack: Runs, codec: str, count: int, **fields: Any) -> tuple[Phone, Phone, str]:
    """Ann has written ``1`` … ``count`` to Bob, who was here once and is not now."""
    ann, bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, bob, codec):
        pass
    async with await Peer.open(stack.ws, ann, codec) as a:
        await fill(a, conversation, count)
    return ann, bob, conversation


def numbers(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last + 1)]


async def test_nothing_comes_before_sync(stack: Runs, codec: str) -> None:
    """Neither backlog nor live events nor receipts, until the client asks."""
    ann, bob, conversation = await away(stack, codec, 3)
    async with (
        await Peer.open(stack.ws, ann, codec) as a,
        await Peer.open(stack.ws, bob, codec, sync=False) as b,
    ):
        await a.say(conversation, "live")
        await b.say(conversation, "own")  # a send is answered
        await a.expect(frames.Message)
        await a.ack(conversation, 5)
        await a.read(conversation, 5)
        await a.round_trip()
        await b.round_trip()
        assert not b.waiting()
        assert isinstance(b.log[0], frames.Ready)
        got = events_of(await b.sync())
        assert texts(got) == ["1", "2", "3", "live"]  # its own one it has by the ✓


async def test_sync_of_a_device_that_has_everything(stack: Runs, codec: str) -> None:
    bob = await sign_up(stack)
    async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
        answer = await b.ask(frames.Sync())
        assert isinstance(answer, frames.SyncComplete)
        assert b.ready is not None
        assert answer.epoch == b.ready.epoch
        assert answer.server_time >= b.ready.server_time


async def test_resume_have_needs_no_sync(stack: Runs, codec: str) -> None:
    ann, bob, conversation = await away(stack, codec, 4)
    async with (
        await Peer.open(stack.ws, ann, codec) as a,
        await Peer.open(stack.ws, bob, codec, resume={conversation: 1}) as b,
    ):
        assert texts(events_of(await b.batches())) == numbers(2, 4)
        await a.expect(frames.StatusUpdate, status="delivered", up_to=4)
        await a.say(conversation, "live")
        assert texts(await b.messages(1)) == ["live"]


async def test_resume_with_nothing_known_is_a_sync_without_have(stack: Runs, codec: str) -> None:
    _ann, bob, _conversation = await away(stack, codec, 2)
    async with await Peer.open(stack.ws, bob, codec, resume={}) as b:
        assert texts(events_of(await b.batches())) == numbers(1, 2)


async def test_batches_of_at_most_100_with_remaining(stack: Runs, codec: str) -> None:
    _ann, bob, conversation = await away(stack, codec, 250)
    async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
        assert b.ready is not None
        assert b.ready.pending == 1
        batches = await b.sync()
        assert [(len(x.events), x.through, x.head, x.remaining) for x in batches] == [
            (100, 100, 250, 150), (100, 200, 250, 50), (50, 250, 250, 0),
        ]  # fmt: skip
        assert all(batch.conversation_id == conversation for batch in batches)
        assert texts(events_of(batches)) == numbers(1, 250)


@pytest.mark.parametrize(("limit", "most"), [(7, 7), (1, 1), (1000, 100)])
async def test_limit_lowers_the_size_of_a_batch(stack: Runs, codec: str, limit: int, most: int) -> None:
    _ann, bob, _conversation = await away(stack, codec, 105 if limit > 100 else 10)
    async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
        sizes = [len(batch.events) for batch in await b.sync(limit=limit)]
        assert max(sizes) == most
        assert sizes[:-1] == [most] * (len(sizes) - 1)


async def test_batches_of_at_most_512_kib(stack: Runs, codec: str) -> None:
    """On the wire, whatever the codec does to the bytes."""
    ann, bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann, codec) as a:
        await fill(a, conversation, 21, lambda n: bytes([n]) * 60_000, window=4)
    async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
        events = events_of(await b.sync())
        assert [e.encrypted_content[0] for e in events] == list(range(1, 22))
        assert all(len(e.encrypted_content) == 60_000 for e in events)
        assert max(b.sizes) <= 512 * 1024
        assert max(b.sizes) > 256 * 1024  # and not one by one


async def test_the_next_batch_follows_the_ack_of_the_last(stack: Runs, codec: str) -> None:
    """C7: a client that withholds its ack gets nothing more, not even live events, but its frames are answered."""
    ann, bob, conversation = await away(stack, codec, 9)
    async with (
        await Peer.open(stack.ws, ann, codec) as a,
        await Peer.open(stack.ws, bob, codec, sync=False) as b,
    ):
        await b.send(frames.Sync(limit=3))
        seen = 0
        for turn in range(3):
            batch = await b.expect(frames.SyncBatch)
            assert texts(batch.events) == numbers(seen + 1, seen + 3)
            seen += 3
            await a.say(conversation, f"live {turn}")
            if turn:
                await b.ack(conversation, seen - 1)  # not all of the batch
                await b.ack(new_id(), seen)
            for _ in range(3):
                await b.round_trip()
            assert (await b.say(conversation, "mine")).seq
            assert not b.waiting(frames.SyncBatch, frames.SyncComplete, frames.Message)
            await b.ack(conversation, seen)
        # What it sent itself meanwhile it has by its ✓.
        assert texts(events_of(await b.batches())) == ["live 0", "live 1", "live 2"]


async def test_live_events_follow_sync_complete(stack: Runs, codec: str) -> None:
    ann, bob, conversation = await away(stack, codec, 5)
    carl = await sign_up(stack)
    other = await carl.direct(bob)
    async with (
        await Peer.open(stack.ws, ann, codec) as a,
        await Peer.open(stack.ws, carl, codec) as c,
        await Peer.open(stack.ws, bob, codec, sync=False) as b,
    ):
        await b.send(frames.Sync(limit=5))
        batch = await b.expect(frames.SyncBatch)
        await c.say(other, "elsewhere")  # heard of while the batch is out
        await a.say(conversation, "6")
        await b.ack(conversation, batch.through)
        more = await b.batches()
        # ✓ comes before the fan-out, so they may also be heard of just after the sync.
        seen = {text for x in more for text in texts(x.events)}
        seen |= set(texts(await b.messages(2 - len(seen))))
        assert seen == {"elsewhere", "6"}
        await a.say(conversation, "7")
        assert texts(await b.messages(1)) == ["7"]
        kinds = [type(f).__name__ for f in b.log]
        assert kinds.index("SyncComplete") < kinds.index("Message")


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
async def test_sync_starts_at_the_acknowledged_position(stack: Runs, codec: str, named: bool) -> None:
    ann, bob, conversation = await away(stack, codec, 4)
    async with await Peer.open(stack.ws, bob, codec):
        pass
    await saved(stack, bob, conversation, 4)
    async with await Peer.open(stack.ws, ann, codec) as a:
        await fill(a, conversation, 2)
    async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
        have = {conversation: 4} if named else {new_id(): 3}
        assert [e.seq for e in events_of(await b.sync(have))] == [5, 6]


async def test_have_above_the_position_counts_as_an_ack(stack: Runs, codec: str) -> None:
    ann, bob, conversation = await away(stack, codec, 5)
    async with await Peer.open(stack.ws, ann, codec) as a:
        async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
            await b.send(frames.Sync({conversation: 3}))
            batch = await b.expect(frames.SyncBatch)
            assert texts(batch.events) == numbers(4, 5)
            await a.expect(frames.StatusUpdate, status="delivered", up_to=3)
        await saved(stack, bob, conversation, 3)
        async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
            assert texts(events_of(await b.sync())) == numbers(4, 5)


async def test_have_below_the_position_is_read_again_and_moves_nothing(stack: Runs, codec: str) -> None:
    ann, bob, conversation = await away(stack, codec, 5)
    async with await Peer.open(stack.ws, ann, codec) as a:
        async with await Peer.open(stack.ws, bob, codec):
            await a.expect(frames.StatusUpdate, status="delivered", up_to=5)
        await saved(stack, bob, conversation, 5)
        async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
            assert texts(events_of(await b.sync({conversation: 2}, limit=2))) == numbers(3, 5)
            await b.read(conversation, 5)  # still acknowledged up to 5
            await a.expect(frames.StatusUpdate, status="read", up_to=5)
        async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
            assert await b.sync() == []


async def test_have_above_the_head_is_a_reset(stack: Runs, codec: str) -> None:
    _ann, bob, conversation = await away(stack, codec, 3)
    async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
        await b.send(frames.Sync({conversation: 4}, ref="mine"))
        error = await b.error("reset")
        assert (error.details, error.ref) == ({"conversationId": conversation}, "mine")
        assert texts(events_of(await b.batches())) == numbers(1, 3)


async def test_have_continued_over_frames(stack: Runs, codec: str) -> None:
    _ann, bob, conversation = await away(stack, codec, 3)
    carl = await sign_up(stack)
    other = await carl.direct(bob)
    async with await Peer.open(stack.ws, carl, codec) as c:
        await fill(c, other, 3)
    filler = {new_id(): 1 for _ in range(498)}
    async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
        await b.send(frames.Sync({conversation: 2}, more=True))
        await b.send(frames.Sync(filler | {new_id(): 1}, more=True))
        await b.round_trip()
        assert not b.waiting()  # not before the last part
        batches = await b.sync({other: 1})
        assert {(x.conversation_id, tuple(texts(x.events))) for x in batches} == {
            (conversation, ("3",)), (other, ("2", "3")),
        }  # fmt: skip


async def test_more_than_500_in_one_have_is_a_bad_request(stack: Runs, codec: str) -> None:
    bob = await sign_up(stack)
    async with await Peer.open(stack.ws, bob, codec) as b:
        answer = await b.ask(frames.Sync({new_id(): 1 for _ in range(501)}))
        assert answer.code == "bad_request"
        await b.round_trip()


async def test_r9_a_hole_is_closed_by_through(stack: Runs, codec: str) -> None:
    """A client that lost events asks for them while it is live, and goes on live behind them."""
    async with talking(stack, codec) as (ann, bob, conversation):
        await fill(ann, conversation, 6)
        got = await bob.messages(6)
        assert [m.seq for m in got] == list(range(1, 7))
        batches = await bob.sync({conversation: 2})
        assert texts(events_of(batches)) == numbers(3, 6)
        assert batches[-1].through == 6
        await ann.say(conversation, "7")
        assert texts(await bob.messages(1)) == ["7"]


async def test_r12_a_client_that_names_a_conversation_is_told_that_there_is_nothing(
    stack: Runs, codec: str
) -> None:
    """Own sends leave holes in what is sent live; asking gets them, and asking again gets nothing more."""
    async with talking(stack, codec) as (ann, bob, conversation):
        await bob.say(conversation, "1")
        await ann.say(conversation, "2")
        await bob.say(conversation, "3")
        assert [m.seq for m in await bob.messages(1)] == [2]
        assert texts(events_of(await bob.sync({conversation: 0}))) == numbers(1, 3)
        assert await bob.sync({conversation: 3}) == []


async def test_a_new_sync_takes_the_place_of_one_under_way(stack: Runs, codec: str) -> None:
    _ann, bob, conversation = await away(stack, codec, 6)
    async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
        await b.send(frames.Sync(limit=2, ref="first"))
        batch = await b.expect(frames.SyncBatch)
        assert texts(batch.events) == numbers(1, 2)
        await b.send(frames.Sync(limit=4, ref="second"))
        assert texts((await b.expect(frames.SyncBatch)).events) == numbers(1, 4)
        await b.ack(conversation, 4)
        assert texts(events_of(await b.batches())) == numbers(5, 6)
        completes = [f.ref for f in b.log if isinstance(f, frames.SyncComplete)]
        assert completes == ["second"]
        replaced = [(f.code, f.ref, f.retryable) for f in b.log if isinstance(f, frames.Error)]
        assert replaced == [("conflict", "first", False)]


async def test_c4_what_was_not_acknowledged_comes_again(stack: Runs, codec: str) -> None:
    ann, bob, conversation = await away(stack, codec, 4)
    for _ in range(2):
        async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
            await b.send(frames.Sync())
            assert texts((await b.expect(frames.SyncBatch)).events) == numbers(1, 4)
            b.cut()
            await b.closed()
    async with await Peer.open(stack.ws, bob, codec) as b:
        pass
    await saved(stack, bob, conversation, 4)
    async with await Peer.open(stack.ws, ann, codec) as a, await Peer.open(stack.ws, bob, codec) as b:
        await a.say(conversation, "live")
        await b.messages(1)
        b.cut()  # received, not acknowledged
        await b.closed()
    async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
        assert texts(events_of(await b.sync())) == ["live"]


async def test_pages_of_many_conversations(stack: Runs, codec: str) -> None:
    bob = await sign_up(stack)
    async with await Peer.open(stack.ws, bob, codec):
        pass
    wanted = {}
    for _ in range(4):
        carl = await sign_up(stack)
        place = await carl.direct(bob)
        async with await Peer.open(stack.ws, carl, codec) as c:
            await fill(c, place, 7)
        wanted[place] = numbers(1, 7)
    async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
        assert b.ready is not None
        assert b.ready.pending == 4
        batches = await b.sync(limit=5)
        found: dict[str, list[str]] = {}
        for batch in batches:
            found.setdefault(batch.conversation_id, []).extend(texts(batch.events))
        assert found == wanted
        remaining = [batch.remaining for batch in batches]
        assert remaining == [23, 21, 16, 14, 9, 7, 2, 0]
