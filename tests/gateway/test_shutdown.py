"""SIGTERM: slots for everybody, what is in flight is answered, 1012, the end; the other gateway goes on (C1, C2, C3)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from chats.gateway import SETTLE_S
from tests.gateway.peer import Peer, events_of, fill, texts
from tests.gateway.phone import couple, rest, sign_up
from tests.support.stack import System
from whatsapp.wire import frames


@pytest.fixture(scope="module")
def stack() -> Iterator[Any]:
    with System(worker=False) as system:
        yield system


@pytest.fixture
def draining(stack: Any) -> Iterator[Any]:
    """Started again behind the test."""
    yield stack
    stack.restart("gateway-1")


async def test_sigterm_drains(draining: Any, codec: str) -> None:
    stack = draining
    ann, bob, conversation = await couple(stack)
    first, second = [gateway["ws"] for gateway in stack.gateways.values()]
    idle = await Peer.open(first, await sign_up(stack), codec)
    unready = await Peer.open(first, codec=codec)
    a = await Peer.open(first, ann, codec)
    async with await Peer.open(second, bob, codec) as b:
        sends = [a.message(conversation, str(number), seq_num=number) for number in range(1, 301)]
        for number, message in enumerate(sends):
            if number == 100:
                stack.kill("gateway-1", signal.SIGTERM)
            try:
                await a.send(message)
            except Exception:  # closed by now
                break
        for peer in (a, idle, unready):
            told = await peer.expect(frames.Reconnect)
            assert 0 <= told.after_ms < 5_000
            assert told.reason == "deploy"
            assert await peer.closed() == 1012
        ticked = {
            f.message_id: f.seq for f in a.log if isinstance(f, frames.StatusUpdate) and f.status == "sent"
        }
        # What it took it has answered: the rest was never stored, and all of it goes over the other gateway.
        async with await Peer.open(second, ann, codec) as again:
            for message in sends:
                answer = await again.ask(message)
                assert isinstance(answer, frames.StatusUpdate), answer
                assert answer.duplicate is (message.message_id in ticked), answer
        assert texts(await b.messages(300)) == [str(number) for number in range(1, 301)]
        await asyncio.to_thread(stack.wait_dead, "gateway-1", 15)
        # The shared port leads to who is left.
        for _ in range(5):
            async with await Peer.open(stack.ws, await sign_up(stack), codec) as peer:
                await peer.round_trip()
            assert (await rest(stack.http, "GET", "/health/ready")).status_code == 200


async def test_sends_behind_reconnect_are_refused_and_the_drain_ends(draining: Any, codec: str) -> None:
    """A sender that does not heed ``reconnect`` cannot keep the process from ending."""
    stack = draining
    ann, bob, conversation = await couple(stack)
    first, second = [gateway["ws"] for gateway in stack.gateways.values()]
    peer = await Peer.open(first, ann, codec)
    sent: list[frames.SendMessage] = []

    async def flood() -> None:
        while True:
            for _ in range(5):
                sent.append(peer.message(conversation, str(len(sent))))
                await peer.send(sent[-1])
            await asyncio.sleep(0.001)  # so many at once that an append is always in flight

    flooding = asyncio.create_task(flood())
    await peer.expect(frames.StatusUpdate, status="sent")
    stack.kill("gateway-1", signal.SIGTERM)
    await peer.expect(frames.Reconnect)
    refused = await peer.expect(frames.Error, code="unavailable", message="this gateway is going away")
    assert (refused.retryable, bool(refused.message_id)) == (True, True)
    assert await peer.closed(SETTLE_S / 2) == 1012
    flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)
    stored = {f.message_id for f in peer.log if isinstance(f, frames.StatusUpdate) and f.status == "sent"}
    errors = {f.message_id for f in peer.log if isinstance(f, frames.Error)}
    assert not stored & errors
    async with await Peer.open(second, bob, codec, sync=False) as b:
        assert {event.message_id for event in events_of(await b.sync())} == stored


async def test_a_client_in_its_backlog_goes_on_elsewhere(draining: Any, codec: str) -> None:
    stack = draining
    ann, bob, conversation = await couple(stack)
    first, second = [gateway["ws"] for gateway in stack.gateways.values()]
    async with await Peer.open(second, ann, codec) as a:
        await fill(a, conversation, 250)
        peer = await Peer.open(first, bob, codec, sync=False)
        await peer.send(frames.Sync())
        batch = await peer.expect(frames.SyncBatch)
        await peer.ack(conversation, batch.through)
        await peer.expect(frames.SyncBatch)  # its ack is withheld
        stack.kill("gateway-1", signal.SIGTERM)
        assert await peer.closed() == 1012
        # Positions that were acknowledged before a drain are saved by it.
        await asyncio.to_thread(stack.wait_dead, "gateway-1", 15)
        async with await Peer.open(second, bob, codec, sync=False) as again:
            assert [event.seq for event in events_of(await again.sync())] == list(range(101, 251))
            await a.expect(frames.StatusUpdate, status="delivered", up_to=250)
