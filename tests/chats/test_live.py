"""On a running system: what one device of a user sets or reads the other devices know, and mentions reach those they name."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.gateway.peer import Peer, events_of, talking
from tests.gateway.phone import Phone, Runs, couple, link, new_id
from tests.groups.test_sockets import make, room
from tests.support.patience import until
from whatsapp.infra.limits import LIMITS
from whatsapp.wire import frames


def places(system: Runs) -> tuple[str, str]:
    urls = [gateway["ws"] for gateway in system.gateways.values()]
    return urls[0], urls[-1]


async def patch(phone: Phone, conversation: str, *, base: str = "", **body: Any) -> dict[str, Any]:
    answer = await phone.rest("PATCH", f"/conversations/{conversation}", body, base=base)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def item(phone: Phone, conversation: str) -> dict[str, Any]:
    items = (await phone.rest("GET", "/conversations?limit=500")).json()["items"]
    return next(one for one in items if one["conversationId"] == conversation)


async def badge(phone: Phone) -> int:
    return int((await phone.rest("GET", "/me/badge")).json()["badge"])


def flags(peer: Peer) -> list[dict[str, Any]]:
    return [frame.data for frame in peer.log if isinstance(frame, frames.Notice) and frame.kind == "flags"]


async def test_what_one_device_sets_the_others_are_told(stack: Runs, codec: str) -> None:
    here, there = places(stack)
    ann, bob, conversation = await couple(stack)
    laptop = await link(ann)
    async with (
        await Peer.open(here, ann, codec) as phone,
        await Peer.open(there, laptop, codec) as other,
        await Peer.open(here, bob, codec) as bobs,
    ):
        answer = await patch(ann, conversation, mutedUntil=2**53 - 1, pinned=True, draft="c2VjcmV0")
        notice = await other.expect(frames.Notice, kind="flags")
        assert notice.data == answer
        answer = await patch(laptop, conversation, draft=None)
        assert (await phone.expect(frames.Notice, kind="flags")).data == answer
        await bobs.round_trip()
        assert (len(flags(phone)), len(flags(other)), len(flags(bobs))) == (1, 1, 0)


async def test_two_devices_that_change_the_same_thing_agree_in_the_end(stack: Runs) -> None:
    """Notices may overtake each other; the version says which state is the newer one."""
    here, there = places(stack)
    ann, _, conversation = await couple(stack)
    laptop = await link(ann)
    async with await Peer.open(here, ann) as phone, await Peer.open(there, laptop) as other:
        answers: dict[str, list[dict[str, Any]]] = {ann.device: [], laptop.device: []}

        async def change(device: Phone, start: int) -> None:
            for number in range(8):
                await asyncio.sleep(random.random() / 100)
                body: dict[str, Any] = {"mutedUntil": start + number, "archived": bool(number % 2)}
                answers[device.device].append(await patch(device, conversation, **body))

        await asyncio.gather(change(ann, 1_000), change(laptop, 2_000))
        await until(lambda: len(flags(phone)) == 8 and len(flags(other)) == 8, "all changes are told")
        newest = [
            max([*answers[device.device], *flags(peer)], key=lambda data: int(data["flagsVersion"]))
            for device, peer in ((ann, phone), (laptop, other))
        ]
        listed = await item(ann, conversation)
        assert newest[0] == newest[1] == {key: listed[key] for key in newest[0]}
        assert newest[0]["flagsVersion"] == 16


async def test_what_is_read_on_one_device_is_read_on_all(stack: Runs, codec: str) -> None:
    here, there = places(stack)
    ann, bob, conversation = await couple(stack)
    laptop, tablet = await link(bob), await link(bob)
    async with (
        await Peer.open(here, ann, codec) as anns,
        await Peer.open(here, bob, codec) as phone,
        await Peer.open(there, laptop, codec) as other,
    ):
        for _ in range(3):
            await anns.say(conversation)
        await phone.messages(3)
        await other.messages(3)
        assert (await badge(bob), (await item(bob, conversation))["unread"]) == (3, 3)
        await phone.ack(conversation, 3)
        await phone.read(conversation, 2)
        told = await other.expect(frames.StatusUpdate, status="read")
        assert (told.conversation_id, told.user_id, told.up_to) == (conversation, bob.user, 2)
        await until(lambda: _is(badge(bob), 1), "one is unread")
        assert (await item(laptop, conversation))["unread"] == 1
        assert await badge(ann) == 0
    # A device that was away hears it at the end of its sync.
    async with await Peer.open(there, tablet, codec) as away:
        told = await away.expect(frames.StatusUpdate, status="read", user_id=bob.user)
        assert (told.conversation_id, told.up_to) == (conversation, 2)
        assert not any(
            f.status == "delivered" and f.user_id == bob.user for f in away.waiting(frames.StatusUpdate)
        )


async def _is(asked: Any, wanted: Any) -> bool:
    return bool(await asked == wanted)


async def test_mentions_come_with_the_message_and_pierce_mute(stack: Runs) -> None:
    async with room(stack) as here:
        for phone in (here.bob, here.cat):
            await patch(phone, here.group, mutedUntil=2**53 - 1)
        stranger = "0190a1b2-c3d4-7e5f-8a6b-0c1d2e3f4a5b"
        await here.anns.say(here.group, "hello")
        await here.anns.say(here.group, "@bob", mentions=[here.bob.user, stranger])
        for peer in (here.bobs, here.cats):
            plain, mentioning = await peer.messages(2)
            assert plain.mentions is None
            assert mentioning.mentions == [here.bob.user, stranger]
        for phone, mentioned in ((here.bob, 1), (here.cat, 0)):
            found = await item(phone, here.group)
            assert (found["unread"], found["mentioned"]) == (2, mentioned)
            assert await badge(phone) == mentioned
        assert (await item(here.bob, here.group))["lastEvent"]["mentions"] == [here.bob.user, stranger]
        await patch(here.cat, here.group, mutedUntil=None)
        assert await badge(here.cat) == 2
        # By a backlog too.
        async with await Peer.open(here.urls[0], await link(here.bob), sync=False) as late:
            batches = await late.sync({here.group: 0})
            mentions = [event.mentions for event in events_of(batches) if isinstance(event, frames.Message)]
            assert mentions == [None, [here.bob.user, stranger]]


async def test_a_message_mentions_few(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert bob.phone is not None
        many = [bob.phone.user] * (LIMITS.mentions + 1)
        answer = await ann.attempt(conversation, mentions=many)
        assert isinstance(answer, frames.Error)
        assert (answer.code, answer.details) == ("limit_exceeded", {"limit": LIMITS.mentions})
        await ann.say(conversation, mentions=many[1:])
        assert (await bob.messages(1))[0].mentions == many[1:]
        assert (await item(bob.phone, conversation))["mentioned"] == 1


async def test_a_message_that_is_deleted_mentions_nobody_any_more(stack: Runs) -> None:
    async with talking(stack) as (ann, bob, conversation):
        assert bob.phone is not None
        sent = await ann.say(conversation, mentions=[bob.phone.user])
        await patch(bob.phone, conversation, mutedUntil=2**53 - 1)
        assert ((await item(bob.phone, conversation))["mentioned"], await badge(bob.phone)) == (1, 1)
        assert sent.message_id is not None
        delete = frames.DeleteMessage(
            message_id=new_id(), conversation_id=conversation, target_id=sent.message_id, timestamp=1
        )
        assert (await ann.ask(delete)).status == "sent"
        assert ((await item(bob.phone, conversation))["mentioned"], await badge(bob.phone)) == (0, 0)


@pytest.mark.parametrize("again", ["same", "other"])
async def test_a_message_sent_again_mentions_once(stack: Runs, again: str) -> None:
    ann, bob, conversation = await couple(stack)
    group = await make(ann, bob)
    async with await Peer.open(places(stack)[0], ann) as anns:
        first = anns.message(group, mentions=[bob.user])
        answer = await anns.ask(first)
        assert answer.status == "sent"
        if again == "same":
            assert (await anns.ask(first)).duplicate
        else:
            first.mentions = [bob.user, ann.user]
            assert (await anns.ask(first)).code == "conflict"
    assert (await item(bob, group))["mentioned"] == 1
    assert conversation != group
