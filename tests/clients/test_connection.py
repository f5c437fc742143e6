"""The client over real sockets: connecting, and connecting again."""

from __future__ import annotations

import asyncio
import random

import pytest

from whatsapp_client import Backoff, Client, RestError, Session, Stopped, events

from .connected import C, collect, connected, eventually, idle, quick, session
from .scripted import Peer, ScriptedServer, before_ready


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


async def test_a_client_that_is_turned_away_again_comes_in_its_slot_and_no_later():
    """The server spreads its clients by their slots: delays that grow with each would miss them."""

    @before_ready
    async def busy(peer: Peer) -> None:
        await peer.send(type="reconnect", afterMs=40, reason="busy")
        await peer.close(1013)

    async with connected(*[busy] * 8, idle) as (server, client):
        states = await collect(client.events(), 18, events.State)
        waits = [state.retry_in for state in states if state.status == "waiting"]
        assert len(waits) == 8
        assert all(0.04 <= wait <= 0.05 for wait in waits)  # `quick` begins at 0.01
        assert server.connections == 9


def test_a_slot_of_nothing_gets_delays_that_grow():
    backoff = Backoff(first=0.1, ceiling=30, rng=random.Random(1))
    assert max(backoff.slot(0.0) for _ in range(10)) > 2


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
