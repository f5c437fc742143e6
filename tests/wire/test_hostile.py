"""What any client may send: whatever the bytes, a decoder returns a frame or raises FrameError."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.wire.hostile import each_codec, refuse
from tests.wire.samples import GOLDEN, USER, Golden, refusal
from whatsapp.wire import whatsapp_pb2 as pb
from whatsapp.wire.codec import JSON, PROTOBUF, Codec
from whatsapp.wire.errors import Code, FrameError
from whatsapp.wire.frames import Call

# -- nothing but FrameError -------------------------------------------------------------------------------------------


@each_codec
@given(st.binary(max_size=300))
@example(b"")
@example(b"\0")
def test_any_bytes(codec: Codec, data: bytes) -> None:
    for decode in (codec.decode, codec.decode_server):
        try:
            frame = decode(data)
        except FrameError as error:
            frame = error.frame()
        codec.encode(frame)  # a frame can be passed on, an error told


@each_codec
@settings(max_examples=300)
@given(st.sampled_from(GOLDEN), st.data())
def test_a_damaged_frame(codec: Codec, golden: Golden, data: st.DataObject) -> None:
    damaged = bytearray(golden.encoded(codec))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position : position + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        if not damaged:
            break
    test_any_bytes.hypothesis.inner_test(codec, bytes(damaged))


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)
def test_truncated_json_is_malformed(golden: Golden) -> None:
    text = golden.json.encode()
    for end in range(len(text)):
        assert refusal(JSON, text[:end]).malformed


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)
def test_truncated_protobuf_never_passes_for_whole(golden: Golden) -> None:
    whole = golden.decode(PROTOBUF)
    data = golden.encoded(PROTOBUF)
    for end in range(len(data)):
        try:
            decode = PROTOBUF.decode if golden.direction == "client" else PROTOBUF.decode_server
            assert decode(data[:end]) != whole
        except FrameError:
            pass


# -- not a frame ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"", b" ", b"[]", b"[{}]", b"1", b"null", b'"auth"', b"true", b"{", b"{}}", b"{'type':'ack'}", b'{"type":ack}',
        b'{"ref":"r1"}', b'{"type":null}', b'{"type":1}', b'{"type":["ack"]}', b'{"type":{"type":"ack"}}',
        b'{"type":"sync","since":NaN}', b'{"type":"sync","since":Infinity}', b'{"type":"sync","since":-Infinity}',
        b'\xff\xfe{"type":"sync"}', b'\xef\xbb\xbf{"type":"sync"}', b'{"type":"sync","ref":"\xff"}',
        b'{"type":"sync","ref":"\xed\xa0\x80"}',
        b'{"type":"sync","ref":"\\ud800"}', b'{"type":"sync","ref":"a\nb"}', b'{"type":"sync"}{"type":"sync"}',
        b"\0", b"-", b"01",
    ],
)  # fmt: skip
def test_no_json_frame(data: bytes) -> None:
    error = refusal(JSON, data)
    assert error.malformed
    assert error.code == Code.BAD_REQUEST


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0", b"\xff" * 20, b'{"type":"sync"}', pb.Frame(ref="r1").SerializeToString(),
        b"\x0a\x02\xff\xfe\xaa\x01\x00",
        b"\x52\x7f", b"\x52\xff\xff\xff\xff\x0f", b"\x18\x01",
    ],
    ids=["empty", "tag 0", "ff", "json", "no body", "ref is not UTF-8", "cut", "length 4 GiB", "reserved tag 3"],
)  # fmt: skip
def test_no_protobuf_frame(data: bytes) -> None:
    assert refusal(PROTOBUF, data).malformed


def test_text_given_to_the_binary_codec_is_malformed() -> None:
    assert refusal(PROTOBUF, "text").malformed  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b'{"type":"sync","x":' + b"[" * 60_000 + b"]" * 60_000 + b"}",
        b'{"type":"call","payload":' + b'{"a":' * 15_000 + b"1" + b"}" * 15_001,
        b'{"type":"sync","have":' + b'{"a":' * 15_000 + b"1" + b"}" * 15_001,
    ],
    ids=["arrays", "objects", "in an unknown field", "in a known field", "in a map"],
)
def test_deep_json(data: bytes) -> None:
    assert refusal(JSON, data).malformed


def test_a_payload_that_could_not_be_encoded_again() -> None:
    def nested(depth: int) -> dict[str, Any]:
        payload: Any = "x"
        for _ in range(depth):
            payload = {"a": payload}
        return {"type": "call", "callId": USER, "toUserId": USER, "kind": "ice", "payload": payload}

    assert isinstance(JSON.decode(json.dumps(nested(15)).encode()), Call)
    error = refuse(nested(17))
    assert (error.code, error.field, error.malformed) == (Code.BAD_REQUEST, "payload", False)


def test_deep_protobuf() -> None:
    data = b""
    for _ in range(2_000):  # groups within groups, in an unknown field
        data = b"\x83\x7d" + data + b"\x84\x7d"
    assert refusal(PROTOBUF, data).malformed
