"""Presence and typing: never stored, only to those who may know. On a system whose times are short."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.peer import Peer, Phone, Runs, couple, link, new_id, sign_up, talking, until
from tests.gateway.raw import RawSocket
from tests.support.stack import System
from whatsapp.wire import frames


@pytest.fixture(scope="module")
def stack() -> Iterator[Any]:
    limits = {"offline_debounce_ms": 300, "presence_ttl_s": 2, "presence_subscriptions": 5}
    with System(worker=False, limits=limits) as system:
        yield system


def statuses(peer: Peer, user: str) -> list[str]:
    return [f.status for f in peer.log if isinstance(f, frames.Presence) and f.user_id == user]


async def test_the_state_is_told_at_once_and_followed(stack: Any, codec: str) -> None:
    ann, bob, _conversation = await couple(stack)
    first, second = [gateway["ws"] for gateway in stack.gateways.values()]
    async with await Peer.open(first, ann, codec) as a:
        await a.send(frames.PresenceSubscribe([bob.user, ann.user]))
        assert (await a.expect(frames.Presence, user_id=bob.user)).status == "offline"
        assert (await a.expect(frames.Presence, user_id=ann.user)).status == "online"
        async with await Peer.open(second, bob, codec) as b:
            got = await a.expect(frames.Presence, user_id=bob.user)
            assert (got.status, got.last_seen) == ("online", None)
            await b.send(frames.Presence("away"))
            await a.expect(frames.Presence, user_id=bob.user, status="away")
            await b.send(frames.Presence("online"))
            await a.expect(frames.Presence, user_id=bob.user, status="online")
            await b.send(frames.Presence("offline"))  # of a live socket: not here, as away
            await a.expect(frames.Presence, user_id=bob.user, status="away")
        got = await a.expect(frames.Presence, user_id=bob.user, status="offline")
        assert got.last_seen


async def test_a_changed_network_shows_nothing(stack: Any, codec: str) -> None:
    """Going offline is debounced; a second device keeps its user online."""
    ann, bob, _conversation = await couple(stack)
    laptop = await link(bob)
    url = stack.gateways["gateway-1"]["ws"]
    async with await Peer.open(url, bob, codec) as b, await Peer.open(url, ann, codec) as a:
        await a.send(frames.PresenceSubscribe([bob.user]))
        await a.expect(frames.Presence, user_id=bob.user, status="online")
        b.cut()
        await b.closed()
        async with await Peer.open(url, bob, codec) as again, await Peer.open(url, laptop, codec) as other:
            again.cut()
            await again.closed()
            await other.send(frames.Presence("away"))
            await a.expect(frames.Presence, user_id=bob.user, status="away")
        await a.expect(frames.Presence, user_id=bob.user, status="offline")
        assert "offline" not in statuses(a, bob.user)[:-1]


async def test_a_subscription_ends(stack: Any, codec: str) -> None:
    ann, bob, _conversation = await couple(stack)
    carl = await sign_up(stack)
    async with await Peer.open(stack.ws, ann, codec) as a, await Peer.open(stack.ws, carl, codec) as c:
        await a.send(frames.PresenceSubscribe([bob.user], ttl=1))
        await a.expect(frames.Presence, user_id=bob.user, status="offline")
        loop = asyncio.get_running_loop()
        ends = loop.time() + 1.1
        while loop.time() < ends:
            await a.round_trip()
        await c.send(frames.PresenceSubscribe([bob.user]))
        await c.expect(frames.Presence, user_id=bob.user, status="offline")
        async with await Peer.open(stack.ws, bob, codec):
            await c.expect(frames.Presence, user_id=bob.user, status="online")
            await a.round_trip()
            assert statuses(a, bob.user) == ["offline"]


async def test_nobody_hears_who_did_not_subscribe(stack: Any, codec: str) -> None:
    ann, bob, _conversation = await couple(stack)
    carl = await sign_up(stack)
    async with await Peer.open(stack.ws, ann, codec) as a, await Peer.open(stack.ws, carl, codec) as c:
        await c.send(frames.PresenceSubscribe([bob.user]))
        await c.expect(frames.Presence, user_id=bob.user)
        async with await Peer.open(stack.ws, bob, codec):
            await c.expect(frames.Presence, user_id=bob.user, status="online")
        await a.round_trip()
        assert not a.waiting(frames.Presence)


async def test_a_socket_cut_while_it_opens_leaves_nobody_online(stack: Any) -> None:
    """Cut at all moments between the upgrade and ``ready``."""
    people = await asyncio.gather(*[sign_up(stack) for _ in range(30)])
    for number, person in enumerate(people):
        async with await RawSocket.open(stack.ws, "json", person.token):
            await asyncio.sleep(number * 0.0002)
    users = [person.user for person in people]

    async def offline() -> bool:
        states = []
        for start in range(0, 30, 5):
            async with await Peer.open(stack.ws, await sign_up(stack)) as asking:
                await asking.send(frames.PresenceSubscribe(users[start : start + 5]))
                states += [(await asking.expect(frames.Presence)).status for _ in range(5)]
        return set(states) == {"offline"}

    await until(offline, "no session is left", 10)


async def test_an_unknown_user_is_offline(stack: Any, codec: str) -> None:
    """Whether a user exists is not told."""
    async with await Peer.open(stack.ws, await sign_up(stack), codec) as a:
        nobody = new_id()
        await a.send(frames.PresenceSubscribe([nobody]))
        assert (await a.expect(frames.Presence, user_id=nobody)).status == "offline"


async def test_c7_presence_subscriptions_are_bounded(stack: Any, codec: str) -> None:
    async with await Peer.open(stack.ws, await sign_up(stack), codec) as a:
        known = [new_id() for _ in range(4)]
        await a.send(frames.PresenceSubscribe(known))
        for user in known:
            await a.expect(frames.Presence, user_id=user)
        answer = await a.ask(frames.PresenceSubscribe([new_id(), new_id()]))
        assert answer.code == "limit_exceeded"
        await a.send(frames.PresenceSubscribe([*known, new_id()]))  # repeating is free
        for user in known:
            await a.expect(frames.Presence, user_id=user)


async def test_a_client_cannot_say_unknown(stack: Any, codec: str) -> None:
    async with await Peer.open(stack.ws, await sign_up(stack), codec) as a:
        answer = await a.ask(frames.Presence("unknown"))
        assert answer.code == "bad_request"


async def test_presence_is_unknown_without_the_hot_node(stack: Any) -> None:
    ann, bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann) as a, await Peer.open(stack.ws, bob) as b:
        await a.send(frames.PresenceSubscribe([bob.user]))
        await a.expect(frames.Presence, user_id=bob.user, status="online")
        stack.kill("valkey")
        try:
            await a.send(frames.PresenceSubscribe([bob.user]))
            await a.expect(frames.Presence, user_id=bob.user, status="unknown")
            await a.say(conversation, "goes on")  # C6
        finally:
            stack.restart("valkey")
        assert (await b.messages(1))[0].encrypted_content == b"goes on"


# -- typing ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", [False, True], ids=["same gateway", "other gateway"])
async def test_typing_and_its_end(stack: Any, codec: str, apart: bool) -> None:
    async with talking(stack, codec, apart=apart) as (ann, bob, conversation):
        assert ann.phone is not None
        for active, kind in ((True, None), (True, "audio"), (False, None)):
            await ann.send(frames.Typing(conversation, active, kind=kind))
            got = await bob.expect(frames.Typing)
            assert got == frames.Typing(conversation, active, kind=kind, user_id=ann.phone.user)
        await ann.round_trip()
        assert not ann.waiting(frames.Typing)


async def test_typing_is_not_kept_for_who_is_away(stack: Any, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    laptop: Phone = await link(bob)
    async with await Peer.open(stack.ws, ann, codec) as a, await Peer.open(stack.ws, laptop, codec) as other:
        await a.send(frames.Typing(conversation, True))
        await other.expect(frames.Typing)
        async with await Peer.open(stack.ws, bob, codec) as b:
            await b.round_trip()
            assert not b.waiting(frames.Typing)


async def test_who_types_cannot_be_claimed(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert ann.phone is not None
        assert bob.phone is not None
        await ann.send(frames.Typing(conversation, True, user_id=bob.phone.user))
        assert (await bob.expect(frames.Typing)).user_id == ann.phone.user
        await ann.send(frames.Presence("away", user_id=bob.phone.user, last_seen=1))
        await ann.send(frames.PresenceSubscribe([ann.phone.user, bob.phone.user]))
        assert (await ann.expect(frames.Presence, user_id=bob.phone.user)).status == "online"
