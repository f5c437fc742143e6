"""A conversation's timer and polls, as clients on two gateways see them."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.gateway.peer import Peer, talking
from tests.gateway.phone import Phone, new_id, sign_up
from tests.gateway.test_amendments import delete, done, edit, history, refused
from tests.gateway.test_blocks import block
from whatsapp.wire import frames

DAY = 86_400


async def set_timer(phone: Phone, conversation: str, seconds: int | None) -> int:
    answer = await phone.rest("PATCH", f"/conversations/{conversation}", {"timer": seconds})
    if answer.status_code == 200:
        assert answer.json()["timer"] == seconds
    return answer.status_code


async def timer_of(phone: Phone, conversation: str) -> Any:
    items = (await phone.rest("GET", "/conversations")).json()["items"]
    return next(item["timer"] for item in items if item["conversationId"] == conversation)


def vote(conversation: str, target: str | None, choice: bytes | None, **fields: Any) -> frames.Vote:
    usual: dict[str, Any] = {"message_id": new_id(), "timestamp": 1}
    return frames.Vote(
        conversation_id=conversation, target_id=target or "", encrypted_content=choice, **{**usual, **fields}
    )


async def test_a_timer_puts_its_time_on_every_message_behind_it(stack: Any, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert ann.phone is not None
        assert bob.phone is not None
        await ann.say(conversation, "stays")
        assert await timer_of(ann.phone, conversation) is None
        assert await set_timer(bob.phone, conversation, DAY) == 200
        for peer in (ann, bob):
            event = await peer.expect(frames.Event, kind="timer")
            assert (event.seq, event.actor_id, event.data) == (2, bob.phone.user, {"seconds": DAY})
        assert await set_timer(ann.phone, conversation, DAY) == 200, "and no second event"
        assert [await timer_of(p, conversation) for p in (ann.phone, bob.phone)] == [DAY, DAY]
        sent = await ann.say(conversation, "burn")  # an older client, that knows nothing of timers
        await ann.say(conversation, "sooner", expires_in=60)
        await bob.say(conversation, "later", expires_in=3 * DAY)
        await done(ann, edit(conversation, sent.message_id))
        await done(
            bob,
            frames.React(
                conversation_id=conversation,
                message_id=new_id(),
                target_id=sent.message_id or "",
                emoji="👍",
                timestamp=1,
            ),
        )
        live = [m.expires_in for m in await bob.messages(3)]
        assert live == [None, DAY, 60]
        assert (await ann.expect(frames.Message)).expires_in == DAY
        assert await set_timer(ann.phone, conversation, None) == 200
        assert (await bob.expect(frames.Event, kind="timer", seq=8)).data == {"seconds": None}
        await ann.say(conversation, "stays too")
        read = await history(stack, bob.phone, conversation, codec)
        assert [(e.seq, e.expires_in) for e in read if isinstance(e, frames.Message)] == [
            (1, None), (3, DAY), (4, 60), (5, DAY), (9, None),
        ]  # fmt: skip
        # The time has come and no task was there yet: nothing is shown, and it still says for how long it was kept.
        async with stack.stored() as log:
            await log.age(conversation, DAY * 1000)
        shown = []
        for event in await history(stack, bob.phone, conversation, codec):
            if isinstance(event, frames.Message):
                shown.append(
                    (event.seq, event.encrypted_content, event.edited, event.deleted, event.expires_in)
                )
            elif event.kind in ("edit", "reaction"):
                assert (event.encrypted_content, event.data) in ((None, {}), (None, {"emoji": ""}))
        gone = (None, False, True)
        assert shown == [
            (1, b"stays", False, False, None), (3, *gone, DAY), (4, *gone, 60), (5, *gone, DAY),
            (9, b"stays too", False, False, None),
        ]  # fmt: skip
        assert await refused(ann, edit(conversation, sent.message_id)) == "gone"


async def test_who_may_set_a_groups_timer(stack: Any) -> None:
    ann, bob, eve = await asyncio.gather(*[sign_up(stack) for _ in range(3)])
    group = (await ann.rest("POST", "/groups", {"name": "all", "members": [bob.user]})).json()["groupId"]
    one, two = [gateway["ws"] for gateway in stack.gateways.values()]
    async with await Peer.open(one, ann) as a, await Peer.open(two, bob) as b:
        assert await set_timer(bob, group, 60) == 200
        for peer in (a, b):
            assert (await peer.expect(frames.Event, kind="timer")).data == {"seconds": 60}
        await a.say(group, "burn")
        assert (await b.expect(frames.Message)).expires_in == 60
        assert (
            await ann.rest("PATCH", f"/groups/{group}", {"settings": {"whoEdits": "admins"}})
        ).status_code == 200
        assert await set_timer(bob, group, None) == 403
        assert await set_timer(eve, group, None) == 404
        assert await set_timer(ann, group, None) == 200
        await b.expect(frames.Event, kind="timer")
        assert (await ann.rest("DELETE", f"/groups/{group}/members/{bob.user}")).status_code == 204
        assert await set_timer(bob, group, 60) == 404
        assert await timer_of(bob, group) is None
        for wrong in (0, -1, 1 << 31, 1.5, True, "60"):
            assert await set_timer(ann, group, wrong) == 400  # type: ignore[arg-type]
        # Both or neither of what one request asks for.
        both = await bob.rest("PATCH", f"/conversations/{group}", {"pinned": True, "timer": 60})
        assert both.status_code == 404
        (item,) = (await bob.rest("GET", "/conversations")).json()["items"]
        assert not item["pinned"]


async def test_a_timer_of_the_blocked_tells_nobody_and_nothing(stack: Any) -> None:
    async with talking(stack) as (ann, bob, conversation):
        assert ann.phone is not None
        assert bob.phone is not None
        await block(bob.phone, ann.phone)
        assert await set_timer(ann.phone, conversation, 60) == 200
        assert (await ann.expect(frames.Event, kind="timer")).seq == 1
        assert await timer_of(ann.phone, conversation) == 60
        assert await timer_of(bob.phone, conversation) is None
        await bob.say(conversation, "stays")
        assert (await ann.expect(frames.Message)).expires_in is None
        await block(bob.phone, ann.phone, on=False)
        await ann.say(conversation, "burn")
        assert (await bob.expect(frames.Message)).expires_in == 60
        assert await set_timer(bob.phone, conversation, 30) == 200
        for peer in (ann, bob):
            assert (await peer.expect(frames.Event, kind="timer")).data == {"seconds": 30}
        assert [f.data for f in bob.log if isinstance(f, frames.Event)] == [{"seconds": 30}]


async def test_a_poll_and_its_votes(stack: Any, codec: str) -> None:
    ann, bob, cat = await asyncio.gather(*[sign_up(stack) for _ in range(3)])
    group = (await ann.rest("POST", "/groups", {"name": "all", "members": [bob.user, cat.user]})).json()[
        "groupId"
    ]
    await ann.rest("PATCH", f"/groups/{group}", {"settings": {"whoSends": "admins"}})
    one, two = [gateway["ws"] for gateway in stack.gateways.values()]
    async with await Peer.open(one, ann, codec) as a, await Peer.open(two, bob, codec) as b:
        text = await a.say(group, "no poll")
        poll = await a.say(group, b'{"question":"Where?","options":["Pizza","Pasta"]}', kind="poll")
        assert [m.kind for m in await b.messages(2)] == ["text", "poll"]
        assert await refused(b, vote(group, text.message_id, b"x")) == "not_found"
        assert await refused(b, vote(group, poll.message_id, None)) == "not_found"
        assert await refused(b, vote(group, poll.message_id, b"x" * 8193)) == "too_large"
        # Who may only listen may vote; the last one counts.
        first = vote(group, poll.message_id, b"pasta")
        tick = await done(b, first)
        await done(b, vote(group, poll.message_id, b"pizza"))
        event = await a.expect(frames.Event, kind="vote", seq=tick.seq)
        assert (event.actor_id, event.target_id, event.encrypted_content) == (
            bob.user,
            poll.message_id,
            b"pasta",
        )
        assert (await a.expect(frames.Event, kind="vote")).encrypted_content == b"pizza"
        assert (await b.ask(first)).duplicate
        await done(a, vote(group, poll.message_id, b"pasta"))
        await done(a, vote(group, poll.message_id, None))
        assert (await b.expect(frames.Event, kind="vote")).encrypted_content == b"pasta"
        assert (await b.expect(frames.Event, kind="vote")).encrypted_content is None
        # Who was not there reads one word of each.
        votes = [
            e
            for e in await history(stack, cat, group, codec)
            if isinstance(e, frames.Event) and e.kind == "vote"
        ]
        assert [(e.actor_id, e.encrypted_content) for e in votes] == [(bob.user, b"pizza"), (ann.user, None)]
        await done(a, delete(group, poll.message_id))
        assert await refused(b, vote(group, poll.message_id, b"x")) == "gone"
        late = [e for e in await history(stack, cat, group, codec) if isinstance(e, frames.Event)]
        assert [e.kind for e in late if e.target_id] == ["delete"]
