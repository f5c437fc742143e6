"""The life of a message, people and privacy: clients against the real system."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.proxy import Network
from whatsapp_client import (
    Backoff,
    Client,
    Forbidden,
    MessageGone,
    NotFound,
    RateLimited,
    Rest,
    SmsFile,
    by_name,
    events,
    link,
    sign_up,
)

from .test_with_server import PATIENCE, eventually, people, register


def seen(client: Client, conversation: str) -> list[Any]:
    return [
        (s.text, s.edited, s.deleted, {emoji: sorted(users) for emoji, users in s.reactions.items()})
        for s in client.view(conversation)
    ]


async def all_sent(*clients: Client) -> None:
    async with asyncio.timeout(PATIENCE):
        for client in clients:
            while len(client.outbox):
                await asyncio.sleep(0.01)


async def failures(stream: Any) -> AsyncIterator[events.Failed]:
    """What the stream has."""
    while not stream.queue.empty():
        event = await anext(stream)
        if isinstance(event, events.Failed):
            yield event


async def test_edits_deletes_and_reactions_converge_over_devices_and_while_offline(stack: Any):
    async with people(stack, codec=by_name("protobuf")) as (conversation, (ann, bob)):
        second = await register(stack, number=ann.session.phone_number)
        async with Client(stack.http, second, backoff=Backoff(first=0.05, ceiling=0.5)) as desk:
            await desk.wait_online()
            sent = [ann.send(conversation, f"t{n}") for n in range(4)]
            await all_sent(ann)
            for client in (bob, desk):
                await eventually(lambda c=client: len(c.view(conversation)) == 4)
            ids = [outgoing.message_id for outgoing in sent]
            bob.react(conversation, ids[0], "👍")
            bob.react(conversation, ids[1], "😱")
            await all_sent(bob)
            # Two devices at once, one of them while it is offline.
            await desk.stop()
            desk = Client(stack.http, second, database=desk.database)
            desk.edit(conversation, ids[0], "desk")
            desk.react(conversation, ids[0], "🎉")
            late = desk.edit(conversation, ids[3], "too late")
            ann.edit(conversation, ids[0], "phone")
            ann.react(conversation, ids[0], "❤️")
            ann.delete(conversation, ids[1])
            ann.delete(conversation, ids[3])
            assert [shown.text for shown in ann.view(conversation)][:2] == ["phone", ""]
            await all_sent(ann)
            stream = desk.events()
            await desk.start()
            with pytest.raises(MessageGone):
                await asyncio.wait_for(late.sent(), PATIENCE)
            await all_sent(desk)
            reply = bob.send(conversation, "reply", replyTo=ids[0])
            await all_sent(bob)
            for client in (ann, bob, desk):
                await eventually(lambda c=client: c.history[conversation].position == reply.seq)
            me, other = ann.session.user_id, bob.session.user_id
            expected = [
                ("desk", True, False, {"👍": [other], "🎉": [me]}), ("", False, True, {}), ("t2", False, False, {}),
                ("", False, True, {}), ("reply", False, False, {}),
            ]  # fmt: skip
            for client in (ann, bob, desk):
                assert seen(client, conversation) == expected
                assert client.view(conversation)[-1].reply.text == "desk"
                assert not any(shown.waiting for shown in client.view(conversation))
            assert [failed.outgoing async for failed in failures(stream)] == [late]
            await desk.stop()
        # A device that was not there reads the same from the beginning.
        third = await register(stack, number=bob.session.phone_number)
        async with Client(stack.http, third) as fresh:
            await fresh.wait_online()
            assert seen(fresh, conversation) == []
            while await fresh.load_older(conversation, limit=2):
                pass
            assert seen(fresh, conversation) == expected


async def test_changes_survive_lost_answers(stack: Any):
    async with people(stack) as (conversation, (ann, bob)):
        await ann.stop()
        async with Network([stack.http]) as network:
            client = Client(network.http, ann.session, backoff=Backoff(first=0.02, ceiling=0.1))
            async with client:
                await client.wait_online()
                message = client.send(conversation, "0")
                await asyncio.wait_for(message.sent(), PATIENCE)
                for n in range(1, 30):
                    client.edit(conversation, message.message_id, str(n))
                    client.react(conversation, message.message_id, "👍" if n % 2 else "")
                    if n % 7 == 0:
                        network.cut()
                    await asyncio.sleep(0.01)
                await all_sent(client)
                assert seen(client, conversation) == [("29", True, False, {"👍": [ann.session.user_id]})]
                await eventually(lambda: seen(bob, conversation) == seen(client, conversation))


async def test_a_chats_timer_and_polls(stack: Any, tmp_path: Path):
    async with people(stack) as (conversation, (ann, bob)):
        ann.send(conversation, "stays")
        await all_sent(ann)
        await ann.set_timer(conversation, 3_600)
        await eventually(lambda: bob.chat(conversation).timer == ann.chat(conversation).timer == 3_600)
        ann.send(conversation, "hidden after an hour")
        bob.send(conversation, "sooner", expiresIn=60)
        poll = ann.send_poll(conversation, "where?", ["Pizza", "Pasta"])
        await all_sent(ann, bob)
        for client in (ann, bob):
            await eventually(lambda c=client: len(c.view(conversation)) == 4)
            ends = sorted(
                (s.expires_at - s.entry.server_timestamp) // 1_000
                for s in client.view(conversation)
                if s.expires_at
            )
            assert ends == [60, 3_600, 3_600]
        ann.vote(conversation, poll.message_id, ["Pizza"])
        bob.vote(conversation, poll.message_id, ["Pizza"])
        bob.vote(conversation, poll.message_id, ["Pasta"])
        await all_sent(ann, bob)
        votes = {"Pizza": [ann.session.user_id], "Pasta": [bob.session.user_id]}
        for client in (ann, bob):
            await eventually(lambda c=client: c.shown(conversation, poll.message_id).poll.votes == votes)
        await bob.set_timer(conversation, None)
        await eventually(lambda: ann.chat(conversation).timer is None)
        await ann.refresh_chats()
        assert ann.chat(conversation).timer is None
        for client in (ann, bob):
            client.database.told_time(client.database.now_ms() + 3_601_000)
            await eventually(lambda c=client: [s.text for s in c.view(conversation)] == ["stays"])
            assert client.search("hidden") == []


async def test_people_contacts_blocks_and_lists(stack: Any):
    async with people(stack, count=3) as (conversation, (ann, bob, cat)):
        bob_id, cat_id = bob.session.user_id, cat.session.user_id
        hello = await cat.rest.direct(ann.session.user_id)
        cat.send(hello, "do you know me?")
        await eventually(lambda: ann.chat(hello).request)
        await ann.refresh_chats()
        assert ann.chat(hello).request
        await ann.accept_request(hello)
        assert not ann.chat(hello).request
        await ann.refresh_chats()
        assert not ann.chat(hello).request
        found = await ann.sync_contacts([bob.session.phone_number, "+15559999999"])
        assert [contact.user_id for contact in found] == [bob_id]
        with pytest.raises(RateLimited) as limited:
            await ann.sync_contacts([cat.session.phone_number])
        assert limited.value.retry_after
        await ann.add_contact(cat.session.phone_number, "Catherine")
        await ann.rename_contact(bob_id, "Bobby")
        assert {c.user_id: c.nickname for c in await ann.contacts()} == {bob_id: "Bobby", cat_id: "Catherine"}
        await ann.remove_contact(cat_id)
        assert (ann.name_of(bob_id), ann.name_of(cat_id)) == ("Bobby", f"user {cat_id[-8:]}")

        await bob.rest.call("PATCH", "/me", {"name": "Robert"})
        assert (await ann.profile(bob_id)).name == "Robert"
        await bob.rest.call("PATCH", "/me", {"name": "Rob"})
        ann.watch_presence([bob_id])  # who follows somebody is told of changes
        await asyncio.sleep(0)
        ann._chats.forget_profile(bob_id)
        assert (await ann.profile(bob_id)).name == "Rob"
        notices = ann.events()
        picture = io.BytesIO()
        Image.new("RGB", (60, 60), "red").save(picture, "PNG")
        await bob.set_photo(picture.getvalue())
        await bob.rest.call("PATCH", "/me", {"name": "Bob"})
        async with asyncio.timeout(PATIENCE):
            while (
                await ann.profile(bob_id)
            ).name != "Bob":  # it is asked again as the server says that it changed
                event = await anext(notices)
                assert not isinstance(event, events.Problem)
        assert (await ann.profile(bob_id)).photo
        assert (await ann.photo(bob_id, thumb=True)).startswith(b"\xff\xd8")
        await bob.set_photo(None)
        with pytest.raises(NotFound):
            await ann.photo(bob_id)
        assert (await ann.privacy())["lastSeen"] == "everyone"
        assert (await ann.set_privacy(lastSeen="nobody"))["lastSeen"] == "nobody"

        ann.send(conversation, "so that there is a chat")
        await all_sent(ann)
        second = await register(stack, number=ann.session.phone_number)
        async with Client(stack.http, second) as desk:
            await desk.wait_online()
            await desk.refresh_chats()
            await ann.refresh_chats()
            await ann.block(bob_id)
            assert await ann.blocks() == [bob_id]
            assert ann.chat(conversation).blocked
            await eventually(lambda: desk.chat(conversation).blocked)
            withheld = bob.send(conversation, "from the blocked one")
            await asyncio.wait_for(withheld.sent(), PATIENCE)
            await ann.unblock(bob_id)
            assert not ann.chat(conversation).blocked
            await eventually(lambda: not desk.chat(conversation).blocked)
        outgoing = bob.send(conversation, "hello again")
        await eventually(lambda: [s.text for s in ann.view(conversation)][-1] == "hello again")
        assert "from the blocked one" not in [s.text for s in ann.view(conversation)], outgoing

        passed_on = ann.forward(ann.messages(conversation)[-1], [conversation, hello])
        await all_sent(ann)
        assert [o.state for o in passed_on] == ["sent", "sent"]
        await eventually(lambda: [s.forward_count for s in bob.view(conversation)][-1] == 1)
        friends = await ann.create_broadcast_list("friends", [bob_id, cat_id])
        assert await ann.broadcast_lists() == [friends]
        ann.send_to_list(friends.list_id, "to all of you")
        for client in (bob, cat):
            await eventually(
                lambda c=client: any(chat.last and chat.last.text == "to all of you" for chat in c.chats())
            )
        smaller = await ann.update_broadcast_list(friends.list_id, user_ids=[cat_id])
        assert smaller.user_ids == [cat_id]
        await ann.remove_broadcast_list(friends.list_id)
        with pytest.raises(ValueError, match="no such list"):
            ann.send_to_list(friends.list_id, "x")
        for wrong in ([], [f"u{n}" for n in range(257)]):
            with pytest.raises(ValueError, match="1 to 256"):
                await ann.create_broadcast_list("wrong", wrong)


async def test_a_device_is_linked_by_a_code_and_the_account_is_locked_by_a_pin(stack: Any):
    async with people(stack) as (conversation, (ann, _bob)):
        ann.send(conversation, "before it was linked")
        await all_sent(ann)
        async with link.request(stack.http, "laptop") as offer:
            waiting = asyncio.create_task(offer.wait())
            asked = await ann.look_at_link(offer.qr)
            assert (asked.device_name, asked.status) == ("laptop", "pending")
            await ann.approve_link(f"{offer.qr}:appended", history_days=7)
            session = await asyncio.wait_for(waiting, PATIENCE)
        assert (session.user_id, session.phone_number) == (ann.session.user_id, ann.session.phone_number)
        async with Client(stack.http, session) as laptop:
            await laptop.wait_online()
            await eventually(lambda: [s.text for s in laptop.view(conversation)] == ["before it was linked"])
            with pytest.raises(Forbidden):
                await laptop.approve_link(offer.qr)
        async with link.request(stack.http, "stranger") as offer:
            await ann.reject_link(offer.qr)
            with pytest.raises(link.Gone):
                await asyncio.wait_for(offer.wait(), PATIENCE)
        for wrong in ("", "wa-link:2:a:b", "https://example.org", "wa-link:1::"):
            with pytest.raises(ValueError, match="no code"):
                await ann.look_at_link(wrong)

        await ann.set_pin("sea-otter-7")
        number = ann.session.phone_number
        tried: list[bool] = []

        async def read_pin(wrong: bool) -> str:
            tried.append(wrong)
            return "sea-otter-7" if len(tried) > 1 else "wrong-guess"

        sms = SmsFile(Path(stack.data) / "sms.jsonl", number)
        fresh = await sign_up(Rest(stack.http), number, sms.code, device_name="tablet", read_pin=read_pin)
        assert (fresh.user_id, tried) == (ann.session.user_id, [False, True])
        with pytest.raises(Forbidden):
            await ann.set_pin("another-one-8")
        await ann.set_pin("another-one-8", old="sea-otter-7")
        await ann.remove_pin("another-one-8")

        number = f"+1555{(int(number[5:]) + 4_000_000) % 10_000_000:07}"
        sms = SmsFile(Path(stack.data) / "sms.jsonl", number)
        await ann.rest.register(number)
        await ann.change_number(number, await sms.code())
        assert (await ann.rest.me())["phoneNumber"] == ann.session.phone_number == number
