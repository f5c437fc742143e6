"""``edit_message``, ``delete_message`` and ``react`` as clients see them: live, late, again, over devices and gateways."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.gateway.peer import Peer, events_of, talking
from tests.gateway.phone import Phone, Runs, couple, link, new_id, sign_up
from whatsapp.wire import frames

MINUTE = 60_000
_fresh: dict[str, Phone] = {}  # a device of each user that is here to read everything


def edit(conversation: str, target: str | None, text: str = "edited", **fields: Any) -> frames.EditMessage:
    return frames.EditMessage(
        **{**_usual(conversation, target), "encrypted_content": text.encode(), **fields}
    )


def delete(conversation: str, target: str | None, **fields: Any) -> frames.DeleteMessage:
    return frames.DeleteMessage(**{**_usual(conversation, target), **fields})


def react(conversation: str, target: str | None, emoji: str = "👍", **fields: Any) -> frames.React:
    return frames.React(**{**_usual(conversation, target), "emoji": emoji, **fields})


def _usual(conversation: str, target: str | None) -> dict[str, Any]:
    assert target is not None
    return {"message_id": new_id(), "conversation_id": conversation, "target_id": target, "timestamp": 1}


async def done(peer: Peer, frame: frames.Frame) -> frames.StatusUpdate:
    answer = await peer.ask(frame)
    assert isinstance(answer, frames.StatusUpdate), answer
    assert answer.status == "sent"
    return answer


async def refused(peer: Peer, frame: frames.Frame) -> str:
    answer = await peer.ask(frame)
    assert isinstance(answer, frames.Error), answer
    assert answer.message_id == frame.message_id  # type: ignore[attr-defined]
    return answer.code


async def history(system: Runs, phone: Phone, conversation: str, codec: str = "json") -> list[Any]:
    """What a device of that user reads that begins from nothing."""
    fresh = _fresh.get(phone.user)
    if fresh is None:
        fresh = _fresh[phone.user] = await link(phone, name="fresh")
    async with await Peer.open(system.ws, fresh, codec, sync=False) as peer:
        return events_of(await peer.sync({conversation: 0}))


def shown(events: list[Any]) -> list[Any]:
    return [
        (e.seq, e.encrypted_content, e.edited, e.deleted)
        if isinstance(e, frames.Message)
        else (e.seq, e.kind, e.encrypted_content, e.data)
        for e in events
    ]


async def age(system: Any, conversation: str, ms: int) -> None:
    """The messages of a conversation are this much older."""
    async with system.stored() as log:
        await log.age(conversation, ms)


async def test_an_edit_reaches_everybody_and_every_late_reader(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert ann.phone is not None
        assert bob.phone is not None
        sent = await ann.say(conversation, "helo", kind="image", media_url="https://m/1")
        await ann.say(conversation, "next")
        tick = await done(ann, edit(conversation, sent.message_id, "hello", seq_num=None))
        assert (tick.seq, tick.duplicate, tick.conversation_id) == (3, False, conversation)
        assert await bob.expect(frames.Event) == frames.Event(
            conversation_id=conversation,
            seq=3,
            kind="edit",
            actor_id=ann.phone.user,
            target_id=sent.message_id,
            data={},
            server_timestamp=tick.timestamp or 0,
            encrypted_content=b"hello",
        )
        await done(ann, edit(conversation, sent.message_id, "hello!"))
        await ann.round_trip()
        assert not ann.waiting(frames.Event), "the ✓ stands for it"
        late = await history(stack, bob.phone, conversation, codec)
        assert shown(late) == [
            (1, b"hello!", True, False), (2, b"next", False, False), (4, "edit", b"hello!", {}),
        ]  # fmt: skip
        assert (late[0].media_url, late[0].server_timestamp, late[0].kind) == (
            "https://m/1", sent.timestamp, "image",
        )  # fmt: skip
        # The same over REST, and the list of conversations counts no edit.
        answer = (await bob.phone.rest("GET", f"/conversations/{conversation}/events")).json()
        assert [item["seq"] for item in answer["items"]] == [1, 2, 4]
        assert (answer["items"][0]["edited"], answer["items"][0]["encryptedContent"]) == (True, "aGVsbG8h")
        (listed,) = (await bob.phone.rest("GET", "/conversations")).json()["items"]
        assert (listed["unread"], listed["lastEvent"]["kind"]) == (2, "edit")


async def test_a_delete_leaves_no_content_anywhere(stack: Any, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert bob.phone is not None
        sent = await ann.say(conversation, "regret", media_url="https://m/1", reply_to=None)
        await done(ann, edit(conversation, sent.message_id, "regret it"))
        await done(bob, react(conversation, sent.message_id, "😱"))
        tick = await done(ann, delete(conversation, sent.message_id))
        event = await bob.expect(frames.Event, kind="delete")
        assert (event.seq, event.target_id, event.encrypted_content, event.data) == (
            tick.seq, sent.message_id, None, {},
        )  # fmt: skip
        late = await history(stack, bob.phone, conversation, codec)
        assert shown(late) == [(1, None, False, True), (4, "delete", None, {})]
        assert late[0].media_url is None
        async with stack.stored() as log:
            assert not any(one.content for one in await log.events(conversation))
        for frame in (edit, delete, react):
            assert await refused(ann, frame(conversation, sent.message_id)) == "gone"
        # The first send is still recognised.
        again = await ann.say(conversation, "regret", message_id=sent.message_id, media_url="https://m/1")
        assert (again.seq, again.duplicate) == (1, True)


async def test_reactions_one_a_person(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert bob.phone is not None
        sent = await ann.say(conversation)
        await done(bob, react(conversation, sent.message_id, "👍"))
        event = await ann.expect(frames.Event)
        assert (event.kind, event.target_id, event.actor_id, event.data) == (
            "reaction", sent.message_id, bob.phone.user, {"emoji": "👍"},
        )  # fmt: skip
        await done(bob, react(conversation, sent.message_id, "👩🏽‍❤️‍💋‍👨🏿"))
        await done(ann, react(conversation, sent.message_id, "❤️"))
        late = await history(stack, bob.phone, conversation, codec)
        assert shown(late)[1:] == [
            (3, "reaction", None, {"emoji": "👩🏽‍❤️‍💋‍👨🏿"}), (4, "reaction", None, {"emoji": "❤️"}),
        ]  # fmt: skip
        await done(bob, react(conversation, sent.message_id, ""))
        assert (await ann.expect(frames.Event, seq=5)).data == {"emoji": ""}
        assert await refused(bob, react(conversation, sent.message_id, "")) == "not_found"
        assert [e.seq for e in await history(stack, bob.phone, conversation, codec)] == [1, 4, 5]
        # Who reacts has not read the rest.
        (listed,) = (await bob.phone.rest("GET", "/conversations")).json()["items"]
        assert listed["unread"] == 1


async def test_c2_an_amendment_is_stored_once(stack: Any, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    first, second = [gateway["ws"] for gateway in stack.gateways.values()]
    async with await Peer.open(first, bob, codec) as b:
        async with await Peer.open(first, ann, codec) as a:
            sent = await a.say(conversation, "one", seq_num=1)
            change = edit(conversation, sent.message_id, "two", seq_num=2)
            tick = await done(a, change)
        async with await Peer.open(second, ann, codec) as a:
            again = await done(a, change)
            assert (again.seq, again.timestamp, again.duplicate) == (tick.seq, tick.timestamp, True)
            other = edit(conversation, sent.message_id, "three", message_id=change.message_id)
            assert await refused(a, other) == "conflict"
            answer = await a.ask(edit(conversation, sent.message_id, "four", seq_num=5))
            assert (answer.code, answer.retryable, answer.details) == ("out_of_order", True, {"expected": 3})
            assert await refused(a, edit(conversation, new_id(), "five", seq_num=3)) == "not_found"
            await a.say(conversation, "next", seq_num=3)  # what was refused does not count
        await b.expect(frames.Message, seq=3)
        assert len([f for f in b.log if isinstance(f, frames.Event)]) == 1


async def test_what_is_somebody_elses(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert bob.phone is not None
        carl = await sign_up(stack)
        elsewhere = await bob.phone.direct(carl)
        sent = await ann.say(conversation, "ann's")
        async with await Peer.open(stack.ws, carl, codec) as c:
            for frame in (edit, delete, react):
                assert await refused(c, frame(conversation, sent.message_id)) == "not_found"
                assert await refused(c, frame(elsewhere, sent.message_id)) == "not_found"
        for frame in (edit, delete):
            assert await refused(bob, frame(conversation, sent.message_id)) == "forbidden"
        # The same id does not make it Bob's.
        await bob.say(conversation, "spoof", message_id=sent.message_id)
        assert await refused(bob, edit(conversation, sent.message_id, "spoof")) == "forbidden"
        # An event is no message.
        change = edit(conversation, sent.message_id)
        await done(ann, change)
        assert await refused(ann, edit(conversation, change.message_id)) == "not_found"
        assert await refused(bob, react(conversation, change.message_id)) == "not_found"


async def test_windows(stack: Any, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        sent = await ann.say(conversation, "old")
        await age(stack, conversation, 14 * MINUTE)
        await done(ann, edit(conversation, sent.message_id))
        await age(stack, conversation, MINUTE)
        assert await refused(ann, edit(conversation, sent.message_id)) == "window_expired"
        await age(stack, conversation, 47 * 60 * MINUTE)
        sent2 = await ann.say(conversation, "new")
        await done(bob, react(conversation, sent.message_id))
        await age(stack, conversation, 60 * MINUTE)
        assert await refused(ann, delete(conversation, sent.message_id)) == "window_expired"
        await done(ann, delete(conversation, sent2.message_id))


@pytest.mark.sql_only(
    "it inserts the reactions of nineteen users who are none; contract/amendments has the limit"
)
async def test_the_twenty_first_different_reaction_is_refused(stack: Any) -> None:
    async with talking(stack) as (ann, bob, conversation):
        sent = await ann.say(conversation)
        # As many others as it takes; who they are is not looked at.
        columns = "seq, ordinal, at, sent_at, seq_num, conversation, sender, device, message_id, kind, body_hash, content, target"
        ids = f"'{conversation}', gen_random_uuid(), gen_random_uuid(), gen_random_uuid()"
        emoji = "convert_to(chr(128511 + n), 'UTF8')"
        stack.sql(
            f"INSERT INTO delivery_event ({columns}) SELECT n + 1, 1, 1, 1, 0, {ids}, 'reaction', '', {emoji}, 1"
            f" FROM generate_series(1, 19) n; UPDATE delivery_head SET head = 20 WHERE conversation = '{conversation}'"
        )
        await done(bob, react(conversation, sent.message_id, "🐳"))
        answer = await ann.ask(react(conversation, sent.message_id, "🦀"))
        assert (answer.code, answer.retryable) == ("limit_exceeded", False)
        await done(ann, react(conversation, sent.message_id, "🐳"))
        await done(bob, react(conversation, sent.message_id, ""))
        assert await refused(bob, react(conversation, sent.message_id, "🦀")) == "limit_exceeded"
        await done(ann, react(conversation, sent.message_id, "🦀"))


@pytest.mark.parametrize("emoji", ["a", "👍👍", "👍 ", "\u200d", "hello", "\x00", "🇩", "👍" + "\ufe0f" * 30])
async def test_a_reaction_is_one_emoji(stack: Runs, emoji: str) -> None:
    async with talking(stack) as (ann, _bob, conversation):
        sent = await ann.say(conversation)
        assert await refused(ann, react(conversation, sent.message_id, emoji)) == "bad_request"


async def test_bodies_are_bounded(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        sent = await ann.say(conversation)
        assert await refused(ann, edit(conversation, sent.message_id, "")) == "bad_request"
        assert (
            await refused(ann, edit(conversation, sent.message_id, encrypted_content=None)) == "bad_request"
        )
        assert await refused(ann, edit(conversation, sent.message_id, "x" * 65_537)) == "too_large"
        await done(ann, edit(conversation, sent.message_id, "x" * 65_536))
        assert len((await bob.expect(frames.Event)).encrypted_content or b"") == 65_536


async def test_a_page_of_edits_stays_within_its_size(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert bob.phone is not None
        for _ in range(6):
            sent = await ann.say(conversation, "x" * 65_536)
            await done(ann, edit(conversation, sent.message_id, "y" * 65_536))
        fresh = await link(bob.phone)
        async with await Peer.open(stack.ws, fresh, codec, sync=False) as late:
            assert len(events_of(await late.sync({conversation: 0}))) == 12
            assert max(late.sizes) <= 512 * 1024


async def test_offline_and_pipelined(stack: Runs, codec: str) -> None:
    """What was written while there was no network goes out at once: a message, its edits, its delete."""
    ann, bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann, codec) as a, await Peer.open(stack.ws, bob, codec) as b:
        one, two = a.message(conversation, "1", seq_num=1), a.message(conversation, "2", seq_num=2)
        for frame in (
            one,
            two,
            edit(conversation, one.message_id, "1a", seq_num=3),
            react(conversation, two.message_id, "👍", seq_num=4),
            edit(conversation, one.message_id, "1b", seq_num=5),
            delete(conversation, two.message_id, seq_num=6),
            a.message(conversation, "3", seq_num=7),
        ):
            await a.send(frame)
        ticks = [await a.expect(frames.StatusUpdate) for _ in range(7)]
        assert [tick.seq for tick in ticks] == [1, 2, 3, 4, 5, 6, 7]
        await b.expect(frames.Message, seq=7)
        live = [f.seq for f in b.log if isinstance(f, frames.Message | frames.Event)]
        # What was superseded before it was read is not owed any more; the rest comes in its order.
        assert live == sorted(live)
        assert {1, 2, 5, 6, 7} <= set(live)
    assert shown(await history(stack, bob, conversation, codec)) == [
        (1, b"1b", True, False), (2, None, False, True), (5, "edit", b"1b", {}), (6, "delete", None, {}),
        (7, b"3", False, False),
    ]  # fmt: skip


async def test_edits_of_two_devices_and_a_delete_end_alike_everywhere(stack: Any) -> None:
    """At once, over two gateways: every device and every late reader has the same state (C3)."""
    ann, bob, conversation = await couple(stack)
    desk = await link(ann)
    first, second = [gateway["ws"] for gateway in stack.gateways.values()]
    async with (
        await Peer.open(first, ann) as a,
        await Peer.open(second, desk) as d,
        await Peer.open(second, bob, "protobuf") as b,
    ):
        for round_ in range(4):
            sent = await a.say(conversation, f"{round_}")
            work = [a.ask(edit(conversation, sent.message_id, f"a{n}")) for n in range(3)]
            work += [d.ask(edit(conversation, sent.message_id, f"d{n}")) for n in range(3)]
            work += [b.ask(react(conversation, sent.message_id))]
            if round_ % 2:
                work.append(d.ask(delete(conversation, sent.message_id)))
            answers = await asyncio.gather(*work)
            assert {getattr(answer, "code", "gone") for answer in answers} == {"gone"}
        last = await a.say(conversation, "end")
        for peer in (d, b):
            await peer.expect(frames.Message, seq=last.seq)
        states = []
        everything = await history(stack, bob, conversation)
        for peer in (a, d, b):
            events = [f for f in peer.log if isinstance(f, frames.Message | frames.Event)]
            mine = [e for e in everything if e.seq not in {f.seq for f in events}]  # its own, which it knows
            states.append(state(sorted([*events, *mine], key=lambda e: e.seq)))
        assert states[0] == states[1] == states[2]
        assert state(everything) == states[0]


def state(events: list[Any]) -> dict[str, Any]:
    """What a client shows that applied events in the order of seq."""
    contents: dict[str, Any] = {}
    reactions: dict[str, dict[str, str]] = {}
    for e in events:
        if isinstance(e, frames.Message):
            contents[e.message_id] = None if e.deleted else e.encrypted_content
        elif e.kind == "edit" and contents.get(e.target_id or "") is not None:
            contents[e.target_id or ""] = e.encrypted_content
        elif e.kind == "delete":
            contents[e.target_id or ""] = None
            reactions.pop(e.target_id or "", None)
        elif e.kind == "reaction":
            reactions.setdefault(e.target_id or "", {})[e.actor_id] = e.data["emoji"]
    return {"contents": contents, "reactions": reactions}
