"""The client over real sockets: messages until ✓, and their ticks."""

from __future__ import annotations

import asyncio

import pytest

from whatsapp_client import Client, SendFailed, events

from .connected import C, collect, connected, eventually, idle, message, quick, session
from .scripted import Peer, ScriptedServer


async def test_unanswered_messages_go_again_in_order_with_their_ids():
    seen: list[list[tuple]] = [[], []]

    async def losing(peer: Peer) -> None:
        await peer.synced()
        for _ in range(3):
            sent = await peer.receive("send_message")
            seen[0].append((sent["messageId"], sent["seqNum"]))
            if len(seen[0]) == 1:
                await peer.tick(sent, 1)
        peer.cut()

    async def answering(peer: Peer) -> None:
        await peer.synced()
        for seq in (2, 3):
            sent = await peer.receive("send_message")
            seen[1].append((sent["messageId"], sent["seqNum"]))
            await peer.tick(sent, seq, duplicate=seq == 2)
        await peer.until_closed()

    async with connected(losing, answering) as (_, client):
        outgoing = [client.send(C, f"t{i}") for i in range(3)]
        async with asyncio.timeout(5):
            for each in outgoing:
                await each.sent()
        assert seen[0][1:] == seen[1]
        assert [o.seq for o in outgoing] == [1, 2, 3]
        assert outgoing[1].duplicate
        assert len(client.outbox) == 0


async def test_messages_wait_while_nobody_answers_and_survive_a_stop():
    async with ScriptedServer(idle) as server:
        url = server.url
    client = Client(url, session(), backoff=quick())
    await client.start()
    outgoing = client.send(C, "while away")
    await eventually(lambda: client.state.status == "waiting")
    await client.stop()
    assert outgoing.state == "queued"
    assert client.outbox.waiting(C) == [outgoing]


async def test_a_refused_message_fails_and_the_next_ones_take_its_number():
    async def script(peer: Peer) -> None:
        await peer.synced()
        first = await peer.receive("send_message")
        second = await peer.receive("send_message")
        await peer.refuse(first, "not_member", retryable=False)
        await peer.refuse(second, "out_of_order", retryable=True, details={"expected": 1})
        again = await peer.receive("send_message")
        assert (again["messageId"], again["seqNum"]) == (second["messageId"], 1)
        await peer.tick(again, 1)
        await peer.until_closed()

    async with connected(script) as (_, client):
        bad, good = client.send(C, "bad"), client.send(C, "good")
        with pytest.raises(SendFailed, match="not_member"):
            await asyncio.wait_for(bad.sent(), 5)
        assert (await asyncio.wait_for(good.sent(), 5)).seq == 1


async def test_our_own_message_in_a_page_after_its_tick_is_not_shown_again():
    """The first event of a conversation in a session is paged, and the page holds our own message too."""

    async def script(peer: Peer) -> None:
        await peer.synced()
        sent = await peer.receive("send_message")
        await peer.tick(sent, 1)
        own = {**message(1, sender="ann"), "messageId": sent["messageId"]}
        await peer.send(
            type="sync_batch", conversationId=C, events=[own, message(2)], through=2, head=2, remaining=0
        )
        assert (await peer.receive("ack"))["positions"] == {C: 2}
        await peer.until_closed()

    async with connected(script) as (_, client):
        stream = client.events()
        client.send(C, "mine")
        assert [e.entry.seq for e in await collect(stream, 1)] == [2]
        assert [e.text for e in client.history[C].entries] == ["mine", "t2"]


async def test_a_lost_tick_is_found_in_the_log():
    async def losing(peer: Peer) -> None:
        await peer.synced()
        sent = await peer.receive("send_message")
        own = {**message(1, sender="ann"), "messageId": sent["messageId"]}
        await peer.send(type="sync_batch", conversationId=C, events=[own], through=1, head=1, remaining=0)
        await peer.until_closed()

    async with connected(losing) as (_, client):
        assert (await asyncio.wait_for(client.send(C, "mine").sent(), 5)).seq == 1


async def test_ticks_follow_the_receipts_of_the_others():
    async def script(peer: Peer) -> None:
        await peer.synced()
        sent = await peer.receive("send_message")
        await peer.tick(sent, 4)
        for status in ("delivered", "read"):
            await peer.send(
                type="status_update", conversationId=C, status=status, upTo=4, userId="bob", timestamp=1
            )
        await peer.send(
            type="status_update", conversationId=C, status="read", upTo=9, userId="ann", timestamp=1
        )
        await peer.until_closed()

    async with connected(script) as (_, client):
        stream = client.events()
        outgoing = client.send(C, "hello")
        assert client.receipt_of(outgoing) == "queued"
        receipts = await collect(stream, 3, events.Receipt)
        assert [(r.status, r.user_id) for r in receipts] == [
            ("delivered", "bob"),
            ("read", "bob"),
            ("read", "ann"),
        ]
        assert client.receipt_of(outgoing) == "read"
