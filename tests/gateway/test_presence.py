"""Presence and typing: never stored, only to those who may know. On a system whose times are short."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.peer import Peer, talking
from tests.gateway.phone import Phone, Runs, couple, link, new_id, sign_up
from tests.gateway.raw import BINARY, TEXT, RawSocket, frame
from tests.support.patience import until
from tests.support.stack import System
from whatsapp.wire import frames
from whatsapp.wire.codec import CODECS


@pytest.fixture(scope="module")
def stack() -> Iterator[Any]:
    """Nothing is read again: what is told was told at once."""
    limits = {"offline_debounce_ms": 300, "presence_subscriptions": 5, "presence_refresh_ms": 600_000}
    with System(worker=False, limits=limits) as system:
        yield system


@pytest.fixture(scope="module")
def patient() -> Iterator[Any]:
    """Who only loses the network is not offline for ten minutes."""
    with System(limits={"offline_debounce_ms": 600_000, "presence_refresh_ms": 300}, worker=False) as system:
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


@pytest.mark.needs_system
async def test_a_changed_network_shows_nothing(patient: Any, codec: str) -> None:
    """Going offline is debounced, however long it takes to come back; a second device keeps its user online."""
    ann, bob, _conversation = await couple(patient)
    laptop = await link(bob)
    url = patient.gateways["gateway-1"]["ws"]
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


@pytest.mark.needs_system
async def test_who_says_bye_is_offline_at_once(patient: Any, codec: str) -> None:
    """Followers on both gateways; a device that is still here keeps its user online; who comes back meanwhile is online."""
    ann, bob, _conversation = await couple(patient)
    carl, laptop = await sign_up(patient), await link(bob)
    one, two = [gateway["ws"] for gateway in patient.gateways.values()]
    async with await Peer.open(one, ann, codec) as a, await Peer.open(two, carl, codec) as c:
        for peer in (a, c):
            await peer.send(frames.PresenceSubscribe([bob.user]))
            await peer.expect(frames.Presence, user_id=bob.user, status="offline")
        async with await Peer.open(two, laptop, codec) as other:
            await other.send(frames.Presence("away"))
            for peer in (a, c):
                await peer.expect(frames.Presence, user_id=bob.user, status="away")
            async with await Peer.open(one, bob, codec):
                for peer in (a, c):
                    await peer.expect(frames.Presence, user_id=bob.user, status="online")
            for peer in (a, c):
                await peer.expect(frames.Presence, user_id=bob.user, status="away")
        for peer in (a, c):
            assert (await peer.expect(frames.Presence, user_id=bob.user, status="offline")).last_seen
            assert "offline" not in statuses(peer, bob.user)[1:-1]
        lost = await Peer.open(two, bob, codec)
        for peer in (a, c):
            await peer.expect(frames.Presence, user_id=bob.user, status="online")
        lost.cut()
        await lost.closed()
        async with await Peer.open(one, bob, codec) as again:
            await again.send(frames.Presence("away"))
            for peer in (a, c):
                await peer.expect(frames.Presence, user_id=bob.user, status="away")
        for peer in (a, c):
            await peer.expect(frames.Presence, user_id=bob.user, status="offline")
            assert statuses(peer, bob.user)[-3:] == ["online", "away", "offline"]


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


async def test_a_short_subscription_does_not_end_that_of_another_session(stack: Any, codec: str) -> None:
    """The node knows one expiry for a gateway and a user."""
    ann, bob, _conversation = await couple(stack)
    first, second = [gateway["ws"] for gateway in stack.gateways.values()]
    carl = await sign_up(stack)
    async with await Peer.open(first, ann, codec) as a, await Peer.open(first, carl, codec) as c:
        await a.send(frames.PresenceSubscribe([bob.user], ttl=60))
        await a.expect(frames.Presence, user_id=bob.user, status="offline")
        loop = asyncio.get_running_loop()
        ends = loop.time() + 1.2
        await c.send(frames.PresenceSubscribe([bob.user], ttl=1))
        await c.expect(frames.Presence, user_id=bob.user, status="offline")
        while loop.time() < ends:
            await a.round_trip()
        async with await Peer.open(second, bob, codec, sync=False):
            await a.expect(frames.Presence, user_id=bob.user, status="online")


async def test_subscriptions_that_ended_do_not_count(stack: Any, codec: str) -> None:
    async with await Peer.open(stack.ws, await sign_up(stack), codec) as a:
        known = [new_id() for _ in range(5)]
        await a.send(frames.PresenceSubscribe(known, ttl=1))
        # At once: in a second they are over.
        refused = await a.ask(frames.PresenceSubscribe([new_id()], ttl=1))
        assert refused.code == "limit_exceeded"
        for user in known:
            await a.expect(frames.Presence, user_id=user)

        async def allowed() -> bool:
            others = [new_id() for _ in range(5)]
            await a.send(frames.PresenceSubscribe(others, ttl=1))
            got = await a.take(
                lambda f: isinstance(f, frames.Error) or getattr(f, "user_id", "") == others[0]
            )
            return isinstance(got, frames.Presence)

        await until(allowed, "the first five have expired")


async def test_c7_subscriptions_of_one_moment_are_bounded_together(stack: Any, codec: str) -> None:
    """Each frame is counted with those read before it, though none of them is answered yet."""
    phone = await sign_up(stack)
    wire = CODECS[codec]
    kind = TEXT if wire.text else BINARY
    async with await RawSocket.open(stack.ws, codec, phone.token) as raw:
        got = await raw.receive()
        assert got is not None
        assert isinstance(wire.decode_server(got.payload), frames.Ready)
        asked = [frames.PresenceSubscribe([new_id() for _ in range(3)], ref=str(n)) for n in range(4)]
        raw.write(b"".join(frame(kind, wire.encode(one)) for one in asked))
        refused, told = [], []
        while len(refused) < 3 or len(told) < 3:
            got = await raw.receive()
            assert got is not None
            answer = wire.decode_server(got.payload)
            if isinstance(answer, frames.Error):
                assert answer.code == "limit_exceeded"
                refused.append(answer.ref)
            else:
                told.append(answer.user_id)
        assert refused == ["1", "2", "3"]
        assert set(told) == set(asked[0].user_ids)


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


# -- gateways that end ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def whole(stack: Any) -> Iterator[Any]:
    """The second gateway is there again at the end."""
    yield stack
    stack.restart("gateway-2")


async def test_a_drained_gateway_takes_its_users_offline(whole: Any) -> None:
    """It says so while it drains: nothing here is read again. Who went on elsewhere, or is there anyway, stays online."""
    stack = whole
    ann, bob, carl, dora = [await sign_up(stack) for _ in range(4)]
    laptop = await link(carl)
    first, second = [gateway["ws"] for gateway in stack.gateways.values()]
    await Peer.open(second, bob)
    await Peer.open(second, carl)
    moving = await Peer.open(second, dora)
    async with await Peer.open(first, ann) as a, await Peer.open(first, laptop):
        await a.send(frames.PresenceSubscribe([bob.user, carl.user, dora.user]))
        for person in (bob, carl, dora):
            await a.expect(frames.Presence, user_id=person.user, status="online")
        stack.kill("gateway-2", signal.SIGTERM)
        await moving.closed()
        async with await Peer.open(first, dora):
            got = await a.expect(frames.Presence, user_id=bob.user)
            assert got.status == "offline"
            assert got.last_seen
            await asyncio.to_thread(stack.wait_dead, "gateway-2", 15)
            await a.round_trip()
            assert statuses(a, carl.user) == statuses(a, dora.user) == ["online"]


async def test_who_a_killed_gateway_served_goes_offline(own_stack: Any) -> None:
    limits = {"offline_debounce_ms": 300, "presence_refresh_ms": 300}
    stack = own_stack(worker=False, limits=limits)
    ann, bob, carl = [await sign_up(stack) for _ in range(3)]
    laptop = await link(carl)
    first, second = [gateway["ws"] for gateway in stack.gateways.values()]
    await Peer.open(second, bob)
    await Peer.open(second, carl)
    async with await Peer.open(first, ann) as a, await Peer.open(first, laptop):
        await a.send(frames.PresenceSubscribe([bob.user, carl.user]))
        for person in (bob, carl):
            await a.expect(frames.Presence, user_id=person.user, status="online")
        stack.kill("gateway-2")
        got = await a.expect(frames.Presence, user_id=bob.user)
        assert got.status == "offline"
        async with await Peer.open(first, bob):
            await a.expect(frames.Presence, user_id=bob.user, status="online")
        assert statuses(a, carl.user) == ["online"]


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
