"""The client over real sockets: connecting again, messages until ✓, order on the screen."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from whatsapp_client import Backoff, Client, RestError, SendFailed, Session, Stopped, Timing, events
from whatsapp_client.stream import EventStream

from .scripted import Peer, Script, ScriptedServer, before_ready

C = "0197c0de-0000-8000-8000-000000000001"


def session() -> Session:
    return Session("+15550001", "ann", "d", "token", "refresh")


def quick() -> Backoff:
    return Backoff(first=0.01, ceiling=0.05, rng=random.Random(1))


@contextlib.asynccontextmanager
async def connected(*scripts: Script, **options) -> AsyncIterator[tuple[ScriptedServer, Client]]:
    async with ScriptedServer(*scripts, **options) as server:
        timing = Timing(ack_delay=0.01, hole_grace=0.02)
        async with Client(server.url, session(), timing=timing, backoff=quick()) as client:
            yield server, client


def message(seq: int, text: str = "", sender: str = "bob") -> dict:
    return {
        "type": "message", "messageId": f"m{seq}", "conversationId": C, "senderId": sender, "senderDeviceId": "b", "seq": seq,
        "encryptedContent": base64.b64encode((text or f"t{seq}").encode()).decode(), "timestamp": 1, "serverTimestamp": 2,
        "kind": "text",
    }  # fmt: skip


async def idle(peer: Peer) -> None:
    """A connection on which nothing happens."""
    await peer.synced()
    await peer.until_closed()


async def collect(stream: EventStream, count: int, kind: type = events.Message) -> list:
    found = []
    async with asyncio.timeout(5):
        async for event in stream:
            if isinstance(event, kind):
                found.append(event)
                if len(found) == count:
                    return found
    return found


async def eventually(check, timeout: float = 5.0) -> None:
    async with asyncio.timeout(timeout):
        while not check():
            await asyncio.sleep(0.005)


async def test_a_client_authenticates_syncs_and_is_online():
    auths = []

    async def script(peer: Peer) -> None:
        auths.append(peer.auth)
        await idle(peer)

    async with connected(script) as (server, client):
        await client.wait_online(5)
        assert server.subprotocols == ["whatsapp.v3.2.json"]
    assert auths == [{"type": "auth", "token": "token"}]


@pytest.mark.parametrize("code", [1000, 1011, 1009, 4400, 4408, 4429, 4430, 1012, 1013, 4999])
async def test_after_these_codes_it_connects_again(code: int, monkeypatch):
    monkeypatch.setattr("whatsapp_client.client.LATER", 0.02)
    monkeypatch.setattr("whatsapp_client.client.NO_SLOT", 0.02)

    async def closing(peer: Peer) -> None:
        await peer.synced()
        await peer.close(code)

    async with connected(closing, idle) as (server, client):
        await eventually(lambda: server.connections == 2)
        await client.wait_online(5)


async def test_a_connection_cut_off_comes_back():
    async def cutting(peer: Peer) -> None:
        await peer.synced()
        peer.cut()

    async with connected(cutting, idle) as (server, client):
        await eventually(lambda: server.connections == 2 and client.state.status == "online")


@pytest.mark.parametrize("code", [4403, 4409, 4410, 4426])
async def test_after_these_codes_it_never_connects_again(code: int):
    async def closing(peer: Peer) -> None:
        await peer.synced()
        await peer.close(code)

    async with connected(closing) as (server, client):
        stream = client.events()
        states = [e async for e in stream if isinstance(e, events.State)]
        assert (states[-1].status, states[-1].code) == ("stopped", code)
        assert server.connections == 1
        with pytest.raises(Stopped):
            client.send(C, "too late")
        with pytest.raises(Stopped):
            await client.wait_online(5)


async def test_a_slot_is_kept():
    async def draining(peer: Peer) -> None:
        await peer.synced()
        await peer.send(type="reconnect", afterMs=300, reason="deploy")
        await peer.close(1012)

    async with connected(draining, idle) as (server, client):
        stream = client.events()
        (waiting,) = [s for s in await collect(stream, 4, events.State) if s.status == "waiting"]
        assert 0.2 < waiting.retry_in <= 0.3
        await eventually(lambda: server.connections == 2)


async def test_a_server_too_busy_for_a_session_gives_a_slot_too():
    @before_ready
    async def busy(peer: Peer) -> None:
        await peer.send(type="reconnect", afterMs=200, reason="overloaded")
        await peer.close(1013)

    async with connected(busy, idle) as (server, client):
        (waiting,) = [s for s in await collect(client.events(), 4, events.State) if s.status == "waiting"]
        assert 0.2 <= waiting.retry_in <= 0.3
        assert server.connections == 2


async def test_a_refused_upgrade_is_tried_again():
    async with connected(idle, refuse=[503, 502]) as (server, client):
        await client.wait_online(5)
        assert server.connections == 1


async def test_a_bad_token_is_renewed_and_saved(monkeypatch):
    saved = []

    @before_ready
    async def rejecting(peer: Peer) -> None:
        await peer.send(type="error", code="unauthenticated", message="", retryable=False)
        await peer.close(4401)

    async def refresh(self, session: Session) -> None:
        session.token = "new"

    tokens = []

    async def accepting(peer: Peer) -> None:
        tokens.append(peer.auth["token"])
        await idle(peer)

    monkeypatch.setattr("whatsapp_client.rest.Rest.refresh", refresh)
    async with (
        ScriptedServer(rejecting, accepting) as server,
        Client(server.url, session(), backoff=quick(), on_session=lambda s: saved.append(s.token)) as client,
    ):
        await client.wait_online(5)
    # Saved twice: before the refresh its key, so that another process could repeat it, and then the new token.
    assert (tokens, saved) == (["new"], ["token", "new"])


async def test_a_revoked_session_ends_the_client(monkeypatch):
    @before_ready
    async def rejecting(peer: Peer) -> None:
        await peer.send(type="error", code="unauthenticated", message="", retryable=False)
        await peer.close(4401)

    async def refresh(self, session: Session) -> None:
        raise RestError(401, "unauthenticated", "revoked")

    monkeypatch.setattr("whatsapp_client.rest.Rest.refresh", refresh)
    async with connected(rejecting) as (server, client):
        await eventually(lambda: client.state.status == "stopped")
        assert client.state.code == 4401
        assert server.connections == 1


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


async def test_live_messages_are_shown_and_acknowledged():
    acks = []

    async def script(peer: Peer) -> None:
        await peer.synced()
        for seq in (1, 2, 2, 3):
            await peer.send(**message(seq))
        while not acks or acks[-1] != {C: 3}:
            acks.append((await peer.receive("ack"))["positions"])
        await peer.until_closed()

    async with connected(script) as (_, client):
        shown = await collect(client.events(), 3)
        assert [e.entry.text for e in shown] == ["t1", "t2", "t3"]
        await eventually(lambda: acks and acks[-1] == {C: 3})


async def test_a_hole_is_asked_for_and_nothing_above_it_is_shown_before():
    async def script(peer: Peer) -> None:
        await peer.synced()
        await peer.send(**message(1))
        await peer.send(**message(3))
        sync = await peer.receive("sync")
        assert sync["have"] == {C: 1}
        await peer.send(
            type="sync_batch",
            conversationId=C,
            events=[message(2), message(3)],
            through=3,
            head=3,
            remaining=0,
        )
        assert (await peer.receive("ack"))["positions"] == {C: 3}
        await peer.send(type="sync_complete", epoch="e", serverTime=1)
        await peer.until_closed()

    async with connected(script) as (_, client):
        shown = await collect(client.events(), 3)
        assert [e.entry.seq for e in shown] == [1, 2, 3]


async def test_each_batch_is_acknowledged_and_progress_is_told():
    async def script(peer: Peer) -> None:
        await peer.receive("sync")
        for first, remaining in ((1, 2), (3, 0)):
            page = [message(first), message(first + 1)]
            await peer.send(
                type="sync_batch",
                conversationId=C,
                events=page,
                through=first + 1,
                head=4,
                remaining=remaining,
            )
            assert (await peer.receive("ack"))["positions"] == {C: first + 1}
        await peer.send(type="sync_complete", epoch="e", serverTime=1)
        await peer.until_closed()

    async with connected(script) as (_, client):
        stream = client.events()
        await client.wait_online(5)
        await client.stop()
        happened = [e async for e in stream]
        assert [e.entry.seq for e in happened if isinstance(e, events.Message)] == [1, 2, 3, 4]
        assert [e.remaining for e in happened if isinstance(e, events.State) and e.status == "syncing"] == [
            0,
            2,
            0,
        ]


async def test_a_returning_client_says_what_it_has():
    syncs = []

    async def first(peer: Peer) -> None:
        syncs.append(await peer.synced())
        await peer.send(**message(1))
        await peer.receive("ack")
        peer.cut()

    async def second(peer: Peer) -> None:
        syncs.append(await peer.synced())
        await peer.until_closed()

    async with connected(first, second) as (server, client):
        await eventually(lambda: server.connections == 2 and client.state.status == "online")
    assert [s.get("have") for s in syncs] == [None, {C: 1}]
    assert [s.get("since") for s in syncs] == [None, 1]  # the serverTime of the last sync_complete


async def test_reset_forgets_the_position_and_syncs():
    async def script(peer: Peer) -> None:
        await peer.synced()
        await peer.send(**message(5))
        await peer.send(
            type="error", code="reset", message="", retryable=False, details={"conversationId": C}
        )
        assert "have" not in await peer.receive("sync")
        await peer.send(type="sync_complete", epoch="e", serverTime=1)
        await peer.until_closed()

    async with connected(script) as (_, client):
        await collect(client.events(), 2, events.State)
        await eventually(lambda: client.history[C].position is None and client.history[C].entries)
        await eventually(lambda: not client._duties.syncing)


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


async def test_typing_ends_by_itself(monkeypatch):
    monkeypatch.setattr("whatsapp_client.inbound.TYPING_ENDS", 0.05)

    async def script(peer: Peer) -> None:
        await peer.synced()
        for _ in range(2):
            await peer.send(type="typing", conversationId=C, userId="bob", active=True)
        await peer.until_closed()

    async with connected(script) as (_, client):
        typing = await collect(client.events(), 2, events.Typing)
        assert [t.active for t in typing] == [True, False]


async def test_a_frame_without_sense_is_a_broken_connection(monkeypatch):
    monkeypatch.setattr("whatsapp_client.client.LATER", 0.02)

    async def broken(peer: Peer) -> None:
        await peer.synced()
        await peer.send(type="message", conversationId=C)
        await peer.until_closed()

    async with connected(broken, idle) as (server, client):
        await eventually(lambda: server.connections == 2 and client.state.status == "online")


async def test_unknown_frames_are_ignored():
    async def script(peer: Peer) -> None:
        await peer.send(type="of_the_future", x=1)
        await idle(peer)

    async with connected(script) as (server, client):
        await client.wait_online(5)
        assert server.connections == 1


async def test_what_came_in_the_last_moment_is_acknowledged_when_the_client_is_stopped():
    peers: list[Peer] = []

    async def one_message(peer: Peer) -> None:
        peers.append(peer)
        await peer.synced()
        await peer.send(**message(1))
        await peer.until_closed()

    async with ScriptedServer(one_message) as server:
        client = Client(server.url, session(), timing=Timing(ack_delay=60.0), backoff=quick())
        await client.start()
        await eventually(lambda: client.history[C].position == 1)
        await client.stop()
        await eventually(lambda: [f for f in peers[0].received if f["type"] == "ack"])
    assert [f["positions"] for f in peers[0].received if f["type"] == "ack"] == [{C: 1}]


async def test_a_server_that_answers_pings_only_is_left_for_another_connection(monkeypatch):
    monkeypatch.setattr("whatsapp_client.outbox.ANSWER_TIMEOUT", 0.2)
    sent: list[str] = []

    async def mute(peer: Peer) -> None:
        await peer.synced()
        sent.append((await peer.receive("send_message"))["messageId"])
        await peer.until_closed()

    async def good(peer: Peer) -> None:
        await peer.synced()
        frame = await peer.receive("send_message")
        sent.append(frame["messageId"])
        await peer.tick(frame, 1)
        await peer.until_closed()

    async with connected(mute, good) as (server, client):
        outgoing = client.send(C, "hello?")
        async with asyncio.timeout(5):
            await outgoing.sent()
        assert server.connections == 2
        assert sent == [outgoing.message_id] * 2


async def test_a_client_whose_callback_fails_goes_on_trying(monkeypatch):
    monkeypatch.setattr("whatsapp_client.client.LATER", 0.01)
    calls = []

    async def refresh(self, session: Session) -> None:
        session.token, session.expires_at = "new", 0

    def failing(changed: Session) -> None:
        calls.append(changed.token)
        if len(calls) < 3:
            raise OSError("disk full")

    monkeypatch.setattr("whatsapp_client.rest.Rest.refresh", refresh)
    old = session()
    old.expires_at = 1
    async with (
        ScriptedServer(idle) as server,
        Client(server.url, old, backoff=quick(), on_session=failing) as client,
    ):
        await client.wait_online(5)
