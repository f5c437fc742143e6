"""A socket that counts what goes over it, by frame, by the kernel's own counters, and what TLS would add."""

from __future__ import annotations

import base64
import os
import select
import socket
import ssl
import struct
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from devtools.certificate import self_signed
from whatsapp.wire.codec import Codec

#: Bytes of the headers of a segment: IPv4 20, TCP 20, its timestamps 12. Over IPv6 20 more.
SEGMENT = 52
PATIENCE_S = 20.0
#: ``struct tcp_info`` of Linux: bytes acknowledged and received, segments sent and received.
_TCP_INFO = struct.Struct("=QQII").unpack_from
_AT = 120


class Frame(NamedTuple):
    """``way``: "up" from the client. ``framing``: bytes of the WebSocket header, with the mask of a client."""

    way: str
    kind: str
    payload: int
    framing: int


class Tcp(NamedTuple):
    """Of a connection, from its beginning. The segments are those of the loopback, whose MSS no frame here reaches."""

    bytes_up: int
    bytes_down: int
    segments_up: int
    segments_down: int

    def since(self, before: Tcp) -> Tcp:
        return Tcp(*(now - then for now, then in zip(self, before, strict=True)))


class Counted:
    """One connection of one device. ``token``: carried by the upgrade; without one, the first frame has to be ``auth``."""

    def __init__(self, url: str, codec: Codec, token: str = "") -> None:
        parts = urlsplit(url)
        self.codec = codec
        self.ping_ms = 0  # as the server says in ``ready``
        self.frames: list[Frame] = []
        self.payloads: dict[str, list[bytes]] = {"up": [], "down": []}
        self._inbox: list[Any] = []
        self._rest = b""
        self._socket = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        request = (
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: whatsapp.v3.2.{codec.name}\r\n{authorization}\r\n"
        ).encode()
        self._socket.sendall(request)
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._socket.recv(65_536)
        head, _, self._rest = head.partition(b"\r\n\r\n")
        if b" 101 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(f"no socket: {head[:200]!r}")
        self.upgrade = {"up": len(request), "down": len(head) + 4}

    def send(self, frame: Any) -> None:
        payload = self.codec.encode(frame)
        self._send(0x81 if self.codec.text else 0x82, payload, _kind(frame))
        self.payloads["up"].append(payload)

    def expect(self, kind: str) -> Any:
        """The next frame of this kind; others before it stay. Raises TimeoutError."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for index, frame in enumerate(self._inbox):
                if _kind(frame) == kind:
                    return self._inbox.pop(index)
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {kind}, but {[_kind(frame) for frame in self._inbox]}")
            self.read(0.2)

    def read(self, seconds: float) -> None:
        """Take what comes within so long, or the first of it."""
        if self._rest or select.select([self._socket], [], [], seconds)[0]:
            if select.select([self._socket], [], [], 0)[0]:
                data = self._socket.recv(1 << 20)
                if not data:
                    raise ConnectionError("the server has ended the connection")
                self._rest += data
            self._parse()

    def fileno(self) -> int:
        return self._socket.fileno()

    def tcp(self) -> Tcp:
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        seen = Tcp(*_TCP_INFO(info, _AT))
        return seen._replace(
            bytes_up=seen.bytes_up - 1
        )  # of who connects, the SYN counts as a byte that was acknowledged

    def unexplained(self) -> dict[str, int]:
        """Bytes that the kernel has counted and that are in no frame, once all is acknowledged; empty: every byte is told."""
        tcp = self.tcp()
        counted = {
            way: self.upgrade[way] + sum(one.payload + one.framing for one in self.frames if one.way == way)
            for way in ("up", "down")
        }
        kernel = {"up": tcp.bytes_up, "down": tcp.bytes_down}
        return {way: kernel[way] - counted[way] for way in counted if kernel[way] != counted[way]}

    def close(self) -> None:
        self._send(0x88, b"\x03\xe8", "close")
        self._socket.close()

    def _send(self, first: int, payload: bytes, kind: str) -> None:
        size = len(payload)
        head = bytes((first, 0x80 | size)) if size < 126 else struct.pack("!BBH", first, 0xFE, size)
        if size >= 65_536:
            head = struct.pack("!BBQ", first, 0xFF, size)
        self._socket.sendall(head + bytes(4) + payload)
        self.frames.append(Frame("up", kind, size, len(head) + 4))

    def _parse(self) -> None:
        while len(self._rest) >= 2:
            first, size = self._rest[0], self._rest[1]
            head = 2
            if size == 126:
                head, size = 4, int.from_bytes(self._rest[2:4], "big")
            elif size == 127:
                head, size = 10, int.from_bytes(self._rest[2:10], "big")
            if len(self._rest) < head + size:
                return
            payload, self._rest = self._rest[head : head + size], self._rest[head + size :]
            if first == 0x89:
                self.frames.append(Frame("down", "ping", size, head))
                self._send(0x8A, payload, "pong")
                continue
            if first == 0x88:
                raise ConnectionError(f"the server closes with {payload!r}")
            frame = self.codec.decode_server(payload)
            self._inbox.append(frame)
            self.payloads["down"].append(payload)
            self.frames.append(Frame("down", _kind(frame), size, head))


def _kind(frame: Any) -> str:
    """Its type, of a ``status_update`` and a ``presence`` with what they say."""
    tag = str(frame.__struct_config__.tag)
    return f"{tag} {frame.status}" if tag in ("status_update", "presence") else tag


def deflated(payloads: Sequence[bytes], *, keep: bool) -> int:
    """Bytes of these messages with permessage-deflate (RFC 7692) as uvicorn would configure it: a window of 4 KiB, memory level
    5; ``keep``: one context for all of them."""
    total = 0
    made: Any = None
    for payload in payloads:
        if made is None or not keep:
            made = zlib.compressobj(wbits=-12, memLevel=5)
        total += len(made.compress(payload) + made.flush(zlib.Z_SYNC_FLUSH)) - 4
    return total


def tls() -> dict[str, int]:
    """What OpenSSL adds in memory, TLS 1.3, with a certificate of a P-256 key that signs itself: bytes of both handshakes (a real
    chain adds 1 to 3 KiB down), and around one record (22)."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "certificate.pem")
        file.write_bytes(b"".join(self_signed("chat.example")))
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(file)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    found: dict[str, int] = {}
    session = None
    for name in ("full", "resumed"):
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        near = client.wrap_bio(down, up, server_hostname="chat.example", session=session)
        far = server.wrap_bio(up, down, server_side=True)
        sizes = {"up": 0, "down": 0}
        done = {"near": False, "far": False}
        # What waits in a buffer is counted before the other end takes it.
        while not all(done.values()):
            for end, side, pipe, way in (("near", near, up, "up"), ("far", far, down, "down")):
                if not done[end]:
                    before = pipe.pending
                    try:
                        side.do_handshake()
                        done[end] = True
                    except ssl.SSLWantReadError:
                        pass
                    sizes[way] += pipe.pending - before
        before = down.pending  # tickets, which came with the end of the handshake, are in it
        far.write(b"x" * 100)
        found["record"] = down.pending - before - 100
        near.read(1_000)
        session = near.session
        found |= {f"{name}_handshake_{way}": size for way, size in sizes.items()}
        assert near.session_reused == (name == "resumed")
    return found
