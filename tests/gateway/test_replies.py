"""``replyTo`` and ``forwardId``: what a message may answer, and how far one is passed on."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from delivery.attachments import Attachments
from delivery.forwards import MAX_ACTS, Acts
from delivery.log import Log
from delivery.ports import nothing_to_attach
from delivery.sending import Forward
from delivery.store.errors import Blocked
from delivery.store.interface import Unavailable
from delivery.store.values import Appended, Conversation, Interval, Outcome
from tests.contract.people import send
from tests.gateway.peer import Peer, talking
from tests.gateway.phone import Runs, link, new_id, sign_up
from tests.gateway.test_amendments import delete, done, history
from tests.support.patience import until
from whatsapp.infra.limits import LIMITS
from whatsapp.wire import frames


async def test_a_reply_is_to_a_message_that_its_sender_may_know(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert bob.phone is not None
        carl = await sign_up(stack)
        elsewhere = await bob.phone.direct(carl)
        asked = await ann.say(conversation, "where?")
        await bob.say(conversation, "here", reply_to=asked.message_id)
        assert (await ann.expect(frames.Message)).reply_to == asked.message_id
        for unknown in (new_id(), (await bob.say(elsewhere, "to carl")).message_id):
            answer = await bob.attempt(conversation, "?", reply_to=unknown)
            assert (answer.code, answer.retryable) == ("not_found", False)
        answer = await bob.attempt(elsewhere, "?", reply_to=asked.message_id)
        assert answer.code == "not_found"
        # A message that was deleted meanwhile may be answered: who writes may not have heard of it.
        await done(ann, delete(conversation, asked.message_id))
        await bob.say(conversation, "still", reply_to=asked.message_id)


async def test_a_reply_may_come_in_one_batch_with_what_it_answers(stack: Runs) -> None:
    async with talking(stack) as (ann, bob, conversation):
        last = ann.message(conversation, "0")
        await ann.send(last)
        for number in range(1, 20):
            following = ann.message(conversation, str(number), reply_to=last.message_id)
            await ann.send(following)
            last = following
        ticks = [await ann.expect(frames.StatusUpdate) for _ in range(20)]
        assert [tick.seq for tick in ticks] == list(range(1, 21))
        assert len(await bob.messages(20)) == 20


async def test_one_act_of_forwarding_reaches_five_conversations(stack: Runs, codec: str) -> None:
    ann, *others = await asyncio.gather(*[sign_up(stack) for _ in range(7)])
    talks = [await ann.direct(other) for other in others]
    laptop = await link(ann)
    one, two = [gateway["ws"] for gateway in stack.gateways.values()]
    async with await Peer.open(one, ann, codec) as a, await Peer.open(two, laptop, codec) as b:
        act = new_id()
        first = a.message(talks[0], "pass it on", forward_id=act, forward_count=1)
        assert (await a.ask(first)).status == "sent"
        for peer, talk in zip((b, a, b, a), talks[1:5], strict=True):
            await peer.say(talk, "pass it on", forward_id=act, forward_count=1)
        for peer in (a, b):
            answer = await peer.attempt(talks[5], "pass it on", forward_id=act, forward_count=1)
            assert (answer.code, answer.retryable) == ("limit_exceeded", False)
            assert (await peer.ask(first)).duplicate, "a repetition is none more, over whichever gateway"
        await a.say(talks[5], "another act", forward_id=new_id(), forward_count=1)
        # Forwarded many times: one conversation.
        act = new_id()
        await a.say(talks[0], "chain letter", forward_id=act, forward_count=5)
        assert (
            await b.attempt(talks[1], "chain letter", forward_id=act, forward_count=5)
        ).code == "limit_exceeded"


async def test_a_message_that_is_not_to_be_kept(stack: Any, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert bob.phone is not None
        sent = await ann.say(conversation, "burn", expires_in=3_600, view_once=True, media_url="https://m/1")
        got = await bob.expect(frames.Message)
        assert (got.encrypted_content, got.expires_in, got.view_once) == (b"burn", 3_600, True)
        # Its time has come, the task has not: nothing shows it.
        async with stack.stored() as log:
            await log.age(conversation, 3_600_001)
        (late,) = await history(stack, bob.phone, conversation, codec)
        assert (late.deleted, late.encrypted_content, late.media_url, late.expires_in) == (
            True,
            None,
            None,
            3_600,
        )
        # And then it is nowhere.
        async with stack.stored() as log:
            await log.due(conversation, 3_600_001)

            async def gone() -> bool:
                # A store may pass over what it is not sure of yet, until the next turn.
                await log.store.vanish(sent.timestamp, 1000)
                return not any(one.content for one in await log.events(conversation))

            await until(gone, "it is nowhere", 30)
        (late,) = await history(stack, bob.phone, conversation, codec)
        assert (late.deleted, late.expires_in) == (True, 3_600), "it still says for how long it was kept"
        too_long = await ann.attempt(conversation, "for ever", expires_in=frames.MAX_LIFETIME + 1)
        assert (too_long.code, too_long.details) == ("bad_request", {"field": "expiresIn"})
        await ann.say(conversation, "a year", expires_in=frames.MAX_LIFETIME)


async def test_a_store_that_fails_in_the_look_up_answers_each_send_once() -> None:
    member, stranger, conversation = new_id(), new_id(), new_id()

    class Store:
        async def knows(self, asked: Any) -> list[bool]:
            raise Unavailable("away")

    class Lists:
        async def lists(self, heads: Any) -> dict[str, Conversation]:
            return {c: Conversation(c, "direct", 0, (Interval(member, 1),)) for c in heads}

    class Sender:
        sending = 0
        limits = LIMITS

        def __init__(self) -> None:
            self.got: list[Any] = []

        def send(self, frame: Any) -> None:
            self.got.append(frame)

    parts: Any = [Store(), Lists(), None, None, None, None, None, Attachments(nothing_to_attach)]
    log = Log(*parts)
    sessions: list[Any] = [Sender(), Sender()]
    for session, user in zip(sessions, (member, stranger), strict=True):
        log.submit(session, send(conversation, user, new_id()), "", 0.0, None, new_id())
    await log.drained()
    for session in sessions:
        assert [frame.code for frame in session.got] == ["unavailable"]
        assert session.sending == 0


def test_acts_are_bounded() -> None:
    acts = Acts()
    for number in range(MAX_ACTS + 5):
        assert acts.take(Forward("ann", str(number), "c", 1))
    assert len(acts) <= MAX_ACTS


@pytest.mark.parametrize("unsure", [False, True])
async def test_a_writer_takes_another_name_when_a_send_may_be_stored_that_was_not_answered(
    unsure: bool,
) -> None:
    """Its row is the one of those who were answered: nobody but the sweep, which looks after old names, would tell of it."""
    user, sends = new_id(), [send(new_id(), new_id(), new_id()) for _ in range(2)]
    for one in sends:
        one.sender = user
    added: list[Any] = []

    class Store:
        async def append(self, writer: str, sends: Any, now: int) -> Any:
            raise Blocked([None, Appended(Outcome.STORED, 1, now)], 7, unsure=unsure)

    class Lists:
        async def lists(self, heads: Any) -> dict[str, Conversation]:
            return {c: Conversation(c, "direct", 0, (Interval(user, 1),)) for c in heads}

    class Names:
        writer = "first"

        def rename(self) -> None:
            self.writer = "second"

    class Near:
        async def too_far(self, batch: Any) -> list[Any]:
            return []

    nobody: Any = SimpleNamespace(sent=lambda *args: None)
    names = Names()
    fanout = SimpleNamespace(progress=names, add=added.append, lags=lambda conversation: False)
    parts: Any = [Store(), Lists(), fanout, nobody, nobody, None, Near(), Attachments(nothing_to_attach)]
    log = Log(*parts)
    got: list[Any] = []
    session: Any = SimpleNamespace(sending=0, first_own={}, send=got.append, limits=LIMITS)
    for one in sends:
        log.submit(session, one, "", 0.0)
    await log.drained()
    assert {type(frame).__name__ for frame in got} == {"Error", "StatusUpdate"}
    assert [(batch.writer, batch.row) for batch in added] == [("first", 7)]
    assert names.writer == ("second" if unsure else "first")
