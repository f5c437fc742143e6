"""Groups with the client against the real system: what the log, the list, ticks and the outbox make of them."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
from PIL import Image

from tests.support.patience import until
from whatsapp_client import (
    Client,
    Database,
    Forbidden,
    Gone,
    NotFound,
    RestError,
    SendFailed,
    by_name,
    events,
)

from .test_with_server import PATIENCE, eventually, messages, people, register, texts


def title(client: Client, conversation: str) -> str:
    return client.chat(conversation).title


def last(client: Client, conversation: str) -> str:
    return (texts(client, conversation) or [""])[-1]


def read_by(client: Client, conversation: str, other: Client) -> int:
    receipt = client.history[conversation].receipts.get(other.session.user_id)
    return receipt.read if receipt else 0


def version(client: Client, conversation: str) -> str:
    group = client.known_group(conversation)
    return group.icon_version if group else ""


def kinds(client: Client, conversation: str) -> list[str]:
    return [entry.type for entry in client.messages(conversation) if entry.kind == "event"]


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
async def test_a_group_is_made_and_everybody_sees_it_without_asking(stack: Any, encoding: str):
    async with people(stack, count=3, codec=by_name(encoding)) as (_, (ann, bob, eve)):
        group = await ann.create_group("Sailing", [bob.session.user_id, eve.session.user_id], "Sundays")
        for client in (ann, bob, eve):
            await eventually(lambda c=client: title(c, group) == "Sailing")
            chat = client.chat(group)
            assert (chat.kind, chat.member_count, chat.read_only) == ("group", 3, "")
            assert kinds(client, group) == ["member_added", "info"]
            assert client.chats()[0].conversation_id == group
            assert client._lookups.asked == 0  # the log says all of it
        assert (ann.chat(group).role, bob.chat(group).role) == ("creator", "member")
        known = eve.known_group(group)
        assert known is not None
        asked = await eve.group(group)
        assert (known.description, known.creator_id, known.settings) == (
            asked.description, ann.session.user_id, asked.settings
        )  # fmt: skip

        stream = eve.events()
        await ann.send(group, "hello").sent()
        assert await messages(stream, 1) == ["hello"]
        await eventually(lambda: last(bob, group) == "hello")


async def test_who_is_added_later_gets_a_chat_with_its_name_by_one_question(stack: Any):
    async with people(stack, count=3) as (_, (ann, bob, eve)):
        group = await ann.create_group("Sailing", [bob.session.user_id])
        await ann.send(group, "before").sent()
        stream = eve.events()
        await ann.add_members(group, [eve.session.user_id])
        await eventually(lambda: title(eve, group) == "Sailing")
        await ann.send(group, "after").sent()
        assert await messages(stream, 1) == ["after"]
        await eventually(lambda: eve._lookups.asked == 1)
        assert kinds(eve, group) == ["member_added"]
        assert eve.chat(group).member_count == 3
        assert eve.chats()[0].conversation_id == group
        assert not await eve.load_older(group)  # nothing of the time before is hers


async def refused(client: Client, conversation: str) -> bool:
    """Whether a message is not let in: gateways admit senders by a list of members that may be five seconds old."""
    try:
        await asyncio.wait_for(client.send(conversation, "no").sent(), PATIENCE)
    except SendFailed as error:
        return "forbidden" in str(error)
    return False


async def test_names_roles_and_settings_change_live(stack: Any):
    async with people(stack) as (_, (ann, bob)):
        group = await ann.create_group("Sailing", [bob.session.user_id])
        await ann.update_group(group, name="Rowing", settings={"who_sends": "admins"})
        await eventually(
            lambda: (title(bob, group), bob.chat(group).read_only) == ("Rowing", "announcements")
        )
        await until(lambda: refused(bob, group), "a list of members that was read before has aged", PATIENCE)
        with pytest.raises(Forbidden):
            await bob.update_group(group, settings={"whoSends": "all"})
        await ann.set_role(group, bob.session.user_id, "admin")
        await eventually(lambda: (bob.chat(group).role, bob.chat(group).read_only) == ("admin", ""))
        assert (await bob.group(group)).may_send
        await ann.set_role(group, bob.session.user_id, "creator")
        await eventually(lambda: (bob.chat(group).role, ann.chat(group).role) == ("creator", "admin"))
        assert [(m.user_id, m.role) for m in (await ann.group_members(group)).items] == sorted(
            [(ann.session.user_id, "admin"), (bob.session.user_id, "creator")]
        )


async def test_pages_of_members_and_their_names(stack: Any):
    async with people(stack, count=3) as (_, clients):
        ann, bob, eve = clients
        for client, name in zip(clients, ("Ann", "Bob", "Eve"), strict=True):
            await client.rest.call("PATCH", "/me", {"name": name})
        group = await ann.create_group("Sailing", [bob.session.user_id, eve.session.user_id])
        first = await ann.group_members(group, limit=2)
        rest = await ann.group_members(group, after=first.next, limit=2)
        assert ([len(first.items), len(rest.items)], rest.next) == ([2, 1], None)
        assert {member.name for member in [*first.items, *rest.items]} == {"Ann", "Bob", "Eve"}
        assert (ann.name_of(bob.session.user_id), ann.name_of(eve.session.user_id)) == ("Bob", "Eve")
        # Who opens the chat learns them by itself.
        await eventually(lambda: title(eve, group) == "Sailing")
        eve.open_chat(group)
        await eventually(lambda: eve.name_of(bob.session.user_id) == "Bob")


async def test_a_group_has_a_picture(stack: Any):
    def picture(colour: str) -> bytes:
        with io.BytesIO() as file:
            Image.new("RGB", (64, 64), colour).save(file, "PNG")
            return file.getvalue()

    async with people(stack) as (_, (ann, bob)):
        group = await ann.create_group("Sailing", [bob.session.user_id])
        await eventually(lambda: title(bob, group) == "Sailing")
        seen: list[str] = []
        for colour in ("red", "blue"):
            await ann.set_group_icon(group, picture(colour))
            await eventually(lambda: version(bob, group) not in ("", *seen))
            seen.append(version(bob, group))
            assert (await bob.group_icon(group, thumb=True)).startswith(b"\xff\xd8\xff")
        assert (await ann.group(group)).icon_version == seen[-1]
        with pytest.raises(RestError) as error:
            await ann.set_group_icon(group, b"no picture")
        assert error.value.code == "unsupported_media"
        await ann.set_group_icon(group, None)
        await eventually(lambda: version(bob, group) == "")
        with pytest.raises(NotFound):
            await bob.group_icon(group)


async def test_several_are_added_at_once(stack: Any):
    async with people(stack, count=3) as (_, (ann, bob, eve)):
        group = await ann.create_group("Sailing", [bob.session.user_id])
        nobody = "01a21568-bb7a-70fa-90d5-0b6156e3833f"
        wanted = [eve.session.user_id, bob.session.user_id, nobody]
        assert await ann.add_members(group, wanted) == dict(
            zip(wanted, ("added", "member", "not_found"), strict=True)
        )
        await eventually(lambda: title(eve, group) == "Sailing")
        with pytest.raises(NotFound):
            await ann.add_members(group, [nobody])


async def test_links_requests_and_their_errors(stack: Any):
    async with people(stack, count=3) as (_, (ann, bob, eve)):
        group = await ann.create_group("Sailing", [bob.session.user_id])
        with pytest.raises(NotFound):
            await eve.group(group)
        with pytest.raises(Forbidden):
            await bob.create_invite(group)
        invite = await ann.create_invite(group, expires_in=3600, max_uses=5, approval=True)
        assert [known.code for known in await ann.invites(group)] == [invite.code]
        preview = await eve.preview_invite(invite.code)
        assert (preview.conversation_id, preview.name, preview.approval) == (group, "Sailing", True)
        assert [await eve.join(invite.code), await eve.join(invite.code)] == ["requested"] * 2
        assert [r.user_id for r in (await ann.join_requests(group)).items] == [eve.session.user_id]
        await ann.answer_request(group, eve.session.user_id, True)
        await eventually(lambda: title(eve, group) == "Sailing")
        assert await eve.join(invite.code) == "joined"
        await ann.revoke_invite(group, invite.code)
        await ann.revoke_invite(group, invite.code)
        for call in (eve.preview_invite(invite.code), bob.preview_invite(invite.code)):
            with pytest.raises(Gone):
                await call
        with pytest.raises(NotFound):
            await eve.preview_invite("../../me")


async def test_who_is_removed_can_write_nothing_any_more_and_comes_back(stack: Any):
    async with people(stack) as (_, (ann, bob)):
        group = await ann.create_group("Sailing", [bob.session.user_id])
        first = bob.send(group, "one")
        await first.sent()
        stream = bob.events()
        await ann.remove_member(group, bob.session.user_id)
        await eventually(lambda: bob.chat(group).read_only == "removed")
        assert kinds(bob, group)[-1] == "member_removed"
        refused = bob.send(group, "two")
        assert refused.state == "failed"
        with pytest.raises(SendFailed, match="not_member"):
            await refused.sent()
        assert (refused.attempts, [o.text for o in bob.pending(group)]) == (0, ["two"])
        async with asyncio.timeout(5):
            async for event in stream:
                if isinstance(event, events.Failed):
                    assert event.outgoing is refused
                    break
        bob.mark_read(group)
        bob.typing(group)
        bob.open_chat(group)
        await ann.send(group, "without bob").sent()
        await ann.update_group(group, name="Rowing")

        await ann.add_members(group, [bob.session.user_id])
        await eventually(lambda: (bob.chat(group).read_only, title(bob, group)) == ("", "Rowing"))
        bob.retry(refused)
        await refused.sent()
        await eventually(lambda: last(ann, group) == "two")
        assert [e.text for e in bob.messages(group) if e.type == "message"] == ["one", "two"]
        # The gap is passed, and nothing asks for it again.
        await eventually(lambda: bob.history[group].position == ann.history[group].position)
        assert not bob.history[group].hole
        await ann.send(group, "three").sent()
        await eventually(lambda: last(bob, group) == "three")
        seen = [await anext(stream) for _ in range(stream.queue.qsize())]
        assert not [each for each in seen if isinstance(each, events.Problem)]


async def test_who_leaves_keeps_what_was_said(stack: Any):
    async with people(stack, count=3) as (_, (ann, bob, eve)):
        group = await ann.create_group("Sailing", [bob.session.user_id, eve.session.user_id])
        await ann.send(group, "hello").sent()
        await eventually(lambda: last(bob, group) == "hello")
        await bob.leave_group(group)
        await bob.leave_group(group)
        await eventually(lambda: (bob.chat(group).read_only, ann.chat(group).member_count) == ("left", 2))
        await ann.update_group(group, name="Rowing")
        await eventually(lambda: title(eve, group) == "Rowing")
        await bob.refresh_chats()
        assert (title(bob, group), bob.chat(group).role, texts(bob, group)[2]) == ("Sailing", None, "hello")
        with pytest.raises(NotFound):
            await bob.group(group)
        await ann.dissolve_group(group)
        await eventually(lambda: eve.chat(group).read_only == "dissolved" == ann.chat(group).read_only)


async def test_a_file_knows_its_groups_without_a_server(stack: Any, tmp_path: Any):
    ann, bob = await register(stack), await register(stack)
    with Database(tmp_path / "ann.db") as database:
        async with Client(stack.http, ann, database=database) as client:
            await client.wait_online()
            group = await client.create_group("Sailing", [bob.user_id], "Sundays")
            other = await client.create_group("Over", [bob.user_id])
            await client.leave_group(other)
            await client.set_flags(group, muted_until=4_000_000_000_000, pinned=True, draft=b"what I")
            await eventually(
                lambda: (title(client, group), client.chat(other).read_only) == ("Sailing", "left")
            )
            lines = [client.chat(each) for each in (group, other)]
    with Database(tmp_path / "ann.db") as database:
        later = Client("http://127.0.0.1:9", ann, database=database)
        assert [later.chat(each) for each in (group, other)] == lines
        assert (lines[0].pinned, lines[0].draft, lines[0].role) == (True, b"what I", "creator")
        known = later.known_group(group)
        assert known is not None
        assert (known.description, known.member_count) == ("Sundays", 2)
        assert later.send(other, "no").state == "failed"
        assert later.send(group, "yes").state == "queued"


async def test_ticks_of_a_group_are_those_of_all_others(stack: Any):
    async with people(stack, count=4) as (_, (ann, bob, eve, joe)):
        group = await ann.create_group("Sailing", [c.session.user_id for c in (bob, eve)])
        await eve.stop()
        outgoing = ann.send(group, "hello")
        await outgoing.sent()
        await eventually(lambda: len(texts(bob, group)) == 3)
        bob.mark_read(group)
        await eventually(lambda: read_by(ann, group, bob) == outgoing.seq)
        assert ann.receipt_of(outgoing) == "sent"
        details = await ann.receipts(group, outgoing.message_id)
        assert {d.user_id: d.status for d in details} == {
            bob.session.user_id: "read", eve.session.user_id: "sent"
        }  # fmt: skip
        with pytest.raises(Forbidden):
            await bob.receipts(group, outgoing.message_id)
        # Who comes later is not asked; who leaves is not waited for.
        await ann.add_members(group, [joe.session.user_id])
        await eve.start()
        await eventually(lambda: ann.receipt_of(outgoing) == "delivered")
        await ann.remove_member(group, eve.session.user_id)
        await eventually(lambda: ann.receipt_of(outgoing) == "read")
        assert ann._lookups.asked == 0
        # Who did not see the beginning asks once for the members.
        second = joe.send(group, "me too")
        await second.sent()
        await eventually(lambda: {last(ann, group), last(bob, group)} == {"me too"})
        ann.mark_read(group)
        bob.mark_read(group)
        await eventually(lambda: read_by(bob, group, ann) == second.seq)
        await eventually(lambda: read_by(ann, group, bob) == second.seq)
        # A gateway goes by a list of members for 5 s, so it may not have told him who is so new; the details do.
        async with asyncio.timeout(PATIENCE):
            while joe.receipt_of(second) != "read":
                await joe.receipts(group, second.message_id)
                await asyncio.sleep(0.05)


async def test_typing_in_a_group_comes_to_who_has_it_open(stack: Any):
    async with people(stack) as (_, (ann, bob)):
        group = await ann.create_group("Sailing", [bob.session.user_id])
        await eventually(lambda: title(bob, group) == "Sailing")
        stream = bob.events()
        bob.open_chat(group)
        seen: set[str] = set()

        async def write() -> None:
            while True:
                ann.typing(group)
                await asyncio.sleep(1.2)

        writing = asyncio.create_task(write())
        async with asyncio.timeout(15):
            async for event in stream:
                match event:
                    case events.Typing(conversation_id=where, user_id=who, active=True) if where == group:
                        assert who == ann.session.user_id
                        seen.add("typing")
                    case events.Presence(user_id=who, status="online") if who == ann.session.user_id:
                        seen.add("online")
                if seen == {"typing", "online"}:
                    break
        writing.cancel()


async def test_flags_are_the_same_on_all_devices(stack: Any):
    async with people(stack) as (conversation, (ann, _)):
        second = await register(stack, number=ann.session.phone_number)
        async with Client(stack.http, second) as desktop:
            await desktop.wait_online()
            flags = await ann.set_flags(conversation, pinned=True, muted_until=4_000_000_000_000)
            assert (flags.pinned, ann.chat(conversation).muted_until) == (True, 4_000_000_000_000)
            await eventually(lambda: desktop.chat(conversation).pinned)
            await desktop.set_flags(conversation, muted_until=None, archived=True)
            await eventually(lambda: ann.chat(conversation).archived)
            chat = ann.chat(conversation)
            assert (chat.pinned, chat.muted_until) == (True, None)
            with pytest.raises(RestError):
                await ann.set_flags("nothing", pinned=True)
        third = await register(stack, number=ann.session.phone_number)
        async with Client(stack.http, third) as phone:
            await phone.refresh_chats()
            assert phone.chat(conversation).archived
