"""What ``./dev bench bytes`` adds for TLS and takes off for compression."""

from __future__ import annotations

import socket
import threading
import zlib

from bench.counted import Counted, deflated, tls
from tests.support.patience import until
from whatsapp.wire import frames as wire
from whatsapp.wire.codec import JSON


def test_a_record_of_tls_costs_its_header_its_type_and_its_tag() -> None:
    found = tls()
    assert found["record"] == 5 + 1 + 16
    assert found["resumed_handshake_down"] < found["full_handshake_down"]


def test_compression_counts_what_a_peer_would_get() -> None:
    payloads = [b'{"type":"typing","conversationId":"%d"}' % number for number in range(10)]
    made = zlib.compressobj(wbits=-12, memLevel=5)
    stream = b"".join(made.compress(one) + made.flush(zlib.Z_SYNC_FLUSH) for one in payloads)
    assert zlib.decompressobj(wbits=-12).decompress(stream) == b"".join(payloads)
    assert deflated(payloads, keep=True) == len(stream) - 4 * len(payloads)
    assert deflated(payloads, keep=True) < deflated(payloads, keep=False)


async def test_every_byte_that_the_kernel_counted_is_in_a_frame() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as peer:
                peer.recv(65_536)
                peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
                while peer.recv(65_536):
                    pass

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        one = Counted(f"ws://127.0.0.1:{listener.getsockname()[1]}/ws", JSON)
        one.send(wire.Sync())
        await until(lambda: not one.unexplained(), "the kernel's count is ours", 5)
        one.close()
        server.join(5)
