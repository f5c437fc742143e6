"""Whoever is given an encrypted message can prove to the server what it said, on every way that it comes; and nobody can prove
what was not said. Through sockets and REST."""

from __future__ import annotations

import json
import os
from typing import Any

import httpx
import pytest

from delivery.franking import Place, Said, Verdict, commitment, verify
from tests.gateway.peer import Peer, events_of, fill, talking
from tests.gateway.phone import Phone, couple, link, new_id, sign_up
from tests.gateway.test_amendments import delete, done, edit
from tests.gateway.test_envelopes import _drained
from tests.groups.test_sockets import make
from tests.support.stack import System
from whatsapp.infra.token_keys import parse
from whatsapp.wire import frames
from whatsapp.wire.codec import JSON
from whatsapp.wire.frames import Event, Message


class Written:
    """A message of somebody's client: what it says, under a key that only its receivers find, and what the server sees."""

    def __init__(self, said: Said) -> None:
        self.said = said
        self.key = os.urandom(32)
        self.franking = commitment(self.key, said)
        self.message_id = new_id()
        self.sealed = os.urandom(48)  # only clients know how

    @property
    def fields(self) -> dict[str, Any]:
        said = self.said
        return {
            "message_id": self.message_id, "franking": self.franking, "kind": said.kind,
            "media_url": said.media_url or None, "reply_to": said.reply_to or None,
        }  # fmt: skip

    def verdict(self, system: Any, got: Message | Event, said: Said | None = None) -> Verdict:
        """What the server says of a report of what was received as ``got``."""
        if isinstance(got, Event):
            place = Place(
                got.conversation_id,
                got.target_id or "",
                got.actor_id,
                got.actor_device_id or "",
                got.server_timestamp,
            )
        else:
            place = Place(
                got.conversation_id, got.message_id, got.sender_id, got.sender_device_id, got.server_timestamp
            )
        keys = parse(system.env["FRANKING_KEYS"])
        return verify(keys, said or self.said, place, self.key, got.franking, got.franking_tag)

    def is_proved_by(self, system: Any, got: Message | Event) -> bool:
        """And nothing else is."""
        assert (got.encrypted_content, got.franking) == (self.sealed, self.franking)
        forged = self.said._replace(content=self.said.content + b", you idiot")
        assert self.verdict(system, got, forged) is Verdict.FORGED
        return self.verdict(system, got) is Verdict.VERIFIED


async def say(peer: Peer, conversation: str, written: Written) -> frames.StatusUpdate:
    return await peer.say(conversation, written.sealed, **written.fields)


def shown(item: dict[str, Any]) -> Message:
    """A message as REST has it."""
    frame = JSON.decode_server(json.dumps(item).encode())
    assert isinstance(frame, Message)
    return frame


async def items(phone: Phone, conversation: str) -> list[dict[str, Any]]:
    answer: httpx.Response = await phone.rest("GET", f"/conversations/{conversation}/events")
    return list(answer.json()["items"])


async def test_what_was_written_is_proved_on_every_way(stack: Any, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert ann.phone is not None
        assert bob.phone is not None
        late, laptop = await link(bob.phone), await link(ann.phone)
        first = Written(Said(b"hello"))
        await say(ann, conversation, first)
        answer = Written(Said(b"a picture", "image", "https://files.example/1", first.message_id))
        await say(ann, conversation, answer)
        for written, got in zip((first, answer), await bob.messages(2), strict=True):
            assert written.is_proved_by(stack, got)
        async with await Peer.open(stack.ws, laptop, codec, resume={conversation: 0}) as own:
            batch = await own.expect(frames.SyncBatch)
            assert [event.franking for event in batch.events] == [first.franking, answer.franking]
        async with await Peer.open(stack.ws, late, codec, sync=False) as fresh:
            one, two = events_of(await fresh.sync({conversation: 0}))
            assert first.is_proved_by(stack, one)
            assert answer.is_proved_by(stack, two)
        one, two = await items(bob.phone, conversation)
        assert first.is_proved_by(stack, shown(one))
        assert answer.is_proved_by(stack, shown(two))
        # Not as another's, in another conversation, nor at another time; and a message is not another one.
        got = shown(one)
        for field, other in (
            ("sender_id", bob.phone.user), ("sender_device_id", laptop.device), ("conversation_id", new_id()),
            ("message_id", answer.message_id), ("server_timestamp", got.server_timestamp + 1),
        ):  # fmt: skip
            changed = shown(one)
            setattr(changed, field, other)
            assert first.verdict(stack, changed) is Verdict.FORGED
        swapped = shown(one)
        swapped.franking_tag = shown(two).franking_tag
        assert first.verdict(stack, swapped) is Verdict.FORGED


async def test_an_edit_is_proved_by_its_own(stack: Any, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert bob.phone is not None
        first, second = Written(Said(b"one")), Written(Said(b"two"))
        await say(ann, conversation, first)
        change = edit(
            conversation, first.message_id, encrypted_content=second.sealed, franking=second.franking
        )
        await done(ann, change)
        assert second.is_proved_by(stack, await bob.expect(Event))
        late, event = events_of(await bob.sync({conversation: 0}))
        assert late.edited
        assert second.is_proved_by(stack, late)
        assert second.is_proved_by(stack, event)
        assert first.verdict(stack, late) is Verdict.FORGED, "it says so no more"
        (item, _) = await items(bob.phone, conversation)
        assert second.is_proved_by(stack, shown(item))
        # An edit without one takes it away: the message says something that nobody committed to.
        await done(ann, edit(conversation, first.message_id, "three"))
        late, event = events_of(await bob.sync({conversation: 0}))
        assert (late.encrypted_content, late.franking, late.franking_tag) == (b"three", None, None)
        assert (event.franking, event.franking_tag, event.actor_device_id) == (None, None, None)
        await done(ann, delete(conversation, first.message_id))
        late, _ = events_of(await bob.sync({conversation: 0}))
        assert (late.deleted, late.franking, late.franking_tag) == (True, None, None)
        # Whoever has received it can prove it all the same: the server needs nothing but its key.


async def test_what_is_no_commitment_is_refused(stack: Any, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        sent = await ann.say(conversation, "plain")
        for franking in (b"", b"x" * 31, b"x" * 33, b"x" * 256):
            for frame in (
                ann.message(conversation, franking=franking),
                edit(conversation, sent.message_id, franking=franking),
            ):
                answer = await ann.ask(frame)
                assert (answer.code, answer.details) == ("bad_request", {"field": "franking"})
                assert answer.message_id == frame.message_id
        # Nobody gets a tag but from the server.
        await ann.say(conversation, "claimed", franking_tag=b"\x01\x04test" + b"t" * 32)
        plain, claimed = await bob.messages(2)
        for got in (plain, claimed):
            assert (got.franking, got.franking_tag) == (None, None)


async def test_of_a_repetition_the_first_commitment_counts(stack: Any, codec: str) -> None:
    """A gateway of the version before has stored none, and the client repeats what got no answer at one that knows it."""
    async with talking(stack, codec) as (ann, bob, conversation):
        written = Written(Said(b"hello"))
        sent = await say(ann, conversation, written)
        for other in (b"o" * 32, None):
            again = await ann.say(conversation, written.sealed, message_id=written.message_id, franking=other)
            assert (again.seq, again.duplicate) == (sent.seq, True)
        assert written.is_proved_by(stack, await bob.expect(Message))
        (item,) = events_of(await bob.sync({conversation: 0}))
        assert written.is_proved_by(stack, item)


async def test_in_a_group_each_member_can_prove_it(stack: Any, codec: str) -> None:
    people = [await sign_up(stack) for _ in range(3)]
    ann, bob, cat = people
    group = await make(ann, bob, cat)
    urls = [gateway["ws"] for gateway in stack.gateways.values()]
    async with (
        await Peer.open(urls[0], ann, codec) as writes,
        await Peer.open(urls[0], bob, codec) as near,
        await Peer.open(urls[-1], cat, codec) as far,
    ):
        written = Written(Said(b"to all"))
        await say(writes, group, written)
        for peer in (near, far):
            assert written.is_proved_by(stack, await peer.expect(Message))


async def test_from_a_backlog_that_a_task_has_written(stack: Any, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    written = Written(Said(b"the first of many"))
    async with await Peer.open(stack.ws, ann) as peer:
        await say(peer, conversation, written)
        await fill(peer, conversation, 510)
    before = _drained(stack)
    async with await Peer.open(stack.ws, bob, codec, sync=False) as late:
        events = events_of(await late.sync())
    assert _drained(stack) > before, "a task has written it"
    assert written.is_proved_by(stack, events[0])


@pytest.mark.needs_system
@pytest.mark.timeout(300)
async def test_a_whole_system_on_cassandra_and_a_key_that_takes_over(
    cassandra_node: Any, cassandra_keyspace: str
) -> None:
    env = {"LOG_STORE": "cassandra", **cassandra_node.env(cassandra_keyspace)}
    with System(gateways=1, worker=False, env=env) as system:
        ann, bob, conversation = await couple(system)
        first, second = Written(Said(b"one")), Written(Said(b"two"))
        async with await Peer.open(system.ws, ann) as peer, await Peer.open(system.ws, bob) as reads:
            await say(peer, conversation, first)
            before = await reads.expect(Message)
            assert first.is_proved_by(system, before)
            change = edit(
                conversation, first.message_id, encrypted_content=second.sealed, franking=second.franking
            )
            await done(peer, change)
            assert second.is_proved_by(system, await reads.expect(Event))
            late, _ = events_of(await reads.sync({conversation: 0}))
            assert second.is_proved_by(system, late)
        (item, _) = await items(bob, conversation)
        assert second.is_proved_by(system, shown(item))
        # The log keeps no tag: under a new first key the same message comes with another one, and both are good.
        old = parse(system.env["FRANKING_KEYS"])
        keys = {"next": "n" * 48, **old}
        place = Place(conversation, first.message_id, ann.user, ann.device, before.server_timestamp)
        assert (
            verify(keys, first.said, place, first.key, before.franking, before.franking_tag)
            is Verdict.VERIFIED
        )
