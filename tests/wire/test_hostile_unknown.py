"""Frames of types and with fields that are unknown here, and what is said twice."""

import json
from typing import Any

import pytest

from tests.wire.hostile import CONVERSATION_BYTES, MESSAGE_BYTES, refuse
from tests.wire.samples import CONVERSATION, GOLDEN, MESSAGE, USER, refusal, send_message
from whatsapp.wire import whatsapp_pb2 as pb
from whatsapp.wire.codec import JSON, PROTOBUF
from whatsapp.wire.errors import Code, FrameError
from whatsapp.wire.frames import CLIENT_FRAMES, Ack, Typing

# -- unknown types and fields -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["", "SYNC", "ready", "message", "sync_batch", "error", "x" * 10_000, "ack\0", "🦄"]
)
def test_unknown_json_type(kind: str) -> None:
    error = refuse({"type": kind, "ref": "r1", "messageId": MESSAGE})
    assert (error.code, error.malformed, error.ref, error.message_id) == (
        Code.UNKNOWN_TYPE,
        False,
        "r1",
        MESSAGE,
    )
    assert len(error.message) < 200


@pytest.mark.parametrize("text", [" - at `$.", " - at `key` in `$.", " - at `$.x`", "`", "x"])
def test_what_is_wrong_is_told_in_few_words_whatever_the_value_says(text: str) -> None:
    """msgspec's own text has the value in it: taken for the field, it came back twice, larger than a frame may be."""
    wrong = {"type": "status_update", "conversationId": CONVERSATION, "status": text * (100_000 // len(text))}
    error = refuse(wrong)
    assert (error.code, error.details) == (Code.BAD_REQUEST, {"field": "status"})
    assert len(JSON.encode(error.frame())) < 1_000


def test_a_newer_frame_in_protobuf_is_unknown_not_malformed() -> None:
    newer = pb.Frame(ref="r1").SerializeToString() + b"\xca\x3e\x02\x08\x01"  # body tag 1001
    error = refusal(PROTOBUF, newer)
    assert (error.code, error.malformed, error.ref, error.details) == (
        Code.UNKNOWN_TYPE,
        False,
        "r1",
        {"type": "1001"},
    )


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"\x18\x01",
        b"\x1a\x03abc",
        b"\x08\x01",
        b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x1a\x00" * 15,
    ],
    ids=["alone", "number", "bytes", "ref as a number", "long number", "fifteen"],
)
def test_a_newer_frame_may_have_newer_fields_beside_its_body(before: bytes) -> None:
    error = refusal(PROTOBUF, before + b"\xca\x3e\x02\x08\x01" + b"\x1d\x00\x00\x00\x00")
    assert (error.code, error.details) == (Code.UNKNOWN_TYPE, {"type": "1001"})


@pytest.mark.parametrize(
    "fields",
    [b"\x18\x01" * 60_000, b"\x1b\x1c" * 60_000, b"\x1d\x00\x00\x00\x00" * 20_000, b"\x1a\x00" * 60_000],
    ids=["numbers", "groups", "words", "bytes"],
)
def test_a_frame_full_of_unknown_fields_is_no_newer_one(fields: bytes) -> None:
    """An object of each took the loop 0.1 s a frame, and whoever sent them needed no token."""
    error = refusal(PROTOBUF, fields + b"\xca\x3e\x02\x08\x01")
    assert (error.code, error.malformed) == (Code.BAD_REQUEST, True)


def test_a_server_frame_from_a_client_is_unknown() -> None:
    frame = pb.Frame(ref="r1")
    frame.message.message_id = MESSAGE_BYTES
    error = refusal(PROTOBUF, frame.SerializeToString())
    assert (error.code, error.ref, error.message_id) == (Code.UNKNOWN_TYPE, "r1", MESSAGE)


@pytest.mark.parametrize("extra", [None, 1, 1e300, "x", [1, [2]], {"a": {"b": []}}, 2**80, -0.0, True])
def test_unknown_json_fields_are_ignored(extra: Any) -> None:
    assert JSON.decode(
        json.dumps({"newer": extra, **send_message(), "later": extra}).encode()
    ) == JSON.decode(json.dumps(send_message()).encode())


def test_a_number_beyond_a_float_in_an_unknown_field_is_ignored() -> None:
    assert JSON.decode(b'{"type":"ack","positions":{},"x":1e999}') == Ack({})


def test_unknown_protobuf_fields_are_ignored() -> None:
    unknown = b"\xca\x3e\x02\x08\x01"
    body = PROTOBUF.encode(Ack({CONVERSATION: 3}))[2:]
    assert PROTOBUF.decode(b"\x6a" + bytes([len(body) + len(unknown)]) + body + unknown + unknown) == Ack(
        {CONVERSATION: 3}
    )


def test_every_client_frame_but_no_other_is_taken() -> None:
    taken = {type(golden.decode(JSON)) for golden in GOLDEN if golden.direction == "client"}
    assert taken == set(CLIENT_FRAMES)


# -- duplicate keys ---------------------------------------------------------------------------------------------------


def test_the_last_of_duplicate_keys_counts() -> None:
    one, two = USER, CONVERSATION
    data = (
        f'{{"type":"typing","conversationId":"{one}","active":true,"conversationId":"{two}","active":false}}'
    )
    assert JSON.decode(data.encode()) == Typing(two, False)
    data = f'{{"type":"ack","positions":{{"{one}":1,"{one}":2}}}}'
    assert JSON.decode(data.encode()) == Ack({one: 2})


def test_a_duplicate_type_makes_no_frame_of_mixed_kind() -> None:
    """Whichever counts, the result is a sound frame of one kind or a refusal."""
    for first, second in [
        ("sync", "typing"),
        ("typing", "sync"),
        ("sync", "ready"),
        ("ready", "sync"),
        ("sync", 1),
    ]:
        data = (
            json.dumps({"type": first, "conversationId": USER, "active": True})[:-1]
            + f', "type": {json.dumps(second)}}}'
        )
        try:
            JSON.encode(JSON.decode(data.encode()))
        except FrameError:
            pass


def test_duplicate_positions_in_protobuf() -> None:
    frame = pb.Frame()
    for seq in (1, 2):
        frame.ack.positions.add(conversation_id=CONVERSATION_BYTES, seq=seq)
    assert PROTOBUF.decode(frame.SerializeToString()) == Ack({CONVERSATION: 2})


def test_the_last_of_two_bodies_counts() -> None:
    two = PROTOBUF.encode(Typing(USER, True, ref="a")) + PROTOBUF.encode(Ack({CONVERSATION: 1}, ref="b"))
    assert PROTOBUF.decode(two) == Ack({CONVERSATION: 1}, ref="b")
