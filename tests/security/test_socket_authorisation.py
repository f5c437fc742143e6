"""Ids of others on the socket: nothing is given, nothing is changed, and theirs cannot be told from none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from chats.handlers import HANDLERS
from tests.gateway.peer import Peer
from tests.gateway.phone import Phone, Runs, couple, new_id, sign_up
from tests.security.test_authorisation import FORGED
from whatsapp.wire import frames

pytestmark = pytest.mark.needs_system

#: Frames with which somebody could reach into a conversation: frame → how, given its id and a message's.
REACHING: dict[str, Callable[[str, str], frames.Frame]] = {
    "send": lambda conversation, message: frames.SendMessage(
        message_id=new_id(), conversation_id=conversation, encrypted_content=b"x", timestamp=1
    ),
    "send as a member": lambda conversation, message: frames.SendMessage(
        message_id=new_id(),
        conversation_id=conversation,
        encrypted_content=b"x",
        timestamp=1,
        recipient_ids=(new_id(),),
    ),
    "edit": lambda conversation, message: frames.EditMessage(
        message_id=new_id(),
        conversation_id=conversation,
        target_id=message or new_id(),
        encrypted_content=b"x",
        timestamp=1,
    ),
    "delete": lambda conversation, message: frames.DeleteMessage(
        message_id=new_id(), conversation_id=conversation, target_id=message or new_id(), timestamp=1
    ),
    "react": lambda conversation, message: frames.React(
        message_id=new_id(),
        conversation_id=conversation,
        target_id=message or new_id(),
        emoji="👍",
        timestamp=1,
    ),
    "vote": lambda conversation, message: frames.Vote(
        message_id=new_id(),
        conversation_id=conversation,
        target_id=message or new_id(),
        encrypted_content=b"x",
        timestamp=1,
    ),
    "read up to": lambda conversation, message: frames.StatusUpdate(
        conversation_id=conversation, status="read", up_to=1
    ),
    "read a message": lambda conversation, message: frames.StatusUpdate(
        conversation_id=conversation, status="read", message_id=message
    ),
    "delivered a message": lambda conversation, message: frames.StatusUpdate(
        conversation_id=conversation, status="delivered", message_id=message
    ),
    "open": lambda conversation, message: frames.PresenceSubscribe([], conversation_ids=[conversation]),
}
#: Frames that answer nothing: what they must not do is seen at the members.
SILENT: dict[str, Callable[[str, str], frames.Frame]] = {
    "typing": lambda conversation, message: frames.Typing(conversation_id=conversation, active=True),
    "presence": lambda conversation, message: frames.Presence("away", conversation_id=conversation),
    "close": lambda conversation, message: frames.PresenceSubscribe(
        [], closed_conversation_ids=[conversation]
    ),
    "ack": lambda conversation, message: frames.Ack(positions={conversation: 1}),
    "delivered up to": lambda conversation, message: frames.StatusUpdate(
        conversation_id=conversation, status="delivered", up_to=1
    ),
}


def test_every_frame_that_names_a_conversation_is_tried_here() -> None:
    """A new one has to be thought of."""
    tried = {type(make("", "")) for make in (*REACHING.values(), *SILENT.values())}
    names = {"conversation_id", "conversation_ids", "closed_conversation_ids", "positions"}
    naming = {kind for kind in HANDLERS if names & set(kind.__struct_fields__)}  # type: ignore[attr-defined]
    assert naming == tried


async def _events(phone: Phone, conversation: str) -> Any:
    return (await phone.rest("GET", f"/conversations/{conversation}/events")).json()


async def test_an_outsider_reaches_nothing(stack: Runs) -> None:
    ann, bob, conversation = await couple(stack)
    eve = await sign_up(stack)
    async with await Peer.open(stack.ws, ann) as a, await Peer.open(stack.ws, bob) as b:
        sent = await a.say(conversation, "between us")
        await b.expect(frames.Message)
        before = await _events(ann, conversation)
        seen_by_ann, seen_by_bob = len(a.log), len(b.log)
        async with await Peer.open(stack.ws, eve) as e:
            for kind, make in REACHING.items():
                nowhere = new_id()
                theirs, none = [
                    await e.ask(make(where, sent.message_id or "")) for where in (conversation, nowhere)
                ]
                assert isinstance(theirs, frames.Error), kind
                assert theirs.code == "not_found", kind
                assert isinstance(none, frames.Error), kind
                asked = str(theirs.details).replace(conversation, nowhere)  # what Eve named herself
                assert (theirs.code, theirs.message, asked) == (none.code, none.message, str(none.details))
            for make in SILENT.values():
                await e.send(make(conversation, sent.message_id or ""))
            await e.send(frames.Sync(have={conversation: 0}))
            await e.expect(frames.SyncComplete)
            await e.round_trip()
            given = (frames.SyncBatch, frames.Message, frames.Presence)
            assert not [frame for frame in e.log if isinstance(frame, given)]
        await asyncio.gather(a.round_trip(), b.round_trip())
        others = (frames.Typing, frames.StatusUpdate, frames.Message)
        heard = [f for f in (*a.log[seen_by_ann:], *b.log[seen_by_bob:]) if isinstance(f, others)]
        assert not [f for f in heard if getattr(f, "user_id", None) == eve.user]
        assert not [f for f in heard if getattr(f, "sender_id", None) == eve.user]
    assert await _events(ann, conversation) == before
    assert (await eve.rest("GET", f"/conversations/{conversation}/events")).status_code == 404


async def test_a_sender_is_who_the_token_says(stack: Runs) -> None:
    """A frame has no field for it: what a client adds is ignored (and who it says receives is checked)."""
    ann, bob, conversation = await couple(stack)
    assert not {"sender_id", "user_id", "sender_device_id"} & set(frames.SendMessage.__struct_fields__)  # type: ignore[attr-defined]
    async with await Peer.open(stack.ws, ann) as a, await Peer.open(stack.ws, bob) as b:
        await a.say(conversation, "mine")
        message = await b.expect(frames.Message)
        assert (message.sender_id, message.sender_device_id) == (ann.user, ann.device)


@pytest.mark.parametrize("kind", ["expired", "alg none", "unknown kid", "another secret", "a refresh token"])
async def test_a_forged_token_opens_no_socket(stack: Runs, kind: str, settings: Any) -> None:
    phone = await sign_up(stack)
    kid, _, secret = stack.env["TOKEN_KEYS"].split(",")[0].partition(":")  # type: ignore[attr-defined]
    settings.TOKEN_KEYS = {kid: secret}
    token = FORGED[kind](_person(phone))
    async with await Peer.open(stack.ws, auth=False) as peer:
        await peer.send(frames.Auth(token))
        assert await peer.closed() == 4401


def _person(phone: Phone) -> Any:
    from tests.accounts.conftest import Person

    return Person(phone.number, phone.user, phone.device, phone.token, phone.refresh_token)
