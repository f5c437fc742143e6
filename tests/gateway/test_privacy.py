"""Who is shown what, over real sockets: presence, last seen and typing follow blocks and settings, at once on both gateways."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.peer import Peer
from tests.gateway.phone import Phone, couple, link, sign_up
from whatsapp.wire import frames


async def show(phone: Phone, **settings: str) -> None:
    answer = await phone.rest("PATCH", "/me/privacy", settings)
    assert answer.status_code == 200, answer.text


async def add(phone: Phone, other: Phone) -> None:
    assert (await phone.rest("PUT", f"/contacts/{other.user}", {})).status_code == 200


async def ask(viewer: Peer, user: Phone) -> tuple[str, bool]:
    """What a viewer who begins to follow is told: the status, and whether there is a last seen."""
    await viewer.send(frames.PresenceSubscribe([user.user]))
    got = await viewer.expect(frames.Presence, user_id=user.user)
    return got.status, got.last_seen is not None


def urls(stack: Any) -> list[str]:
    return [gateway["ws"] for gateway in stack.gateways.values()]


@pytest.mark.parametrize(
    ("hidden", "told"),
    [
        ({"online": "nobody"}, ("unknown", True)),
        ({"lastSeen": "nobody"}, ("online", False)),
        ({"online": "nobody", "lastSeen": "nobody"}, ("unknown", False)),
        ({"online": "contacts", "lastSeen": "contacts"}, ("unknown", False)),
    ],
)
async def test_a_stranger_is_told_what_is_shown(
    stack: Any, codec: str, hidden: dict[str, str], told: tuple[str, bool]
) -> None:
    ann, bob = await sign_up(stack), await sign_up(stack)
    one, two = urls(stack)
    await show(ann, **hidden)
    async with await Peer.open(one, ann, codec), await Peer.open(two, bob, codec) as b:
        assert await ask(b, ann) == told


async def test_contacts_are_told_and_others_not(stack: Any, codec: str) -> None:
    ann, bob, eve = await sign_up(stack), await sign_up(stack), await sign_up(stack)
    one, two = urls(stack)
    await add(ann, bob)
    await show(ann, online="contacts")
    async with (
        await Peer.open(one, ann, codec) as a,
        await Peer.open(two, bob, codec) as b,
        await Peer.open(two, eve, codec) as e,
    ):
        assert (await ask(b, ann))[0] == "online"
        assert (await ask(e, ann))[0] == "unknown"
        await a.send(frames.Presence("away"))
        await b.expect(frames.Presence, user_id=ann.user, status="away")
        await e.round_trip()
        assert [f.status for f in e.log if isinstance(f, frames.Presence)] == ["unknown"]


async def test_last_seen_is_for_who_shows_it(stack: Any, codec: str) -> None:
    ann, bob = await sign_up(stack), await sign_up(stack)
    async with await Peer.open(stack.ws, ann, codec):
        pass
    async with await Peer.open(stack.ws, bob, codec) as b:
        await b.send(frames.PresenceSubscribe([ann.user]))
        assert (await b.expect(frames.Presence, user_id=ann.user, status="offline")).last_seen
        await show(bob, lastSeen="nobody")
        assert await ask(b, ann) == ("offline", False)


async def test_who_hides_it_is_not_told_any_more_of_whom_they_follow(stack: Any, codec: str) -> None:
    """Reciprocal at once, on the gateway of who has changed it."""
    ann, bob = await sign_up(stack), await sign_up(stack)
    one, two = urls(stack)
    async with await Peer.open(one, ann, codec) as a, await Peer.open(two, bob, codec) as b:
        assert (await ask(b, ann))[0] == "online"
        await show(bob, lastSeen="nobody")
        await b.expect(frames.Presence, user_id=ann.user, status="online")  # judged again
        await a.send(frames.Presence("away"))
        got = await b.expect(frames.Presence, user_id=ann.user, status="away")
        assert got.last_seen is None


async def test_who_follows_hears_at_once_that_it_is_hidden_and_no_more(stack: Any, codec: str) -> None:
    ann, bob = await sign_up(stack), await sign_up(stack)
    one, two = urls(stack)
    async with await Peer.open(one, ann, codec) as a, await Peer.open(two, bob, codec) as b:
        assert (await ask(b, ann))[0] == "online"
        await show(ann, online="nobody", lastSeen="nobody")
        await b.expect(frames.Presence, user_id=ann.user, status="unknown")
        await a.send(frames.Presence("away"))
        await a.send(frames.PresenceSubscribe([ann.user]))
        await a.expect(frames.Presence, user_id=ann.user)
        await b.round_trip()
        assert [f.status for f in b.log if isinstance(f, frames.Presence)] == ["online", "unknown"]
        await show(ann, online="everyone")
        assert (await ask(b, ann))[0] == "away"


async def test_online_alone_is_hidden_at_once(stack: Any, codec: str) -> None:
    ann, bob = await sign_up(stack), await sign_up(stack)
    one, two = urls(stack)
    async with await Peer.open(one, ann, codec), await Peer.open(two, bob, codec) as b:
        assert (await ask(b, ann))[0] == "online"
        await show(ann, online="nobody")
        await b.expect(frames.Presence, user_id=ann.user, status="unknown")
        await show(ann, online="everyone")
        await b.expect(frames.Presence, user_id=ann.user, status="online")


async def test_who_is_no_contact_any_more_is_not_told_any_more(stack: Any, codec: str) -> None:
    ann, bob = await sign_up(stack), await sign_up(stack)
    await add(ann, bob)
    await show(ann, online="contacts", lastSeen="contacts")
    async with await Peer.open(stack.ws, ann, codec), await Peer.open(stack.ws, bob, codec) as b:
        assert (await ask(b, ann))[0] == "online"
        await ann.rest("DELETE", f"/contacts/{bob.user}")
        await b.expect(frames.Presence, user_id=ann.user, status="unknown")


async def test_a_block_ends_presence_and_typing_in_both_directions(stack: Any, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    one, two = urls(stack)
    async with await Peer.open(one, ann, codec) as a, await Peer.open(two, bob, codec) as b:
        await a.sync()
        await b.sync()
        assert (await ask(a, bob))[0] == (await ask(b, ann))[0] == "online"
        await b.send(frames.Typing(conversation, True))
        await a.expect(frames.Typing, user_id=bob.user)
        assert (await ann.rest("PUT", f"/blocks/{bob.user}")).status_code == 204
        for peer, other in ((a, bob), (b, ann)):
            await peer.expect(frames.Presence, user_id=other.user, status="unknown")
            assert await ask(peer, other) == ("unknown", False)
        for peer in (a, b):
            await peer.send(frames.Typing(conversation, True))
            await peer.round_trip()
        # What is typed next by somebody else comes behind it on the same way.
        assert (await ann.rest("DELETE", f"/blocks/{bob.user}")).status_code == 204
        await b.send(frames.Typing(conversation, True, kind="audio"))
        assert (await a.expect(frames.Typing, user_id=bob.user)).kind == "audio"
        assert [f.kind for f in a.log if isinstance(f, frames.Typing)][-1] == "audio"
        assert (await ask(b, ann))[0] == "online"


async def test_who_follows_hears_of_another_profile(stack: Any, codec: str) -> None:
    """So do the user's other devices; who may see nothing of the user hears nothing."""
    ann, bob, eve = await sign_up(stack), await sign_up(stack), await sign_up(stack)
    laptop = await link(ann)
    one, two = urls(stack)
    async with (
        await Peer.open(one, ann, codec) as phone,
        await Peer.open(two, laptop, codec) as other,
        await Peer.open(two, bob, codec) as b,
        await Peer.open(one, eve, codec) as e,
    ):
        assert (await ask(b, ann))[0] == "online"
        assert (await ask(e, ann))[0] == "online"
        assert (await ann.rest("PUT", f"/blocks/{eve.user}")).status_code == 204
        await e.expect(frames.Presence, user_id=ann.user, status="unknown")
        assert (await ann.rest("PATCH", "/me", {"name": "Ann"})).status_code == 200
        for peer in (b, other):
            assert (await peer.expect(frames.Notice, kind="profile_changed")).data == {"userId": ann.user}
        assert (await bob.rest("GET", f"/users/{ann.user}")).json()["name"] == "Ann"
        # What ann shows to nobody, nobody hears of either.
        assert (await ann.rest("PATCH", "/me/privacy", {"about": "nobody"})).status_code == 200
        assert (await ann.rest("PATCH", "/me", {"about": "a secret"})).status_code == 200
        await other.expect(frames.Notice, kind="profile_changed")
        assert (await ann.rest("PATCH", "/me", {"name": "Ann B."})).status_code == 200
        await b.expect(frames.Notice, kind="profile_changed")
        assert (await bob.rest("GET", f"/users/{ann.user}")).json()["name"] == "Ann B."
        await b.round_trip()
        told = [f for f in b.log if isinstance(f, frames.Notice) and f.kind == "profile_changed"]
        assert len(told) == 2, "of the names"
        for peer in (phone, e):
            await peer.round_trip()
            assert not [f for f in peer.log if isinstance(f, frames.Notice) and f.kind == "profile_changed"]
