"""The client over real sockets: order on the screen, holes, pages, what is acknowledged."""

from __future__ import annotations

from whatsapp_client import Client, Timing, events

from .connected import C, collect, connected, eventually, message, quick, session
from .scripted import Peer, ScriptedServer


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
        ack = await peer.receive("ack")
        if ack["positions"] == {C: 1}:  # of the first message, on a machine that is late
            ack = await peer.receive("ack")
        assert ack["positions"] == {C: 3}
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


async def test_another_device_of_this_user_changes_the_number():
    async def script(peer: Peer) -> None:
        await peer.synced()
        for user_id, number in (("bob", "+15550007"), ("ann", ""), ("ann", "+15550009")):
            await peer.send(
                type="notice", kind="number_changed", data={"userId": user_id, "phoneNumber": number}
            )
        await peer.until_closed()

    kept: list[str] = []
    async with (
        ScriptedServer(script) as server,
        Client(server.url, session(), on_session=lambda changed: kept.append(changed.phone_number)) as client,
    ):
        await collect(client.events(), 3, events.Notice)
        assert (client.session.phone_number, kept) == ("+15550009", ["+15550009"])
