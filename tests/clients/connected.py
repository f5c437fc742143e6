"""A client of the scripted server, and what tests of both say."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
from collections.abc import AsyncIterator

from whatsapp_client import Backoff, Client, Session, Timing, events
from whatsapp_client.stream import EventStream

from .scripted import Peer, Script, ScriptedServer

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
