"""Clients that are a fault: who repeats and shuffles, who never reads, who sends what no client sends, and many at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from websockets.exceptions import ConnectionClosed

from tests.faults.history import History
from tests.faults.people import Device
from tests.faults.trials.chronicle import Chronicle
from tests.faults.trials.field import Field
from tests.faults.trials.members import Socket
from tests.gateway.phone import Phone, link, new_id, sign_up
from tests.gateway.raw import BINARY, CONT, PING, TEXT, RawSocket, frame
from tests.groups.test_sockets import make
from whatsapp.wire import frames
from whatsapp.wire.codec import JSON

#: No client may fill the system with what it does not read: bytes of a message that slow readers get.
PIECE = bytes(60_000)
PIECES, AT_ONCE = 560, 8


@contextlib.asynccontextmanager
async def listeners(field: Field, count: int) -> AsyncIterator[list[Device]]:
    """So many devices of five people, who have nothing to say. Their history is their own."""
    people = [await sign_up(field.system) for _ in range(count // 5)]
    phones: list[Phone] = []
    for person in people:
        phones += [person, *[await link(person) for _ in range(4)]]
    devices = [Device(History(), phone, [field.rig.one, field.rig.two]) for phone in phones]
    await asyncio.gather(*[device.online(timeout=60) for device in devices])
    try:
        yield devices
    finally:
        await asyncio.gather(*[device.leave() for device in devices], return_exceptions=True)


async def jugglers(field: Field) -> None:
    """Two devices number their messages, send each up to four times, over two sockets and in any order."""
    await asyncio.gather(
        *[_juggle(field, device) for device in field.crowd.devices if isinstance(device, Socket)]
    )


async def _juggle(field: Field, device: Socket) -> None:
    """It has a device of its own, so that nobody else numbers."""
    chance = field.chance
    phone = await link(device.phone)
    users = [device.phone.user]
    conversation = next(
        c for c, members in field.crowd.talks.items() if users[0] in members and len(members) == 2
    )
    juggler = Socket(field.crowd.chronicle, phone, [field.rig.one, field.rig.two])
    juggler.seen.begins = dict.fromkeys(
        field.crowd.talks, 1 << 53
    )  # linked in the middle: what it is owed others show
    number = 0
    try:
        await juggler.online(timeout=60)
        for _ in range(6):
            sends = [juggler.prepare(conversation, f"{phone.device} {number + n}") for n in range(8)]
            numbered = {sent.message_id: number + n + 1 for n, sent in enumerate(sends)}
            number += len(sends)
            async with asyncio.timeout(60):
                while any(not sent.seq for sent in sends):
                    if not juggler.alive:
                        await juggler.connect(timeout=60)
                    some = [sent for sent in sends if not sent.seq] * 2 + chance.choices(sends, k=4)
                    chance.shuffle(some)
                    await asyncio.gather(
                        *[juggler.attempt(sent, seq_num=numbered[sent.message_id]) for sent in some]
                    )
    finally:
        await juggler.leave()


async def slow_readers(field: Field) -> None:
    """A group whose other members are connected and never read is written full."""
    writer, *others = [await sign_up(field.system) for _ in range(7)]
    device = Socket(Chronicle(field.system.data / "slow.jsonl"), writer, [field.rig.one])
    await device.online(timeout=60)
    try:
        async with contextlib.AsyncExitStack() as sockets:
            for other in others:
                raw = await RawSocket.open(field.rig.two, "json", other.token, receive_buffer=8_192)
                await sockets.enter_async_context(raw)
                raw.write(frame(TEXT, JSON.encode(frames.Sync())))
                # With nothing to acknowledge it is live at once; from here on nobody reads.
                while (got := await raw.receive()) is not None and b'"sync_complete"' not in got.payload:
                    pass
            group = await make(writer, *others)
            for number in range(0, PIECES, AT_ONCE):
                await asyncio.gather(*[_piece(device, group, number + n) for n in range(AT_ONCE)])
    finally:
        await device.leave()


async def _piece(device: Socket, group: str, number: int) -> None:
    sent = device.prepare(group, "")
    sent.content = PIECE + str(number).encode()
    while not await device.attempt(sent):
        if not device.alive:
            await device.connect(timeout=60)


def _nonsense(chance_bytes: bytes) -> list[bytes]:
    """Bytes that no honest client writes; each has its own socket."""
    unknown = JSON.encode(frames.Ack({new_id(): 1 << 50}))
    return [
        chance_bytes,
        frame(TEXT, b"{" * 30_000),
        frame(BINARY, chance_bytes),
        frame(TEXT, b'{"type":"send_message"}') * 50,
        frame(TEXT, unknown) * 200,
        frame(CONT, b"x"),
        frame(PING, bytes(126)),
        frame(TEXT, b"x", masked=False),
        frame(TEXT, b"", size=1 << 40),
        frame(TEXT, JSON.encode(frames.StatusUpdate(new_id(), "read", up_to=1 << 52))) * 20,
        frame(TEXT, JSON.encode(frames.Sync())) * 300,
    ]


async def hostile(field: Field) -> None:
    """What no client sends comes all the time, from somebody who is signed in and from somebody who is not."""
    stranger = await sign_up(field.system)

    async def one(data: bytes, token: str) -> None:
        with contextlib.suppress(
            OSError, AssertionError, asyncio.IncompleteReadError, ConnectionClosed, TimeoutError
        ):
            async with await RawSocket.open(
                field.chance.choice([field.rig.one, field.rig.two]), "json", token
            ) as raw:
                raw.write(data)
                await raw.until_closed(0.5)

    for _ in range(6):
        await asyncio.gather(
            *[one(data, token) for data in _nonsense(os.urandom(2_000)) for token in (stranger.token, "")]
        )
