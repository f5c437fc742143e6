"""Edits, deletes and reactions in the file of a device: what is shown is what the log says now."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.clients.test_with_server import PATIENCE, eventually, people
from tests.gateway.peer import Peer
from tests.gateway.phone import Phone
from tests.gateway.test_amendments import delete, done, edit, react
from whatsapp_client import Client, Conversation, Entry, Session, by_name

C = "conversation-1"


def message(seq: int, text: str = "hello", sender: str = "ann") -> Entry:
    return Entry(C, seq, sender, f"m{seq}", content=text.encode())


def event(
    seq: int, kind: str, target: str, actor: str = "ann", content: bytes | None = None, **data: Any
) -> Entry:
    fields = {"targetId": target, "data": data}
    return Entry(C, seq, actor, type=kind, kind="event", content=content, fields=fields)


def shown(conversation: Conversation) -> list[tuple[int, bytes | None, bool, bool]]:
    return [(e.seq, e.content, e.edited, e.deleted) for e in conversation.entries if e.type == "message"]


def test_an_edit_rewrites_its_message():
    conversation = Conversation(C)
    for one in (message(1), message(2), event(3, "edit", "m1", content=b"hello!")):
        conversation.live(one)
    assert shown(conversation) == [(1, b"hello!", True, False), (2, b"hello", False, False)]
    conversation.live(event(4, "edit", "m2", actor="eve", content=b"spoofed"))
    conversation.live(event(5, "edit", "unknown", content=b"x"))
    assert shown(conversation)[1] == (2, b"hello", False, False)
    # An older edit that is read later, over REST, changes nothing back.
    conversation = Conversation(C)
    conversation.page([message(5, "v1"), event(9, "edit", "m5", content=b"v3")], through=9)
    conversation.earlier([message(5, "v1"), event(7, "edit", "m5", content=b"v2")])
    assert shown(conversation) == [(5, b"v3", True, False)]


def test_an_edit_above_a_hole_waits_like_anything():
    conversation = Conversation(C)
    conversation.live(message(1))
    conversation.live(event(3, "edit", "m2", content=b"late"))
    assert shown(conversation) == [(1, b"hello", False, False)]
    conversation.live(message(2))
    assert shown(conversation)[1] == (2, b"late", True, False)


async def test_an_own_message_below_what_is_shown_is_not_here_yet():
    """It was confirmed before the first page of its conversation, which begins above it: what is between may be missing."""
    client = Client("http://127.0.0.1:9", Session("+15550001", "ann", "phone", "token", "refresh"))
    conversation = client.history[C]
    conversation.own(message(3))
    conversation.page([message(5, sender="bob")], through=5)
    assert [one.message_id for one in client.view(C)] == ["m5"]
    assert client.shown(C, "m3") is None
    with pytest.raises(ValueError, match="no such message"):
        client.edit(C, "m3", "another text")
    conversation.earlier([message(3), message(4, sender="bob")])
    assert client.edit(C, "m3", "another text").target_id == "m3"
    client.database.close()


def test_a_delete_leaves_no_content_in_the_file():
    conversation = Conversation(C)
    conversation.page(
        [
            message(1, "secret"),
            event(2, "edit", "m1", content=b"secret too"),
            event(3, "reaction", "m1", actor="bob", emoji="+"),
            event(4, "delete", "m1", actor="admin"),
            event(5, "edit", "m1", content=b"secret again"),
        ],
        through=5,
    )
    assert shown(conversation) == [(1, None, False, True)]
    assert [e.content for e in conversation.entries[:4]] == [None] * 4
    assert conversation.log.reactions("m1") == {}


def test_reactions_are_the_last_of_each():
    conversation = Conversation(C)
    for one in (
        message(1),
        event(2, "reaction", "m1", actor="ann", emoji="+"),
        event(3, "reaction", "m1", actor="bob", emoji="-"),
        event(4, "reaction", "m1", actor="ann", emoji="*"),
        event(5, "reaction", "m2", actor="cat", emoji="+"),
        event(6, "reaction", "m1", actor="bob", emoji=""),
    ):
        conversation.live(one)
    assert conversation.log.reactions("m1") == {"ann": "*"}


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
async def test_with_the_server(stack: Any, encoding: str):
    """Bob's other device edits, deletes and reacts; Ann's client shows it, live and from the beginning."""
    async with people(stack, codec=by_name(encoding)) as (conversation, (ann, bob)):
        sent = [bob.send(conversation, f"t{n}") for n in range(3)]
        for outgoing in sent:
            await asyncio.wait_for(outgoing.sent(), PATIENCE)
        await bob.stop()
        session = bob.session
        phone = Phone(stack, "", session.user_id, session.device_id, session.token, "")
        async with await Peer.open(stack.ws, phone, encoding) as peer:
            await done(peer, edit(conversation, sent[0].message_id, "t0 edited"))
            await done(peer, react(conversation, sent[1].message_id, "👍"))
            tick = await done(peer, delete(conversation, sent[2].message_id))
        log = ann.history[conversation]
        await eventually(lambda: log.position == tick.seq)
        expected = [(1, b"t0 edited", True, False), (2, b"t1", False, False), (3, None, False, True)]
        assert shown(log) == expected
        assert log.log.reactions(sent[1].message_id) == {session.user_id: "👍"}
        await ann.stop()
        async with Client(stack.http, ann.session, codec=by_name(encoding)) as again:
            again.history[conversation]._move(0)
            await eventually(lambda: again.history[conversation].position == tick.seq)
            assert shown(again.history[conversation]) == expected
