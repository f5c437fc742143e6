"""The server side of a WebSocket (RFC 6455) on the message path: frames go straight from the transport to the consumer.

Opening it, and consumers that do not attach, are ``whatsapp/infra/asgi_socket.py``. This parses frames itself and calls
``on_frame`` in the same turn, without the ASGI queue and a task switch per frame, and writes without a coroutine. A consumer
reaches it as ``scope["whatsapp.socket"]``. Compression is off, pings are the gateway's.
"""

from __future__ import annotations

import struct
from asyncio import TimerHandle
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from websockets.exceptions import ProtocolError
from websockets.frames import Close as CloseFrame
from websockets.speedups import apply_mask

from whatsapp.infra import metrics
from whatsapp.infra.asgi_socket import AsgiSocket, OnEnd
from whatsapp.infra.limits import LIMITS

TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
PROTOCOL_ERROR, NO_UTF8, TOO_BIG = 1002, 1007, 1009
CLOSE_WAIT_S = 5.0
QUIET_S = 0.25
_PING = b"\x89\x00"
_U16 = struct.Struct("!H").unpack_from
_U64 = struct.Struct("!Q").unpack_from
_HEAD16 = struct.Struct("!BBH").pack
_HEAD64 = struct.Struct("!BBQ").pack

OnFrame = Callable[[bytes, bool], None]
#: A ping or pong came: False if it is one too many and not to be answered.
OnControl = Callable[[], bool]


class Socket(AsgiSocket):
    """Give this class to uvicorn as ``ws=``."""

    #: Those we closed and whose peers have not gone yet, the longest closed first: since when. Nobody else counts them any more.
    _closing: ClassVar[dict[Socket, float]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.paused = False  # the outbound buffer is full: whoever can wait, waits
        self.paused_at = 0.0  # loop time
        self.unanswered = 0  # pings since the peer was last heard
        self.on_resume: Callable[[], None] | None = None
        self._on_frame: OnFrame | None = None
        self._on_control: OnControl | None = None
        self._pong: bytes | None = None  # the latest ping's payload, answered when the buffer has emptied
        self._text = True
        self._rest = bytearray()
        self._need = 2
        self._parts: list[bytes] = []
        self._parts_text = True
        self._parts_size = 0
        self._quiet: TimerHandle | None = None  # set once the input makes no sense any more

    # for the consumer

    def attach(
        self,
        on_frame: OnFrame,
        *,
        text: bool,
        on_control: OnControl | None = None,
        on_end: OnEnd | None = None,
    ) -> None:
        """From here on frames go to ``on_frame(data, is_text)`` and :meth:`write` sends text or binary frames.

        With ``on_end`` the application may return: the connection goes on without its task, and ``on_end(code)`` is called
        once when it ends. A task that waits, what it waits on and what the handshake was made of were more than half of an
        idle connection."""
        self._on_frame = on_frame
        self._on_control = on_control
        self._on_end = on_end
        self._text = text
        self._leave_door()
        self.transport.set_write_buffer_limits(high=LIMITS.outbound_pause_bytes)  # type: ignore[attr-defined]

    def write(self, data: bytes) -> None:
        """Send one message. Dropped when the socket is closing; closes a consumer that is too slow with 4430."""
        if self.close_sent or self.disconnected:
            return
        size = len(data)
        opcode = 0x81 if self._text else 0x82
        if size < 126:
            self.transport.write(bytes((opcode, size)) + data)
        elif size < 65_536:
            self.transport.write(_HEAD16(opcode, 126, size) + data)
        else:
            self.transport.write(_HEAD64(opcode, 127, size) + data)
        if self.paused and self.transport.get_write_buffer_size() > LIMITS.outbound_close_bytes:  # type: ignore[attr-defined]
            self.close(4430, "slow consumer")

    def join(self, messages: Sequence[bytes]) -> bytes:
        """Messages as :meth:`write` would send them, for :meth:`write_joined` of every socket that sends text or every one
        that sends binary: a write is a system call, and the copies are made once."""
        opcode = 0x81 if self._text else 0x82
        parts: list[bytes] = []
        for data in messages:
            size = len(data)
            if size < 126:
                parts.append(bytes((opcode, size)))
            elif size < 65_536:
                parts.append(_HEAD16(opcode, 126, size))
            else:
                parts.append(_HEAD64(opcode, 127, size))
            parts.append(data)
        return b"".join(parts)

    def write_joined(self, data: bytes) -> None:
        """Send what :meth:`join` made. Bounds as for :meth:`write`."""
        if self.close_sent or self.disconnected:
            return
        self.transport.write(data)
        if self.paused and self.transport.get_write_buffer_size() > LIMITS.outbound_close_bytes:  # type: ignore[attr-defined]
            self.close(4430, "slow consumer")

    def ping(self) -> None:
        if not (self.close_sent or self.disconnected):
            self.unanswered += 1
            self.transport.write(_PING)

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame, wait a little for the peer's and end the connection. Idempotent."""
        if self.close_sent or self.disconnected:
            return
        self.close_sent = True
        metrics.closed(code)
        self.transport.write(_frame(CLOSE, CloseFrame(code, reason[:60]).serialize()))
        self._ended(code, reason)
        self.close_timer = self.loop.call_later(CLOSE_WAIT_S, self.transport.abort)  # type: ignore[attr-defined]
        now = self._closing[self] = self.loop.time()
        while len(self._closing) > LIMITS.closing_sockets:
            longest, since = next(iter(self._closing.items()))
            if now - since < QUIET_S:
                break  # a drain closes all in one turn, and each is to read its code
            del self._closing[longest]
            longest._end()

    def _ended(self, code: int, reason: str = "") -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            self.loop.call_soon(on_end, code)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})

    # asyncio.Protocol

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave_door()
        self._closing.pop(self, None)
        if self._on_frame is not None and not self.close_sent:
            metrics.closed(1006, "network")
        super().connection_lost(exc)
        self._ended(1006)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.paused = True
        self.paused_at = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.paused = False
        if self._pong is not None:
            payload, self._pong = self._pong, None
            self._answer_ping(payload)
        if self.on_resume is not None:
            self.on_resume()

    def data_received(self, data: bytes) -> None:
        if self._on_frame is None:
            super().data_received(data)
            return
        if self._quiet is not None:
            self._wait_for_quiet()
            return
        self.unanswered = 0
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < self._need:
                return
            data = bytes(rest)
            rest.clear()
        end = len(data)
        start = 0
        while True:
            have = end - start
            if have < 2:
                self._need = 2
                break
            first, second = data[start], data[start + 1]
            size = second & 0x7F
            head = 6
            if size > 125:
                head = 8 if size == 126 else 14
                if have < head:
                    self._need = head
                    break
                size = (_U16(data, start + 2) if size == 126 else _U64(data, start + 2))[0]
            if not second & 0x80 or first & 0x70:
                self._fail(PROTOCOL_ERROR, "unmasked frame or reserved bit")
                return
            if size > LIMITS.frame_bytes:
                self._fail(TOO_BIG, "frame too large")
                return
            stop = start + head + size
            if stop > end:
                self._need = head + size
                break
            payload = (
                apply_mask(data[start + head : stop], data[start + head - 4 : start + head]) if size else b""
            )
            if (first == 0x81 or first == 0x82) and not self._parts:
                if not self.close_sent:  # past our close frame only the peer's is of interest
                    self._on_frame(payload, first == 0x81)
            elif not self._unusual(first & 0x0F, bool(first & 0x80), payload):
                return
            start = stop
        if start < end:
            rest += data[start:]

    def _unusual(self, opcode: int, final: bool, payload: bytes) -> bool:
        """Everything but a whole text or binary message. False when the connection ends."""
        if opcode in (CLOSE, PING, PONG):
            if len(payload) > 125 or not final:
                self._fail(PROTOCOL_ERROR, "bad control frame")
                return False
            if opcode == CLOSE:
                self._peer_closes(payload)
                return False
            if not self.close_sent:
                allowed = self._on_control is None or self._on_control()
                if allowed and opcode == PING:
                    self._answer_ping(payload)
            return True
        if opcode not in (TEXT, BINARY, CONT) or (opcode == CONT) != bool(self._parts):
            self._fail(PROTOCOL_ERROR, "unexpected frame")
            return False
        if opcode != CONT:
            self._parts_text, self._parts_size = opcode == TEXT, 0
        self._parts_size += len(payload)
        if self._parts_size > LIMITS.frame_bytes or len(self._parts) > 1024:
            self._fail(TOO_BIG, "message too large")
            return False
        self._parts.append(payload)
        if final and self._on_frame is not None:
            message = b"".join(self._parts)
            self._parts = []
            if not self.close_sent:
                self._on_frame(message, self._parts_text)
        return True

    def _answer_ping(self, payload: bytes) -> None:
        """A peer that pings and does not read gets one pong for all its pings (RFC 6455, section 5.5.3), when it reads."""
        if self.paused:
            self._pong = payload
        elif not (self.close_sent or self.disconnected):
            self.transport.write(_frame(PONG, payload))

    def _peer_closes(self, payload: bytes) -> None:
        """A code that nobody may send, or a reason that is no UTF-8, is not answered with itself (RFC 6455, 7.4 and 8.1)."""
        try:
            code = CloseFrame.parse(payload).code
        except ProtocolError:
            self._fail(PROTOCOL_ERROR, "bad close frame")
            return
        except UnicodeDecodeError:
            self._fail(NO_UTF8, "reason is no UTF-8")
            return
        if not self.close_sent:
            self.close_sent = True
            metrics.closed(code, "client")
            answer = payload[:2] if code != 1005 else b""
            self.transport.write(_frame(CLOSE, answer))
            self._ended(code)
        self._end()

    def _end(self) -> None:
        """End the connection once what was written is out, or after ``CLOSE_WAIT_S`` if the peer does not read it."""
        if self.disconnected:
            return
        if self.close_timer is None:
            self.close_timer = self.loop.call_later(CLOSE_WAIT_S, self.transport.abort)  # type: ignore[attr-defined]
        self.transport.close()

    def _fail(self, code: int, reason: str) -> None:
        """The input cannot be read any further. It is drained all the same: closing over unread input resets the
        connection, and the peer would never see the code."""
        self._rest.clear()
        self.close(code, reason)
        self._wait_for_quiet()

    def _wait_for_quiet(self) -> None:
        if self._quiet is not None:
            self._quiet.cancel()
        self._quiet = self.loop.call_later(QUIET_S, self._end)

    def shutdown(self) -> None:
        """uvicorn shuts down; the gateway has closed its sockets by then in its own order."""
        if self._on_frame is None:
            super().shutdown()
        else:
            self.close(1012, "restart")


def _frame(opcode: int, payload: bytes) -> bytes:
    return bytes((0x80 | opcode, len(payload))) + payload
