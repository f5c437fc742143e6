"""Edits, deletes and reactions in groups: by lanes to every member, by role to whom they are allowed."""

from __future__ import annotations

import asyncio

from tests.gateway.peer import Peer
from tests.gateway.phone import Runs, sign_up
from tests.gateway.test_amendments import delete, done, edit, history, react, refused, shown
from tests.groups.test_sockets import change, make
from whatsapp.wire import frames


async def test_who_may_what_in_a_group(stack: Runs) -> None:
    ann, bob, cat = await asyncio.gather(*[sign_up(stack) for _ in range(3)])
    group = await make(ann, bob, cat)
    one, two = [gateway["ws"] for gateway in stack.gateways.values()]
    async with (
        await Peer.open(one, ann) as a,
        await Peer.open(two, bob, "protobuf") as b,
        await Peer.open(one, cat) as c,
    ):
        sent = [await b.say(group, f"bob's {n}") for n in range(3)]
        assert await refused(c, delete(group, sent[0].message_id)) == "forbidden"
        assert await refused(a, edit(group, sent[0].message_id)) == "forbidden", "an admin edits nobody's"
        await done(c, react(group, sent[0].message_id))
        tick = await done(a, delete(group, sent[0].message_id))
        for peer in (b, c):
            event = await peer.expect(frames.Event, kind="delete")
            assert (event.seq, event.actor_id, event.target_id) == (tick.seq, ann.user, sent[0].message_id)
        # A role counts from its event on, whoever has an old list.
        await change(ann, "PATCH", f"/groups/{group}/members/{cat.user}", {"role": "admin"})
        await done(c, delete(group, sent[1].message_id))
        await change(ann, "PATCH", f"/groups/{group}/members/{cat.user}", {"role": "member"})
        assert await refused(c, delete(group, sent[2].message_id)) == "forbidden"
        late = [item for item in shown(await history(stack, cat, group)) if item[0] in {s.seq for s in sent}]
        assert late == [
            (sent[0].seq, None, False, True), (sent[1].seq, None, False, True), (sent[2].seq, b"bob's 2", False, False),
        ]  # fmt: skip


async def test_who_may_only_listen_may_react_and_take_back(stack: Runs) -> None:
    ann, bob = await asyncio.gather(*[sign_up(stack) for _ in range(2)])
    group = await make(ann, bob)
    async with await Peer.open(stack.ws, ann) as a, await Peer.open(stack.ws, bob) as b:
        mine = await b.say(group, "before")
        news = await a.say(group, "news")
        await change(ann, "PATCH", f"/groups/{group}", {"settings": {"whoSends": "admins"}})
        await b.expect(frames.Event, kind="info", seq=(news.seq or 0) + 1)
        answer = await b.attempt(group, "me too")
        while isinstance(answer, frames.StatusUpdate):  # by a list of members of a moment ago
            answer = await b.attempt(group, "me too")
        assert answer.code == "forbidden"
        assert await refused(b, edit(group, mine.message_id)) == "forbidden"
        await done(b, react(group, news.message_id))
        await done(b, delete(group, mine.message_id))


async def test_who_joins_later_is_owed_nothing_about_earlier_messages_but_events(stack: Runs) -> None:
    ann, bob, cat = await asyncio.gather(*[sign_up(stack) for _ in range(3)])
    group = await make(ann, bob)
    async with await Peer.open(stack.ws, ann) as a, await Peer.open(stack.ws, cat) as c:
        sent = await a.say(group, "before cat")
        await change(ann, "PUT", f"/groups/{group}/members/{cat.user}", {})
        joined = await c.expect(frames.Event, kind="member_added")
        assert await refused(c, react(group, sent.message_id)) == "not_found"
        await done(a, react(group, sent.message_id, "🎉"))
        assert (await c.expect(frames.Event, kind="reaction")).target_id == sent.message_id
        late = await history(stack, cat, group)
        assert min(item.seq for item in late) == joined.seq
