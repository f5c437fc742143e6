"""``send_message`` to its ✓, and to the other people's sockets: C1, C2, C3 as a client sees them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.gateway.peer import Peer, events_of, talking, texts
from tests.gateway.phone import Runs, couple, link, new_id, sign_up
from whatsapp.wire import frames


async def test_a_message_and_its_tick(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert ann.phone is not None
        sent = ann.message(
            conversation, b"\x00\xffsealed", timestamp=1_700_000_000_123, kind="image", seq_num=1
        )
        sent.media_url, sent.reply_to, sent.forward_count = (
            "https://m/1",
            (await ann.say(conversation)).message_id,
            2,
        )
        await bob.expect(frames.Message)
        tick = await ann.ask(sent)
        assert (tick.status, tick.message_id, tick.conversation_id) == ("sent", sent.message_id, conversation)
        assert (tick.seq, tick.duplicate) == (2, False)
        assert tick.timestamp
        got = await bob.expect(frames.Message)
        assert got == frames.Message(
            message_id=sent.message_id,
            conversation_id=conversation,
            sender_id=ann.phone.user,
            sender_device_id=ann.phone.device,
            seq=2,
            seq_num=1,
            encrypted_content=b"\x00\xffsealed",
            timestamp=1_700_000_000_123,
            server_timestamp=tick.timestamp,
            kind="image",
            media_url="https://m/1",
            reply_to=sent.reply_to,
            forward_count=2,
        )
        await ann.round_trip()
        assert not ann.waiting(frames.Message)  # the sending device has its ✓, not an echo


async def test_the_codecs_understand_each_other(stack: Runs) -> None:
    ann, bob, conversation = await couple(stack)
    async with (
        await Peer.open(stack.ws, ann, "json") as a,
        await Peer.open(stack.ws, bob, "protobuf") as b,
    ):
        await a.say(conversation, bytes(range(256)))
        assert (await b.expect(frames.Message)).encrypted_content == bytes(range(256))
        await b.say(conversation, bytes(reversed(range(256))))
        assert (await a.expect(frames.Message)).encrypted_content == bytes(reversed(range(256)))


async def test_c1_a_tick_means_that_event_and_outbox_row_are_committed(stack: Any, codec: str) -> None:
    async with talking(stack, codec) as (ann, _bob, conversation), stack.stored() as log:
        ids = []
        for seq in range(1, 4):
            ids.append((seq, (await ann.say(conversation)).message_id))
            # Another connection sees only what is committed.
            assert [(one.seq, one.message_id) for one in await log.events(conversation)] == ids
            assert [one.seq for one in await log.announced(conversation)] == list(range(1, seq + 1))


# -- C2 --------------------------------------------------------------------------------------------------------------------


async def test_c2_a_repeated_message_gets_the_first_result(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        first = await ann.say(conversation, "once", message_id=(same := new_id()))
        await ann.say(conversation, "between")
        again = await ann.say(
            conversation, "once", message_id=same, timestamp=99
        )  # a client may set its clock
        assert (again.seq, again.timestamp, again.duplicate) == (first.seq, first.timestamp, True)
        await ann.say(conversation, "after")
        assert texts(await bob.messages(3)) == ["once", "between", "after"]


async def test_c2_a_retry_over_another_gateway(stack: Any, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    first, second = [gateway["ws"] for gateway in stack.gateways.values()]
    async with await Peer.open(first, bob, codec) as b:
        async with await Peer.open(first, ann, codec) as a:
            tick = await a.say(conversation, "once", message_id=(same := new_id()), seq_num=1)
        async with await Peer.open(second, ann, codec) as a:
            again = await a.say(conversation, "once", message_id=same, seq_num=1)
            assert (again.seq, again.timestamp, again.duplicate) == (tick.seq, tick.timestamp, True)
            await a.say(conversation, "next", seq_num=2)
        assert texts(await b.messages(2)) == ["once", "next"]


async def test_c2_the_same_message_on_two_gateways_at_once_is_stored_once(stack: Any) -> None:
    ann, _bob, conversation = await couple(stack)
    laptop = await link(ann)
    first, second = [gateway["ws"] for gateway in stack.gateways.values()]
    async with await Peer.open(first, ann) as a, await Peer.open(second, laptop) as b:
        for _ in range(20):
            same = new_id()
            one, two = await asyncio.gather(
                a.say(conversation, "x", message_id=same), b.say(conversation, "x", message_id=same)
            )
            assert one.seq == two.seq
            assert one.duplicate is not two.duplicate
        assert (await a.say(conversation)).seq == 21


@pytest.mark.parametrize("other", ["content", "kind", "conversation"])
async def test_c2_another_body_under_the_same_id_is_a_conflict(stack: Runs, codec: str, other: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert ann.phone is not None
        carl = await sign_up(stack)
        elsewhere = await ann.phone.direct(carl)
        await ann.say(conversation, "one", message_id=(same := new_id()))
        answer = await ann.attempt(
            elsewhere if other == "conversation" else conversation,
            "two" if other == "content" else "one",
            message_id=same,
            kind="audio" if other == "kind" else "text",
        )
        assert (answer.code, answer.message_id, answer.retryable) == ("conflict", same, False)
        await ann.say(conversation, "end")
        assert texts(await bob.messages(2)) == ["one", "end"]


async def test_c2_an_id_belongs_to_its_sender(stack: Runs) -> None:
    """Two people may use the same messageId: neither learns of the other's."""
    async with talking(stack) as (ann, bob, conversation):
        same = new_id()
        assert not (await ann.say(conversation, "ann's", message_id=same)).duplicate
        assert not (await bob.say(conversation, "bob's", message_id=same)).duplicate


# -- C3 --------------------------------------------------------------------------------------------------------------------


async def test_c3_pipelined_sends_keep_their_order(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        wanted = [str(number) for number in range(300)]
        for number, text in enumerate(wanted, 1):
            await ann.send(ann.message(conversation, text, seq_num=number))
        got = await bob.messages(300)
        assert texts(got) == wanted
        assert [message.seq for message in got] == list(range(1, 301))
        ticks = [await ann.expect(frames.StatusUpdate, status="sent") for _ in wanted]
        assert [tick.seq for tick in ticks] == list(range(1, 301))


async def test_c3_everybody_sees_one_order(stack: Any, codec: str) -> None:
    """Both write at once, from two gateways, to three devices."""
    ann, bob, conversation = await couple(stack)
    tablet = await link(bob)
    first, second = [gateway["ws"] for gateway in stack.gateways.values()]
    async with (
        await Peer.open(first, ann, codec) as a,
        await Peer.open(second, bob, codec) as b,
        await Peer.open(first, tablet, codec) as t,
    ):
        for number in range(100):
            await asyncio.gather(
                a.send(a.message(conversation, f"a{number}")), b.send(b.message(conversation, f"b{number}"))
            )
        seen = await t.messages(200)
        assert [message.seq for message in seen] == list(range(1, 201))
        for who, letter in ((a, "a"), (b, "b")):
            theirs = await who.messages(100)
            foreign = [m for m in seen if not (m.encrypted_content or b"").startswith(letter.encode())]
            assert [(m.seq, m.message_id) for m in theirs] == [(m.seq, m.message_id) for m in foreign]
            own = [m for m in texts(seen) if m.startswith(letter)]
            assert own == [f"{letter}{number}" for number in range(100)]


async def test_c3_order_of_one_device_over_reconnects_and_gateways(stack: Any, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    urls = [gateway["ws"] for gateway in stack.gateways.values()]
    async with await Peer.open(urls[0], bob, codec) as b:
        number = 0
        for turn in range(6):
            async with await Peer.open(urls[turn % 2], ann, codec, sync=False) as a:
                for _ in range(5):
                    number += 1
                    await a.send(a.message(conversation, str(number), seq_num=number))
                for _ in range(5):
                    await a.expect(frames.StatusUpdate, status="sent")
                if turn % 3 == 0:
                    a.cut()
        assert texts(await b.messages(30)) == [str(n) for n in range(1, 31)]


@pytest.mark.parametrize("wrong", [2, 5, 2**53 - 1])
async def test_r19_a_gap_in_seqnum_is_out_of_order(stack: Runs, codec: str, wrong: int) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        answer = await ann.attempt(conversation, "early", seq_num=wrong, message_id=(same := new_id()))
        assert (answer.code, answer.details, answer.message_id) == ("out_of_order", {"expected": 1}, same)
        assert answer.retryable
        assert (await ann.say(conversation, "first", seq_num=1)).seq == 1
        answer = await ann.attempt(conversation, "again", seq_num=1)
        assert (answer.code, answer.details) == ("out_of_order", {"expected": 2})
        assert texts(await bob.messages(1)) == ["first"]


async def test_r19_one_three_two(stack: Runs, codec: str) -> None:
    """Three sends in one write, the last two exchanged: 3 is refused, 2 passes, 3 sent again passes."""
    async with talking(stack, codec) as (ann, bob, conversation):
        sends = {number: ann.message(conversation, str(number), seq_num=number) for number in (1, 2, 3)}
        for number in (1, 3, 2):
            sends[number].ref = str(number)
            await ann.send(sends[number])
        one, three, two = [await ann.take(lambda f, n=n: f.ref == str(n), f"answer {n}") for n in (1, 3, 2)]
        assert (one.status, two.status) == ("sent", "sent")
        assert (three.code, three.details) == ("out_of_order", {"expected": 2})
        assert (await ann.ask(sends[3])).seq == 3
        assert texts(await bob.messages(3)) == ["1", "2", "3"]


async def test_r18_a_retry_is_a_duplicate_before_its_seqnum_is_judged(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, _bob, conversation):
        first = await ann.say(conversation, "1", seq_num=1, message_id=(same := new_id()))
        await ann.say(conversation, "2", seq_num=2)
        again = await ann.say(conversation, "1", seq_num=1, message_id=same)
        assert (again.seq, again.duplicate) == (first.seq, True)


async def test_seqnum_counts_per_device_and_conversation(stack: Runs) -> None:
    ann, bob, conversation = await couple(stack)
    laptop = await link(ann)
    other = await ann.direct(await sign_up(stack))
    async with (
        await Peer.open(stack.ws, ann) as a,
        await Peer.open(stack.ws, laptop) as b,
        await Peer.open(stack.ws, bob) as c,
    ):
        for peer, where in ((a, conversation), (b, conversation), (c, conversation), (a, other)):
            await peer.say(where, seq_num=1)
        await a.say(conversation)  # without one: not counted
        await a.say(conversation, seq_num=2)


# -- who may -----------------------------------------------------------------------------------------------------------------


async def test_c4_unknown_and_foreign_conversations_look_alike(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        async with await Peer.open(stack.ws, await sign_up(stack), codec) as carl:
            answers = [await carl.attempt(place, seq_num=1) for place in (conversation, new_id())]
            for answer in answers:
                assert (answer.code, answer.retryable, answer.details) == ("not_found", False, None)
            assert answers[0].message == answers[1].message
        await ann.say(conversation, "fence")
        assert texts(await bob.messages(1)) == ["fence"]


async def test_recipient_ids_are_checked_never_trusted(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert ann.phone is not None
        assert bob.phone is not None
        carl = await sign_up(stack)
        async with await Peer.open(stack.ws, carl, codec) as c:
            await ann.say(conversation, "right", recipient_ids=[bob.phone.user])
            await ann.say(conversation, "self too", recipient_ids=[bob.phone.user, ann.phone.user])
            answer = await ann.attempt(conversation, "leak", recipient_ids=[bob.phone.user, carl.user])
            assert answer.code == "bad_request"
            await ann.say(conversation, "end")
            assert texts(await bob.messages(3)) == ["right", "self too", "end"]
            await ann.say(await ann.phone.direct(carl), "fence")
            assert texts(await c.messages(1)) == ["fence"]


@pytest.mark.parametrize("known", [True, False], ids=["existing", "unknown"])
async def test_c4_an_outsider_reads_nothing(stack: Runs, codec: str, known: bool) -> None:
    """sync, read receipts, acks and typing of somebody who is not a member have no effect and show nothing."""
    async with talking(stack, codec) as (ann, bob, conversation):
        assert ann.phone is not None
        tick = await ann.say(conversation, "private")
        await bob.expect(frames.Message)
        place = conversation if known else new_id()
        carl = await sign_up(stack)
        async with await Peer.open(stack.ws, carl, codec, sync=False) as c:
            assert events_of(await c.sync({place: 0})) == []
            assert not c.waiting()
            await c.ack(place, 1)
            for frame in (
                frames.StatusUpdate(place, "read", up_to=1),
                frames.StatusUpdate(place, "read", message_id=tick.message_id),
                frames.StatusUpdate(place, "delivered", message_id=tick.message_id),
                frames.Typing(place, True),
            ):
                answer = await c.ask(frame)
                assert (answer.code, answer.message) == ("not_found", "there is no such conversation"), frame
            async with await Peer.open(stack.ws, carl, codec, resume={place: 0}) as again:
                await again.expect(frames.SyncComplete)
                assert not again.waiting(frames.SyncBatch, frames.Message)
        # A fence by the same ways: typing and a receipt of a member.
        await bob.send(frames.Typing(conversation, True))
        await ann.expect(frames.Typing, user_id=bob.phone.user if bob.phone else "")
        await bob.ack(conversation, 1)
        await ann.expect(frames.StatusUpdate, status="delivered")
        assert not [f for f in ann.log if getattr(f, "user_id", None) == carl.user]
        assert not [f for f in bob.log if getattr(f, "user_id", None) == carl.user]


async def test_the_body_limits_of_a_frame(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        await ann.say(conversation, b"x" * 65_536)
        answer = await ann.attempt(conversation, b"x" * 65_537, message_id=(same := new_id()))
        assert (answer.code, answer.message_id, answer.retryable) == ("too_large", same, False)
        assert len((await bob.expect(frames.Message)).encrypted_content or b"") == 65_536
        await ann.say(conversation, b"")
        assert not (await bob.expect(frames.Message)).encrypted_content


async def test_what_is_not_built_answers_feature_disabled(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert bob.phone is not None
        answer = await ann.ask(frames.Call(new_id(), "offer", {"sdp": "x"}, to_user_id=bob.phone.user))
        assert (answer.code, answer.retryable) == ("feature_disabled", False)
        await ann.say(conversation, "fence")
        assert texts(await bob.messages(1)) == ["fence"]
        assert not bob.waiting(frames.Event, frames.Call)


async def test_c4_each_conversation_of_a_batch_is_heard_of_live(stack: Runs) -> None:
    """Many write at once, so one append and one look-up of sessions serve them all; the check is a minute away."""
    async with AsyncExitStack() as open_:
        talks = [await open_.enter_async_context(talking(stack)) for _ in range(8)]
        for turn in range(3):
            await asyncio.gather(*[ann.say(conversation, f"turn {turn}") for ann, _, conversation in talks])
            for _, bob, _ in talks:
                assert texts(await bob.messages(1)) == [f"turn {turn}"]
