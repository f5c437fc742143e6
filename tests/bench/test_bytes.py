"""What ``./dev bench bytes`` adds for TLS and takes off for compression."""

from __future__ import annotations

import zlib

from bench.counted import deflated, tls


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
