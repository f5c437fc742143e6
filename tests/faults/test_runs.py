"""What a pass of a lane has for a gateway is written at once to each socket that may have it so, and one by one to the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import astuple

from delivery.live import JOINED_BYTES, Live
from delivery.session import Hub, Session, State
from delivery.store.values import Logged
from tests.gateway.phone import new_id
from whatsapp.wire.codec import JSON, PROTOBUF, Codec


class Socket:
    """Keeps what was written, a list for each write."""

    def __init__(self) -> None:
        self.paused = False
        self.broken = False
        self.writes: list[list[bytes]] = []

    def write(self, data: bytes) -> None:
        self.write_joined([data])

    def join(self, frames: Sequence[bytes]) -> object:
        return list(frames)

    def write_joined(self, joined: Any) -> None:
        if self.broken:
            raise RuntimeError("the handler is closed")
        self.writes.append(joined)

    def close(self, code: int, reason: str = "") -> None:
        pass


class Gateway:
    def __init__(self) -> None:
        self.hub = Hub()
        reader: Any = None  # nothing is read
        self.live = Live(self.hub, reader)
        self.group = new_id()
        self.sender, self.device = new_id(), new_id()

    def session(self, codec: Codec = JSON, *, device: str = "", sent: int = 0) -> tuple[Session, Socket]:
        socket = Socket()
        session = Session(new_id(), device or new_id(), codec, socket, 0)
        session.state = State.LIVE
        session.sent[self.group] = sent
        self.hub.add(session)
        return session, socket

    def run(self, *seqs: int, extra: bytes | None = None) -> None:
        """These events come for everybody here, in the order in which they connected."""
        events = [
            astuple(
                Logged(self.group, seq, 0, self.sender, self.device, new_id(), "text", b"x", 1, 1, 0, extra)
            )
            for seq in seqs
        ]
        self.live.on_group([(events, list(self.hub.by_user))])

    def seqs(self, session: Session, socket: Socket) -> list[list[int]]:
        return [
            [session.codec.decode_server(frame).seq for frame in write]  # type: ignore[union-attr]
            for write in socket.writes
        ]


async def test_a_run_is_one_write_in_ones_own_encoding() -> None:
    gateway = Gateway()
    both = [gateway.session(codec) for codec in (JSON, PROTOBUF)]
    gateway.run(1, 2, 3)
    assert [gateway.seqs(*one) for one in both] == [[[1, 2, 3]]] * 2
    assert [session.sent[gateway.group] for session, _ in both] == [3, 3]


async def test_a_socket_that_breaks_in_a_run_takes_nothing_from_the_others() -> None:
    gateway = Gateway()
    broken, healthy = gateway.session(), gateway.session()
    broken[1].broken = True
    gateway.run(1, 2)
    assert gateway.seqs(*healthy) == [[1, 2]]
    assert broken[0].sent[gateway.group] == 0, "nothing counts as written"


async def test_who_has_a_part_gets_the_rest_one_by_one() -> None:
    gateway = Gateway()
    one = gateway.session(sent=2)
    gateway.run(1, 2, 3, 4)
    assert gateway.seqs(*one) == [[3], [4]]


async def test_a_full_socket_is_read_for_later() -> None:
    gateway = Gateway()
    session, socket = gateway.session()
    socket.paused = True
    gateway.run(1, 2)
    assert (socket.writes, list(session.behind), session.sent[gateway.group]) == ([], [gateway.group], 0)


async def test_who_sent_it_is_written_nothing() -> None:
    gateway = Gateway()
    session, socket = gateway.session(device=gateway.device)
    session.own[gateway.group] = {3}
    gateway.run(1, 2)
    assert (socket.writes, session.sent[gateway.group], session.own) == ([], 3, {})


async def test_a_large_run_is_written_one_by_one() -> None:
    """So that a buffer that fills up on the way ends it. What is beside the content counts: mentions may be most of it."""
    gateway = Gateway()
    one = gateway.session()
    gateway.run(1, 2, extra=b"\x81\xa1x\xc4\xff" + bytes(255))
    assert gateway.seqs(*one) == [[1, 2]]
    size = JOINED_BYTES // 2
    gateway.run(3, 4, extra=b"\x81\xa1x\xc5" + size.to_bytes(2, "big") + bytes(size))
    assert gateway.seqs(*one) == [[1, 2], [3], [4]]
