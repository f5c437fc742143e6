"""What a new process of a device finds: chats, messages, its outbox, read marks; and how older messages join."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whatsapp_client import Chat, Client, Database, Outgoing, Session, events

from .connected import C, eventually, idle, message, quick
from .scripted import Peer, ScriptedServer

NOWHERE = "http://127.0.0.1:1"


def open_client(path: Path, url: str = NOWHERE) -> Client:
    return Client(
        url, Session("+15550001", "ann", "d", "token", "refresh"), database=Database(path), backoff=quick()
    )


async def end(client: Client) -> None:
    await client.stop()
    client.database.close()


def texts(client: Client, **how: Any) -> list[str]:
    return [entry.text for entry in client.messages(C, **how)]


def scripted(*frames: dict[str, Any]) -> Callable[[Peer], Any]:
    """A connection that brings these frames."""

    async def script(peer: Peer) -> None:
        await peer.synced()
        for frame in frames:
            await peer.send(**frame)
        await peer.until_closed()

    return script


async def test_messages_and_chats_are_here_without_a_server(tmp_path: Path):
    async with ScriptedServer(
        scripted(message(1), message(2, sender="ann"), message(3), message(4))
    ) as server:
        client = open_client(tmp_path / "db", server.url)
        await client.start()
        await eventually(lambda: len(client.messages(C)) == 4)
        await end(client)
    client = open_client(tmp_path / "db")
    assert texts(client) == ["t1", "t2", "t3", "t4"]
    assert texts(client, before=4, limit=2) == ["t2", "t3"]
    (chat,) = client.chats()
    assert (chat.conversation_id, chat.unread, chat.read_up_to, chat.user_id) == (C, 2, 2, "bob")
    assert chat.last is not None
    assert (chat.last.text, chat.title) == ("t4", "user bob")
    await end(client)


async def test_what_was_written_offline_goes_out_of_the_next_process_with_its_ids(tmp_path: Path):
    client = open_client(tmp_path / "db")
    written = [client.send(C, f"t{i}", replyTo="x") for i in range(3)]
    await end(client)
    seen: list[tuple[str, int, str, str]] = []

    async def taking(peer: Peer) -> None:
        await peer.receive("sync")
        for seq in range(1, 4):
            frame = await peer.receive("send_message")
            content = base64.b64decode(frame["encryptedContent"]).decode()
            seen.append((frame["messageId"], frame["seqNum"], content, frame["replyTo"]))
            await peer.tick(frame, seq)
        await peer.until_closed()

    async with ScriptedServer(taking, idle) as server:
        client = open_client(tmp_path / "db", server.url)
        waiting = client.pending(C)
        assert [o.message_id for o in waiting] == [o.message_id for o in written]
        await client.start()
        await eventually(lambda: not client.pending(C))
        assert {o.state for o in waiting} == {"sent"}
        assert texts(client) == ["t0", "t1", "t2"]
        await end(client)
    assert seen == [(o.message_id, i + 1, f"t{i}", "x") for i, o in enumerate(written)]
    client = open_client(tmp_path / "db")
    assert client.send(C, "t3").seq_num == 4
    await end(client)


async def test_a_failed_message_waits_for_a_decision_over_restarts(tmp_path: Path):
    async def refusing(peer: Peer) -> None:
        await peer.receive("sync")
        codes = {b"t0": "forbidden", b"t1": "conflict", b"t2": "too_large"}
        while True:
            frame = await peer.receive("send_message")
            await peer.refuse(frame, codes[base64.b64decode(frame["encryptedContent"])], retryable=False)

    async with ScriptedServer(refusing) as server:
        client = open_client(tmp_path / "db", server.url)
        first = [client.send(C, f"t{i}") for i in range(3)]
        await client.start()
        await eventually(lambda: {o.state for o in first} == {"failed"})
        await end(client)

    client = open_client(tmp_path / "db")
    forbidden, conflict, large = client.pending(C)
    assert [o.error.code for o in (forbidden, conflict, large) if o.error] == [
        "forbidden",
        "conflict",
        "too_large",
    ]
    assert [client.receipt_of(o) for o in client.pending(C)] == ["failed"] * 3
    client.retry(forbidden)
    client.retry(conflict)
    client.discard(large)
    assert forbidden.message_id == first[0].message_id
    assert conflict.message_id != first[1].message_id  # the old id stands for another body
    with pytest.raises(ValueError):
        client.retry(forbidden)
    with pytest.raises(ValueError):
        client.discard(forbidden)  # an earlier process may have sent it
    new = client.send(C, "never sent")
    client.discard(new)
    await end(client)
    client = open_client(tmp_path / "db")
    assert [(o.text, o.state) for o in client.pending(C)] == [("t0", "queued"), ("t1", "queued")]
    await end(client)


async def test_a_read_mark_is_told_by_the_next_process(tmp_path: Path):
    async with ScriptedServer(scripted(message(1), message(2))) as server:
        client = open_client(tmp_path / "db", server.url)
        await client.start()
        await eventually(lambda: len(client.messages(C)) == 2)
        await end(client)
    client = open_client(tmp_path / "db")
    client.mark_read(C)
    assert client.chats()[0].unread == 0
    await end(client)
    said: list[tuple[str, int]] = []

    async def hearing(peer: Peer) -> None:
        await peer.synced()
        said.append(("ack", (await peer.receive("ack"))["positions"][C]))
        said.append(("read", (await peer.receive("status_update"))["upTo"]))
        await peer.until_closed()

    async with ScriptedServer(hearing) as server:
        client = open_client(tmp_path / "db", server.url)
        await client.start()
        await eventually(lambda: len(said) == 2)
        await end(client)
    assert said == [("ack", 2), ("read", 2)]


async def test_receipts_are_kept(tmp_path: Path):
    tick = {"type": "status_update", "conversationId": C, "userId": "bob"}
    script = scripted(message(1, sender="ann"), message(2, sender="ann"),
                      {**tick, "status": "read", "upTo": 1}, {**tick, "status": "delivered", "upTo": 2})  # fmt: skip
    async with ScriptedServer(script) as server:
        client = open_client(tmp_path / "db", server.url)
        await client.start()
        await eventually(lambda: client.receipt_at(C, 2) == "delivered")
        await end(client)
    client = open_client(tmp_path / "db")
    assert [client.receipt_at(C, seq) for seq in (1, 2, 3)] == ["read", "delivered", "sent"]
    await end(client)


async def test_what_was_read_over_rest_is_still_announced_when_its_turn_comes(tmp_path: Path, monkeypatch):
    async def page(self: Any, conversation: str, *, before: int, limit: int) -> list[dict[str, Any]]:
        return [message(seq) for seq in range(1, min(before, 5))]

    monkeypatch.setattr("whatsapp_client.rest.Rest.events", page)
    batch = {
        "type": "sync_batch",
        "conversationId": C,
        "events": [message(3), message(4)],
        "through": 4,
        "remaining": 0,
    }
    async with ScriptedServer(scripted(batch)) as server:
        client = open_client(tmp_path / "db", server.url)
        assert await client.load_older(C)
        assert texts(client) == ["t1", "t2", "t3", "t4"]
        assert not await client.load_older(C)
        stream = client.events()
        await client.start()
        await eventually(lambda: client.history[C].position == 4)
        await end(client)
        told = [event.entry.text async for event in stream if isinstance(event, events.Message)]
    assert told == ["t3", "t4"]


async def test_after_a_reset_older_entries_join_only_when_nothing_is_missing_between(
    tmp_path: Path, monkeypatch
):
    async def page(self: Any, conversation: str, *, before: int, limit: int) -> list[dict[str, Any]]:
        return [message(seq) for seq in range(max(1, before - limit), before)]

    monkeypatch.setattr("whatsapp_client.rest.Rest.events", page)

    async def resetting(peer: Peer) -> None:
        await peer.synced()
        for seq in (1, 2):
            await peer.send(**message(seq))
        await peer.send(
            type="error", code="reset", message="", retryable=False, details={"conversationId": C}
        )
        again = await peer.receive("sync")
        assert C not in again.get("have", {})
        await peer.send(type="sync_complete", epoch="e", serverTime=1, ref=again["ref"])
        await peer.send(**message(9))
        await peer.until_closed()

    async with ScriptedServer(resetting) as server:
        client = open_client(tmp_path / "db", server.url)
        await client.start()
        await eventually(lambda: texts(client) == ["t9"])
        assert await client.load_older(C, limit=3)
        assert texts(client) == ["t6", "t7", "t8", "t9"]
        assert await client.load_older(C, limit=50)
        assert texts(client) == [f"t{seq}" for seq in range(1, 10)]
        await end(client)


async def test_changes_of_a_chat_are_told_once_until_taken():
    async with ScriptedServer(scripted(*[message(seq) for seq in range(1, 101)])) as server:
        session = Session("+15550001", "ann", "d", "token", "refresh")
        async with Client(server.url, session, backoff=quick()) as client:
            stream = client.events()
            await eventually(lambda: len(client.messages(C, limit=200)) == 100)
        kinds = [type(event) async for event in stream]
    assert kinds.count(events.Message) == 100
    assert kinds.count(events.ChatChanged) == 1


async def test_the_servers_list_gives_titles_and_counts_what_is_not_here(monkeypatch):
    async def contacts(self: Any) -> list[dict[str, Any]]:
        return [{"userId": "bob", "nickname": "Bobby", "name": "Robert", "about": ""}]

    async def conversations(self: Any) -> list[dict[str, Any]]:
        return [
            {"conversationId": C, "kind": "direct", "peerId": "bob", "head": 7, "unread": 3, "read": 4, "delivered": 4,
             "lastEvent": message(7)},
            {"conversationId": "other", "kind": "direct", "peerId": "eve", "head": 0, "unread": 0, "read": 0, "delivered": 0,
             "lastEvent": None},
        ]  # fmt: skip

    async def user(self: Any, user_id: str) -> dict[str, Any]:
        return {"userId": user_id, "name": "Eve", "about": ""}

    for name, answer in (("contacts", contacts), ("conversations", conversations), ("user", user)):
        monkeypatch.setattr(f"whatsapp_client.rest.Rest.{name}", answer)
    batch = {"type": "sync_batch", "conversationId": C, "events": [message(5)], "through": 5, "remaining": 2}
    async with ScriptedServer(scripted(batch)) as server:
        session = Session("+15550001", "ann", "d", "token", "refresh")
        async with Client(server.url, session, backoff=quick()) as client:
            await client.refresh_chats()

            def lines() -> list[tuple[str, int, str]]:
                return [(c.title, c.unread, c.last.text if c.last else "") for c in client.chats()]

            assert lines() == [("Bobby", 3, "t7"), ("Eve", 0, "")]
            await eventually(lambda: len(client.messages(C)) == 1)
            assert lines()[0] == ("Bobby", 3, "t7")
            client.mark_read(C, 6)
            assert lines()[0][1] == 0
            assert client.name_of("bob") == "Bobby"


async def test_a_chat_is_in_the_list_before_anything_of_it_has_arrived(tmp_path: Path):
    client = open_client(tmp_path / "db")
    first, second = client.send("old", "x"), client.send(C, "hello")
    second.timestamp = first.timestamp + 1
    assert [chat.conversation_id for chat in client.chats()] == [C, "old"]
    await end(client)


async def test_a_program_finds_what_it_has_not_dealt_with(tmp_path: Path):
    async with ScriptedServer(scripted(message(1), message(2, sender="ann"), message(3))) as server:
        client = open_client(tmp_path / "db", server.url)
        await client.start()
        await eventually(lambda: len(client.messages(C)) == 3)
        client.mark_read(C)
        client.handled(C, 1)
        client.send(C, "answer to 1")
        client.flush()
        client.handled(C, 3)  # in a turn that does not come to its end
        client.database.abandon()
        await client.stop()
    client = open_client(tmp_path / "db")
    assert [entry.seq for entry in client.unhandled()] == [3]
    assert [o.text for o in client.pending(C)] == ["answer to 1"]
    client.handled(C, 3)
    assert client.unhandled(C) == []
    await end(client)


def test_a_line_of_the_list_cannot_be_changed():
    chat = Chat(C, "direct", "bob", "Bob", None, 0, 0)
    with pytest.raises(AttributeError):
        chat.unread = 3  # type: ignore[misc]
    assert Outgoing("m", C, b"x", 1).text == "x"
