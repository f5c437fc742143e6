"""Frames that no honest client sends. The socket lives unless it must not; nobody else notices."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.gateway.peer import Peer, talking, texts
from tests.gateway.phone import Phone, Runs, new_id, sign_up
from tests.gateway.raw import BINARY, CLOSE, CONT, PING, PONG, TEXT, RawSocket, frame
from whatsapp.wire import frames
from whatsapp.wire.codec import CODECS, PROTOBUF


@pytest.fixture
async def phone(stack: Runs) -> Phone:
    return await sign_up(stack)


@pytest.fixture
async def json_peer(stack: Runs, phone: Phone) -> AsyncIterator[Peer]:
    async with await Peer.open(stack.ws, phone, "json") as peer:
        yield peer


# -- not a frame -----------------------------------------------------------------------------------------------------------

NOT_JSON = {
    "truncated": b'{"type":"ack","positions":{',
    "a list": b"[]",
    "a number": b"1e999",
    "nothing": b"",
    "two objects": b"{}{}",
    "no type": b'{"token":"x"}',
    "deep": b'{"type":"call","payload":' + b"[" * 50_000,
    "deep and closed": b'{"type":"call","payload":' + b"[" * 40_000 + b"]" * 40_000 + b"}",
    "null": b"null",
    "a type that is a number": b'{"type":5}',
}
NOT_PROTOBUF = {
    "truncated": PROTOBUF.encode(frames.Ack({new_id(): 5}))[:-3],
    "text": b'{"type":"sync"}',
    "a length beyond the end": b"\x52\xff\xff\xff\xff\x0f",
    "an endless varint": b"\x80" * 40,
    "nothing": b"",
    "groups": b"\x0b" * 50_000,
}


@pytest.mark.parametrize("kind", NOT_JSON)
async def test_what_is_no_json_frame(stack: Runs, phone: Phone, kind: str) -> None:
    await _not_a_frame(stack, phone, "json", NOT_JSON[kind])


@pytest.mark.parametrize("kind", NOT_PROTOBUF)
async def test_what_is_no_protobuf_frame(stack: Runs, phone: Phone, kind: str) -> None:
    await _not_a_frame(stack, phone, "protobuf", NOT_PROTOBUF[kind])


async def _not_a_frame(stack: Runs, phone: Phone, codec: str, data: bytes) -> None:
    """Answered, survived twice, the third in a row closes with 4400."""
    async with await Peer.open(stack.ws, phone, codec) as peer:
        for _ in range(2):
            await peer.raw(data)
            error = await peer.expect(frames.Error)
            assert error.code in ("bad_request", "unknown_type")
        await peer.round_trip()  # a good one in between: counted anew
        for _ in range(3):
            await peer.raw(data)
        assert await peer.closed() == 4400
        assert len(peer.waiting(frames.Error)) == 3


async def test_invalid_utf8_in_a_text_message(stack: Runs, phone: Phone) -> None:
    async with await RawSocket.open(stack.ws, "json", phone.token) as raw:
        await ready(raw)
        for _ in range(3):
            raw.write(frame(TEXT, b'{"type":"sync","ref":"\xff\xfe"}'))
        code, before = await raw.until_closed()
        assert code == 4400
        answers = [CODECS["json"].decode_server(got.payload) for got in before]
        assert [answer.code for answer in answers] == ["bad_request"] * 3


@pytest.mark.parametrize(("codec", "kind"), [("protobuf", TEXT), ("json", BINARY)])
async def test_the_other_kind_of_message_is_no_frame(
    stack: Runs, phone: Phone, codec: str, kind: int
) -> None:
    async with await RawSocket.open(stack.ws, codec, phone.token) as raw:
        await ready(raw)
        for _ in range(3):
            raw.write(frame(kind, CODECS[codec].encode(frames.Sync())))
        code, before = await raw.until_closed()
        assert code == 4400
        assert len(before) == 3


# -- frames with wrong contents ------------------------------------------------------------------------------------------------

ID = "0192e4a0-0000-7000-8000-000000000001"
WRONG = {
    "huge integer": {"type": "sync", "limit": 10**30},
    "negative": {"type": "ack", "positions": {ID: -1}},
    "2^53": {"type": "ack", "positions": {ID: 2**53}},
    "a float": {"type": "ack", "positions": {ID: 1.5}},
    "a text": {"type": "ack", "positions": {ID: "1"}},
    "a list for a map": {"type": "ack", "positions": [ID]},
    "no positions": {"type": "ack"},
    "a bad id": {"type": "typing", "conversationId": "x", "active": True},
    "an upper-case id": {"type": "typing", "conversationId": ID.upper().replace("1", "A"), "active": True},
    "an id with a newline": {"type": "typing", "conversationId": ID + "\n", "active": True},
    "no base64": {
        "type": "send_message", "messageId": ID, "conversationId": ID, "encryptedContent": "***", "timestamp": 1,
    },
    "seqNum 0": {
        "type": "send_message", "messageId": ID, "conversationId": ID, "encryptedContent": "", "timestamp": 1, "seqNum": 0,
    },
    "limit 0": {"type": "sync", "limit": 0},
    "an unknown status": {"type": "status_update", "conversationId": ID, "status": "seen", "upTo": 1},
    "501 users": {"type": "presence_subscribe", "userIds": [ID] * 501},
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
async def test_wrong_fields_are_a_bad_request_and_the_socket_lives(json_peer: Peer, kind: str) -> None:
    for _ in range(4):  # never counted as malformed
        await json_peer.raw(json.dumps({**WRONG[kind], "ref": "mine"}).encode())
        error = await json_peer.expect(frames.Error)
        assert (error.code, error.ref, error.retryable) == ("bad_request", "mine", False)
    await json_peer.round_trip()


async def test_an_unknown_type_is_answered_and_unknown_fields_are_ignored(json_peer: Peer) -> None:
    for _ in range(4):
        await json_peer.raw(b'{"type":"teleport","ref":"mine"}')
        error = await json_peer.error("unknown_type")
        assert error.ref == "mine"
    await json_peer.raw(b'{"type":"sync","ref":"s","colour":{"deep":[1,2,{"x":null}]}}')
    assert (await json_peer.expect(frames.SyncComplete)).ref == "s"


async def test_server_frames_from_a_client_are_unknown(json_peer: Peer) -> None:
    for kind in ("ready", "message", "sync_batch", "error", "event", "notice", "reconnect"):
        await json_peer.raw(json.dumps({"type": kind, "ref": kind}).encode())
        answer = await json_peer.take(lambda f, kind=kind: f.ref == kind, kind)
        assert answer.code == "unknown_type"


async def test_an_unknown_body_in_protobuf(stack: Runs, phone: Phone) -> None:
    async with await Peer.open(stack.ws, phone, "protobuf") as peer:
        for _ in range(4):
            await peer.raw(b"\x0a\x04mine" + b"\xc2\x3e\x00")  # ref, then field 1000
            error = await peer.error("unknown_type")
            assert error.ref == "mine"
        await peer.round_trip()


async def test_a_ref_that_is_too_long(json_peer: Peer) -> None:
    await json_peer.raw(json.dumps({"type": "sync", "ref": "x" * 37}).encode())
    await json_peer.error("bad_request")
    await json_peer.round_trip()


# -- WebSocket frames ----------------------------------------------------------------------------------------------------------


async def ready(raw: RawSocket) -> None:
    got = await raw.receive()
    assert got is not None
    assert got.opcode in (TEXT, BINARY)


def asks(codec: str, ref: str) -> bytes:
    """A frame that is answered with its ref."""
    return CODECS[codec].encode(frames.Auth("again", ref=ref))


async def answered(raw: RawSocket, codec: str, ref: str) -> None:
    got = await raw.receive()
    assert got is not None
    assert CODECS[codec].decode_server(got.payload).ref == ref


BROKEN = {
    "unmasked": frame(TEXT, b"{}", masked=False),
    "reserved bit 1": frame(TEXT, b"{}", reserved=4),
    "reserved bit 3": frame(TEXT, b"{}", reserved=1),
    "reserved opcode": frame(3, b"{}"),
    "reserved control opcode": frame(11),
    "a continuation of nothing": frame(CONT, b"{}"),
    "a message inside a fragmented one": frame(TEXT, b"{", final=False) + frame(TEXT, b"}"),
    "a fragmented ping": frame(PING, b"x", final=False),
    "a long ping": frame(PING, b"x" * 126),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_protocol_error_is_1002(stack: Runs, phone: Phone, codec: str, kind: str) -> None:
    async with await RawSocket.open(stack.ws, codec, phone.token) as raw:
        await ready(raw)
        raw.write(BROKEN[kind])
        code, _ = await raw.until_closed()
        assert code == 1002


@pytest.mark.parametrize("size", [131_073, 2**31, 2**63 - 1])
async def test_a_frame_above_128_kib_is_1009_before_it_is_read(
    stack: Runs, phone: Phone, codec: str, size: int
) -> None:
    async with await RawSocket.open(stack.ws, codec, phone.token) as raw:
        await ready(raw)
        raw.write(frame(TEXT, b"", size=size))
        code, _ = await raw.until_closed()
        assert code == 1009


async def test_fragments_above_128_kib_are_1009(stack: Runs, phone: Phone, codec: str) -> None:
    async with await RawSocket.open(stack.ws, codec, phone.token) as raw:
        await ready(raw)
        raw.write(frame(TEXT, b"x" * 65_536, final=False) + frame(CONT, b"x" * 65_536, final=False))
        raw.write(frame(CONT, b"x"))
        code, _ = await raw.until_closed()
        assert code == 1009


async def test_a_frame_of_128_kib_is_taken(stack: Runs, phone: Phone) -> None:
    async with await RawSocket.open(stack.ws, "json", phone.token) as raw:
        await ready(raw)
        body = asks("json", "mine")
        raw.write(frame(TEXT, body + b" " * (131_072 - len(body))))
        await answered(raw, "json", "mine")


async def test_endless_empty_fragments_end(stack: Runs, phone: Phone) -> None:
    """C7: bytes are not the only thing that fills memory."""
    async with await RawSocket.open(stack.ws, "json", phone.token) as raw:
        await ready(raw)
        raw.write(frame(TEXT, b"", final=False) + frame(CONT, b"", final=False) * 5_000)
        code, _ = await raw.until_closed()
        assert code == 1009


async def test_fragments_with_a_ping_between_them(stack: Runs, phone: Phone, codec: str) -> None:
    kind = TEXT if CODECS[codec].text else BINARY
    async with await RawSocket.open(stack.ws, codec, phone.token) as raw:
        await ready(raw)
        body = asks(codec, "mine")
        raw.write(frame(kind, body[:3], final=False) + frame(PING, b"hello") + frame(CONT, b"", final=False))
        raw.write(frame(CONT, body[3:]))
        got = await raw.receive()
        assert got == (PONG, b"hello")
        await answered(raw, codec, "mine")


async def test_a_first_fragment_that_is_empty(stack: Runs, phone: Phone) -> None:
    """RFC 6455 allows it: the message is the continuation's."""
    async with await RawSocket.open(stack.ws, "json", phone.token) as raw:
        await ready(raw)
        raw.write(frame(TEXT, b"", final=False) + frame(CONT, asks("json", "mine")))
        await answered(raw, "json", "mine")


async def test_one_byte_at_a_time(stack: Runs, phone: Phone, codec: str) -> None:
    kind = TEXT if CODECS[codec].text else BINARY
    async with await RawSocket.open(stack.ws, codec, phone.token) as raw:
        await ready(raw)
        for byte in frame(kind, asks(codec, "mine")):
            raw.write(bytes((byte,)))
            await raw.writer.drain()
        await answered(raw, codec, "mine")


async def test_the_closing_handshake(stack: Runs, phone: Phone, codec: str) -> None:
    for payload, code in (
        (struct.pack("!H", 1000) + b"bye", 1000),
        (b"", 1005),
        (struct.pack("!H", 4999), 4999),
    ):
        async with await RawSocket.open(stack.ws, codec, phone.token) as raw:
            await ready(raw)
            raw.write(frame(CLOSE, payload))
            got = await raw.receive()
            assert got is not None
            assert got.opcode == CLOSE
            assert (got.code or 1005) == code
            assert await raw.receive() is None


async def test_what_follows_a_close_frame_is_not_acted_upon(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert ann.phone is not None
        laptop = await sign_up(stack, ann.phone.number)
        kind = TEXT if CODECS[codec].text else BINARY
        async with await RawSocket.open(stack.ws, codec, laptop.token) as raw:
            await ready(raw)
            late = ann.message(conversation, "too late")
            raw.write(frame(CLOSE, struct.pack("!H", 1000)) + frame(kind, CODECS[codec].encode(late)))
            await raw.until_closed()
        await ann.say(conversation, "fence")
        assert texts(await bob.messages(1)) == ["fence"]


async def test_others_do_not_notice(stack: Any, codec: str) -> None:
    """While one socket is hostile the others of its gateway are served."""
    url = stack.gateways["gateway-1"]["ws"]
    async with talking(stack, codec, apart=False) as (ann, bob, conversation):
        for data in (*BROKEN.values(), frame(TEXT, NOT_JSON["deep and closed"])):
            async with await RawSocket.open(url, codec) as raw:
                raw.write(data)
                await ann.say(conversation)
                await bob.messages(1)
