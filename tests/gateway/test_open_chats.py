"""Typing and presence in groups: to who has the chat open, and to nobody else. On a system whose limits are small."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.gateway.peer import Peer
from tests.gateway.phone import Phone, couple, link, new_id, sign_up
from tests.groups.test_sockets import change, make
from tests.support.patience import until
from tests.support.stack import System
from whatsapp.infra import hot_sync
from whatsapp.wire import frames

#: A number of members of which all are shown one by one; a group with one more is a large one.
SMALL = 3


@pytest.fixture(scope="module")
def stack() -> Iterator[Any]:
    limits = {
        "offline_debounce_ms": 300,
        "presence_refresh_ms": 400,
        "presence_ttl_s": 60,
        "presence_subscriptions": 5,
        "open_chats": 3,
        "presence_group_members": SMALL,
        "typing_per_chat_10s": 40,
    }
    with System(worker=False, limits=limits) as system:
        yield system


class Crowd:
    """A group whose members sit at both gateways in turn: the first is its creator."""

    def __init__(self, phones: list[Phone], peers: list[Peer], group: str, urls: list[str]) -> None:
        self.phones = phones
        self.peers = peers
        self.group = group
        self.urls = urls

    def typing(self, active: bool = True, **fields: Any) -> frames.Typing:
        return frames.Typing(self.group, active, **fields)

    async def open(self, *members: int, ttl: int = 300) -> None:
        """These members have it open, and the node knows it."""
        for member in members:
            await opens(self.peers[member], self.group, ttl=ttl)

    async def remove(self, member: int) -> None:
        await change(self.phones[0], "DELETE", f"/groups/{self.group}/members/{self.phones[member].user}")


@asynccontextmanager
async def crowd(system: Any, codec: str, number: int = SMALL, **fields: Any) -> AsyncIterator[Crowd]:
    phones = list(await asyncio.gather(*[sign_up(system) for _ in range(number)]))
    urls = [gateway["ws"] for gateway in system.gateways.values()]
    async with AsyncExitStack() as closing:
        peers = [
            await closing.enter_async_context(await Peer.open(urls[index % 2], phone, codec))
            for index, phone in enumerate(phones)
        ]
        yield Crowd(phones, peers, await make(phones[0], *phones[1:], **fields), urls)


async def opens(peer: Peer, *chats: str, ttl: int = 300) -> None:
    """Open, and wait for what is told about it: the states are read after the node knows that it is open."""
    seen = len(peer.log)
    await peer.send(frames.PresenceSubscribe([], ttl, conversation_ids=list(chats)))
    await until(lambda: any(isinstance(f, frames.Presence) for f in peer.log[seen:]), "it is open")


def counts(peer: Peer, group: str) -> list[int | None]:
    return [f.online_count for f in peer.log if isinstance(f, frames.Presence) and f.conversation_id == group]


def states(peer: Peer, phone: Phone) -> list[str]:
    return [f.status for f in peer.log if isinstance(f, frames.Presence) and f.user_id == phone.user]


# -- typing ------------------------------------------------------------------------------------------------------------------


async def test_typing_reaches_who_has_the_group_open(stack: Any, codec: str) -> None:
    async with crowd(stack, codec, 5) as here:
        laptop = await link(here.phones[0])
        async with await Peer.open(here.urls[1], laptop, codec) as own:
            await here.open(0, 1, 2)  # Ben and Cat on different gateways; Dan and Eve are elsewhere
            await opens(own, here.group)
            for active, kind in ((True, None), (True, "audio"), (False, None)):
                await here.peers[0].send(here.typing(active, kind=kind))
                for peer in here.peers[1:3]:
                    got = await peer.expect(frames.Typing)
                    assert got == here.typing(active, kind=kind, user_id=here.phones[0].user)
            for peer in (here.peers[0], here.peers[3], here.peers[4], own):
                await peer.round_trip()
                assert not peer.waiting(frames.Typing)


async def test_a_closed_chat_is_quiet(stack: Any, codec: str) -> None:
    async with crowd(stack, codec) as here:
        await here.open(1, 2)
        await here.peers[1].send(frames.PresenceSubscribe([], closed_conversation_ids=[here.group]))
        await here.peers[1].round_trip()
        await here.peers[0].send(here.typing())
        await here.peers[2].expect(frames.Typing)
        await here.peers[1].round_trip()
        assert not here.peers[1].waiting(frames.Typing)
        # And so is one whose time is over: the gateway of the other member goes on.
        await here.open(2, ttl=1)
        loop = asyncio.get_running_loop()
        ends = loop.time() + 1.2
        await here.open(1)
        while loop.time() < ends:
            await here.peers[2].round_trip()
        await here.peers[0].send(here.typing(kind="audio"))
        await here.peers[1].expect(frames.Typing, kind="audio")
        await here.peers[2].round_trip()
        assert not here.peers[2].waiting(frames.Typing)


async def test_the_node_forgets_gateways_without_an_open_chat(stack: Any) -> None:
    async with crowd(stack, "json") as here:
        hot = _redis(stack)
        key = f"{{{here.group}}}:open"
        await here.open(1, 2)
        assert hot.zcard(key) == 2
        assert 0 < hot.ttl(key) <= 120
        await here.peers[1].send(frames.PresenceSubscribe([], closed_conversation_ids=[here.group]))
        here.peers[2].cut()
        await until(lambda: not hot.exists(key), "no gateway is named")


async def test_a_direct_conversation_needs_no_opening_to_type(stack: Any, codec: str) -> None:
    """Opened, it shows the other as online."""
    ann, bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann, codec) as a, await Peer.open(stack.ws, bob, codec) as b:
        await b.send(frames.PresenceSubscribe([], conversation_ids=[conversation]))
        await b.expect(frames.Presence, user_id=ann.user, status="online")
        for sender, receiver in ((a, b), (b, a)):
            await sender.send(frames.Typing(conversation, True))
            await receiver.expect(frames.Typing)
        await a.send(frames.Presence("away"))
        await b.expect(frames.Presence, user_id=ann.user, status="away")


async def test_outsiders_neither_type_nor_open(stack: Any, codec: str) -> None:
    async with crowd(stack, codec) as here:
        await here.open(1)
        async with await Peer.open(stack.ws, await sign_up(stack), codec) as eve:
            for chat in (here.group, new_id()):
                answer = await eve.ask(frames.PresenceSubscribe([], conversation_ids=[chat]))
                assert (answer.code, answer.retryable) == ("not_found", False)
                assert answer.details == {"conversationId": chat}
                assert (await eve.ask(frames.Typing(chat, True))).code == "not_found"
            # The others of the same frame are open, and the refused do not count.
            own = await eve.phone.direct(here.phones[0])  # type: ignore[union-attr]
            answer = await eve.ask(frames.PresenceSubscribe([], conversation_ids=[here.group, own]))
            assert answer.details == {"conversationId": here.group}
            await eve.expect(frames.Presence, user_id=here.phones[0].user)
            await here.peers[0].send(here.typing())
            await here.peers[1].expect(frames.Typing)
            await eve.round_trip()
            assert not eve.waiting(frames.Typing)
            assert not states(eve, here.phones[2])
        await here.peers[1].round_trip()
        assert not here.peers[1].waiting(frames.Typing)


async def test_who_may_only_listen_does_not_type(stack: Any) -> None:
    async with crowd(stack, "protobuf", settings={"whoSends": "admins"}) as here:
        await here.open(1, 2)
        assert (await here.peers[1].ask(here.typing())).code == "forbidden"
        await here.peers[0].send(here.typing())
        await here.peers[2].expect(frames.Typing, user_id=here.phones[0].user)


@pytest.mark.slow
async def test_removal_ends_it_within_the_age_of_a_list(stack: Any) -> None:
    """5 s, on both gateways; what is told and what is heard, typing and presence, at the same time to wait once."""
    await asyncio.gather(_removed_from_typing(stack), _removed_from_who_is_online(stack))


async def _removed_from_typing(stack: Any) -> None:
    async with crowd(stack, "json", 4) as here:
        ann, ben, cat, _dan = here.peers
        await here.open(0, 1, 2)
        await ann.send(here.typing())
        await cat.expect(frames.Typing)
        await ben.expect(frames.Typing)
        await here.remove(2)

        async def refused() -> bool:
            await asyncio.sleep(0.3)
            return isinstance(await _typed(cat, here.typing()), frames.Error)

        async def unheard() -> bool:
            await asyncio.sleep(1.1)
            cat.inbox.clear()
            await ann.send(here.typing())
            await ben.expect(frames.Typing)
            await cat.round_trip()
            return not cat.waiting(frames.Typing)

        await asyncio.gather(until(refused, "cannot type", 50), until(unheard, "hears nothing", 50))
        answer = await cat.ask(frames.PresenceSubscribe([], conversation_ids=[here.group]))
        assert answer.code == "not_found"


async def _removed_from_who_is_online(stack: Any) -> None:
    """Of a small group and of a large one; what the others see of the removed ends too."""
    async with crowd(stack, "json") as small, crowd(stack, "protobuf", SMALL + 2) as large:
        for here in (small, large):
            await here.open(0, 2)
            await until(
                lambda here=here: states(here.peers[2], here.phones[1]) or counts(here.peers[2], here.group),
                "open",
            )
            await here.remove(2)
        ann, ben, cat = small.peers

        async def unseen() -> bool:
            """A change is seen by who still is there, and not by the removed or of the removed."""
            for status in ("away", "online"):
                for peer in (ann, cat):
                    peer.inbox.clear()
                await ben.send(frames.Presence(status))
                await cat.send(frames.Presence(status))
                await ann.expect(frames.Presence, user_id=small.phones[1].user, status=status)
                await asyncio.sleep(0.5)
                for peer in (ann, cat):
                    await peer.round_trip()
            return not states_waiting(cat) and not states_waiting(ann)

        await until(unseen, "the small group is unseen", 50)
        # The large one: one fewer is told to those who stayed alone.
        told = counts(large.peers[2], large.group)
        await large.peers[1].close()
        await until(lambda: counts(large.peers[0], large.group)[-1] == SMALL, "who stayed is told")
        await large.peers[2].round_trip()
        assert SMALL not in counts(large.peers[2], large.group)[len(told) :]


def states_waiting(peer: Peer) -> list[Any]:
    return peer.waiting(frames.Presence)


async def _typed(peer: Peer, frame: frames.Typing) -> Any:
    """The error that answers it, or None."""
    frame.ref = "typed"
    await peer.send(frame)
    await peer.round_trip()
    await peer.round_trip()
    return next((f for f in peer.inbox if isinstance(f, frames.Error) and f.ref == "typed"), None)


# -- who is online -------------------------------------------------------------------------------------------------------------


async def test_a_small_group_shows_each_member(stack: Any, codec: str) -> None:
    async with crowd(stack, codec) as here:
        ann, _ben, cat = here.peers
        await here.open(0)
        for phone in here.phones[1:]:
            await ann.expect(frames.Presence, user_id=phone.user, status="online")
        await cat.send(frames.Presence("away"))
        await ann.expect(frames.Presence, user_id=here.phones[2].user, status="away")
        await here.peers[1].close()
        await ann.expect(frames.Presence, user_id=here.phones[1].user, status="offline")
        assert not states(ann, here.phones[0]), "one knows it of oneself"
        assert not counts(ann, here.group)
        await ann.send(frames.PresenceSubscribe([], closed_conversation_ids=[here.group]))
        await ann.round_trip()
        await cat.send(frames.Presence("online"))
        async with await Peer.open(here.urls[1], here.phones[0], codec, sync=False):
            pass  # replaces Ann's socket; what it was told until then is all
        await ann.closed()
        assert states(ann, here.phones[2]) == ["online", "away"]


async def test_a_chat_leaves_the_places_of_subscriptions_free(stack: Any) -> None:
    async with crowd(stack, "json") as here:
        ann = here.peers[0]
        await here.open(0)
        followed = [here.phones[1].user, *[new_id() for _ in range(4)]]
        await ann.send(frames.PresenceSubscribe(followed))
        await ann.expect(frames.Presence, user_id=followed[-1])
        # Closing the chat takes nothing away from who is followed anyway, and a change is told once.
        await ann.send(frames.PresenceSubscribe([], closed_conversation_ids=[here.group]))
        await here.peers[1].send(frames.Presence("away"))
        await ann.expect(frames.Presence, user_id=here.phones[1].user, status="away")
        assert (await ann.ask(frames.PresenceSubscribe([new_id()]))).code == "limit_exceeded"


async def test_a_change_comes_once_however_often_one_is_followed(stack: Any) -> None:
    async with crowd(stack, "protobuf") as here:
        ann, ben, _cat = here.peers
        other = await make(here.phones[0], here.phones[1])
        await opens(ann, here.group, other)
        await ann.send(frames.PresenceSubscribe([here.phones[1].user]))
        await until(lambda: states(ann, here.phones[1]) == ["online"] * 2, "the answers are here")
        await ben.send(frames.Presence("away"))
        await ann.expect(frames.Presence, user_id=here.phones[1].user, status="away")
        await ben.send(frames.Presence("online"))
        await until(lambda: states(ann, here.phones[1])[2:] == ["away", "online"], "each change, once")


async def test_a_large_group_shows_how_many(stack: Any, codec: str) -> None:
    async with crowd(stack, codec, SMALL + 2) as here:
        ann, ben = here.peers[:2]
        await here.open(0, 1)
        for peer in (ann, ben):
            got = await peer.expect(frames.Presence, conversation_id=here.group)
            assert (got.status, got.online_count, got.user_id) == ("online", SMALL + 2, None)
        await here.peers[2].close()
        await here.peers[3].send(frames.Presence("away"))
        for peer in (ann, ben):
            await peer.expect(frames.Presence, conversation_id=here.group, online_count=SMALL)
        # One number is told to all, so who does not show it to everybody does not count.
        for phone, audience in ((here.phones[4], "contacts"), (here.phones[1], "nobody")):
            assert (await phone.rest("PATCH", "/me/privacy", {"online": audience})).status_code == 200
        for peer in (ann, ben):
            await peer.expect(frames.Presence, conversation_id=here.group, online_count=SMALL - 2)
        assert not any(states(ann, phone) for phone in here.phones), "nobody by name"


# -- limits and bad input --------------------------------------------------------------------------------------------------


async def test_c7_open_chats_are_bounded(stack: Any, codec: str) -> None:
    ann, bob, first = await couple(stack)
    async with await Peer.open(stack.ws, ann, codec) as a:
        others = [await ann.direct(await sign_up(stack)) for _ in range(3)]
        await opens(a, first, *others[:2])
        refused = await a.ask(frames.PresenceSubscribe([bob.user], conversation_ids=[others[2]]))
        assert (refused.code, refused.retryable) == ("limit_exceeded", False)
        a.inbox.clear()
        await a.round_trip()
        assert not a.waiting(frames.Presence), "nothing of a refused frame is done"
        await opens(a, first)  # repeating is free
        await a.send(
            frames.PresenceSubscribe([], conversation_ids=[others[2]], closed_conversation_ids=[first])
        )
        assert (await a.ask(frames.PresenceSubscribe([], conversation_ids=[first]))).code == "limit_exceeded"


async def test_what_is_closed_in_the_same_frame_is_closed(stack: Any) -> None:
    async with crowd(stack, "protobuf") as here:
        await here.open(1)
        both = frames.PresenceSubscribe(
            [], conversation_ids=[here.group, here.group], closed_conversation_ids=[here.group, new_id()]
        )
        await here.peers[1].send(both)
        await here.peers[1].round_trip()
        await here.open(2)
        await here.peers[0].send(here.typing())
        await here.peers[2].expect(frames.Typing)
        await here.peers[1].round_trip()
        assert not here.peers[1].waiting(frames.Typing)


async def test_bad_lists_of_chats(stack: Any) -> None:
    async with await Peer.open(stack.ws, await sign_up(stack)) as a:
        many = [new_id() for _ in range(51)]
        for field in ("conversationIds", "closedConversationIds"):
            for value in (many, ["x"], [7], "x", {"a": 1}, [None]):
                text = _json({"type": "presence_subscribe", "userIds": [], field: value})
                await a.raw(text)
                error = await a.error("bad_request")
                assert error.details is not None
                assert str(error.details["field"]).startswith(field)
        await a.raw(_json({"type": "presence_subscribe", "userIds": [], "conversationIds": None}))
        await a.round_trip()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


async def test_c7_typing_in_one_chat_is_bounded(stack: Any) -> None:
    async with crowd(stack, "json") as here:
        ann = here.peers[0]
        direct = await here.phones[0].direct(here.phones[1])
        refs = [str(number) for number in range(60)]
        for ref in refs:
            await ann.send(here.typing(ref=ref))
        await ann.round_trip()
        refused = [f for f in ann.inbox if isinstance(f, frames.Error)]
        assert 0 < len(refused) <= 20
        assert {f.code for f in refused} == {"rate_limited"}
        assert all(f.retryable and f.retry_after_ms for f in refused)
        await ann.send(frames.Typing(direct, True))
        await here.peers[1].expect(frames.Typing, conversation_id=direct)


async def test_a_member_who_types_without_end_is_shown_now_and_then(stack: Any) -> None:
    """Who opened the group gets no more than it can show; the end comes after all."""
    async with crowd(stack, "protobuf") as here:
        await here.open(1, 2)
        await here.peers[0].send(here.typing())
        await here.peers[1].expect(frames.Typing)
        for _ in range(30):
            await here.peers[0].send(here.typing())
        await here.peers[0].send(here.typing(active=False))
        for peer in here.peers[1:]:
            await peer.expect(frames.Typing, active=False)
            assert 1 <= len([f for f in peer.log if isinstance(f, frames.Typing) and f.active]) <= 10


# -- without the hot node --------------------------------------------------------------------------------------------------


async def test_open_chats_outlive_the_hot_node(stack: Any) -> None:
    """Nothing is said while it is away beyond one's own gateway; sockets live; then all goes on without a word of the client."""
    async with crowd(stack, "json", 4) as here:
        ann, ben, cat, _dan = here.peers  # Ann and Cat at one gateway, Ben at the other
        await here.open(1, 2)
        await ann.send(here.typing())
        await ben.expect(frames.Typing)
        await cat.expect(frames.Typing)
        stack.kill("valkey")
        try:

            async def heard_here() -> Any:
                await asyncio.sleep(1.1)
                await ann.send(here.typing())
                await cat.round_trip()
                return cat.waiting(frames.Typing)

            await until(heard_here, "who is at the same gateway still hears it")
            await cat.send(frames.PresenceSubscribe([], conversation_ids=[here.group]))
            await cat.expect(frames.Presence, conversation_id=here.group, status="unknown")
        finally:
            stack.restart("valkey")

        async def heard_there() -> Any:
            await asyncio.sleep(1.1)
            await ann.send(here.typing())
            await ben.round_trip()
            return ben.waiting(frames.Typing)

        await until(heard_there, "it goes to the other gateway again", 50)
        await until(lambda: counts(cat, here.group)[-1] == 4, "and members are counted", 50)
        for peer in here.peers:
            await peer.round_trip()


def _redis(system: Any) -> Any:
    return hot_sync.client(system.hot_url)
