"""What any client may send: whatever the bytes, a decoder returns a frame or raises FrameError."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.wire.samples import CODECS, CONVERSATION, GOLDEN, MESSAGE, USER, Golden, refusal, send_message
from whatsapp.wire import ids
from whatsapp.wire import whatsapp_pb2 as pb
from whatsapp.wire.codec import JSON, PROTOBUF, Codec
from whatsapp.wire.errors import Code, FrameError
from whatsapp.wire.frames import (
    CLIENT_FRAMES,
    MAX_CONTENT,
    Ack,
    Call,
    Presence,
    PresenceSubscribe,
    SendMessage,
    StatusUpdate,
    Typing,
)

each_codec = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
MESSAGE_BYTES, CONVERSATION_BYTES, USER_BYTES = (ids.to_bytes(each) for each in (MESSAGE, CONVERSATION, USER))


def refuse(value: Any) -> FrameError:
    return refusal(JSON, json.dumps(value).encode())


def refuse_protobuf(change: Callable[[Any], object], ref: str = "r1") -> FrameError:
    """The refusal of a good protobuf send_message after ``change``."""
    frame = pb.Frame(ref=ref)
    message = frame.send_message
    message.message_id, message.conversation_id, message.encrypted_content = (
        MESSAGE_BYTES,
        CONVERSATION_BYTES,
        b"hi",
    )
    message.timestamp = 1
    change(message)
    return refusal(PROTOBUF, frame.SerializeToString())


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


# -- wrong types and values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("messageId", MESSAGE.upper()), ("messageId", MESSAGE.replace("-", "")), ("messageId", MESSAGE + "\n"),
        ("messageId", ""),
        ("messageId", "{" + MESSAGE + "}"), ("messageId", MESSAGE[:-1]), ("messageId", MESSAGE[:-1] + "g"),
        ("messageId", 7),
        ("messageId", MESSAGE[:-1] + "٣"), ("messageId", None), ("messageId", ...), ("messageId", [MESSAGE]),
        ("conversationId", CONVERSATION.upper()), ("conversationId", ...), ("conversationId", {}),
        ("encryptedContent", ...), ("encryptedContent", None), ("encryptedContent", "YQ"), ("encryptedContent", "Y_-="),
        ("encryptedContent", "YWI=\n"), ("encryptedContent", "😀"), ("encryptedContent", ["YQ=="]),
        ("encryptedContent", 1),
        ("timestamp", ...), ("timestamp", -1), ("timestamp", 2**53), ("timestamp", 2**63), ("timestamp", 2**64),
        ("timestamp", 10**300),
        ("timestamp", 1.5), ("timestamp", 1.0), ("timestamp", "1"), ("timestamp", True), ("timestamp", None),
        ("timestamp", [1]),
        ("seqNum", 0), ("seqNum", -1), ("seqNum", 2**53), ("seqNum", "1"), ("seqNum", 1.0),
        ("kind", "Text"), ("kind", "hologram"), ("kind", 1), ("kind", None),
        ("mediaUrl", 1), ("mediaUrl", "x" * 2049),
        ("recipientIds", USER), ("recipientIds", {USER: 1}), ("recipientIds", [USER] * 1025),
        ("replyTo", "x"), ("forwardId", 1), ("forwardCount", -1), ("forwardCount", 2**31), ("expiresIn", 0),
        ("expiresIn", -1),
        ("mentions", [USER] * 1025), ("envelopes", {}), ("memberHash", "x" * 257), ("memberHash", 1),
        ("frankingTag", "?"),
        ("franking", "?"),
    ],
)  # fmt: skip
def test_a_wrong_json_field_is_named(field: str, value: Any) -> None:
    error = refuse(send_message(**{field: value}))
    assert (error.code, error.malformed) == (Code.BAD_REQUEST, False)
    assert error.field == field
    assert error.message.startswith(f"{field}: ")
    assert error.details == {"field": field}
    assert error.ref == "r1"
    assert error.message_id == (None if field == "messageId" else MESSAGE)


def test_a_number_beyond_a_float_is_a_wrong_value() -> None:
    error = refusal(JSON, json.dumps(send_message()).replace('"timestamp": 1', '"timestamp": 1e999').encode())
    assert (error.code, error.malformed, error.field, error.ref) == (
        Code.BAD_REQUEST,
        False,
        "timestamp",
        "r1",
    )


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("messageId", {"message_id": b"x" * 15}), ("conversationId", {"conversation_id": b"x" * 17}),
        ("conversationId", {"conversation_id": MESSAGE.encode()}), ("timestamp", {"timestamp": -1}),
        ("timestamp", {"timestamp": 2**53}),
        ("timestamp", {"timestamp": 2**63 - 1}), ("seqNum", {"seq_num": 0}), ("seqNum", {"seq_num": -(2**63)}),
        ("kind", {"kind": 99}),
        ("kind", {"kind": -1}), ("mediaUrl", {"media_url": "x" * 2049}), ("replyTo", {"reply_to": b""}),
        ("expiresIn", {"expires_in": 0}),
        ("forwardCount", {"forward_count": -1}), ("memberHash", {"member_hash": "x" * 257}),
        ("recipientIds", {"recipient_ids": [USER_BYTES] * 1025}), ("mentions[1]", {"mentions": [USER_BYTES, b""]}),
        ("envelopes", {"envelopes": [pb.Envelope()] * 5121}), ("envelopes[0].userId", {"envelopes": [pb.Envelope()]}),
        ("envelopes[0].type", {"envelopes": [pb.Envelope(user_id=USER_BYTES, device_id=USER_BYTES, content=b"k")]}),
    ],
)  # fmt: skip
def test_a_wrong_protobuf_field_is_named(field: str, changes: dict[str, Any]) -> None:
    error = refuse_protobuf(lambda message: message.MergeFrom(pb.SendMessage(**changes)))
    assert (error.code, error.malformed, error.field, error.ref) == (Code.BAD_REQUEST, False, field, "r1")
    assert error.message_id == (None if field == "messageId" else MESSAGE)


@pytest.mark.parametrize("name", ["message_id", "conversation_id"])
def test_an_id_missing_in_protobuf(name: str) -> None:
    error = refuse_protobuf(lambda message: message.ClearField(name))
    assert (error.code, error.field) == (
        Code.BAD_REQUEST,
        {"message_id": "messageId"}.get(name, "conversationId"),
    )


@each_codec
def test_ref_of_36_but_no_longer(codec: Codec) -> None:
    assert codec.decode(codec.encode(Ack({}, ref="é" * 36))).ref == "é" * 36
    error = refusal(codec, codec.encode(SendMessage(
        message_id=MESSAGE, conversation_id=CONVERSATION, encrypted_content=b"", timestamp=0, ref="x" * 37,
    )))  # fmt: skip
    assert (error.code, error.field, error.ref, error.message_id) == (Code.BAD_REQUEST, "ref", "", MESSAGE)


@pytest.mark.parametrize("ref", [1, None, ["r"], {}])
def test_a_ref_that_is_no_text(ref: Any) -> None:
    error = refuse(send_message(ref=ref))
    assert (error.code, error.field, error.ref) == (Code.BAD_REQUEST, "ref", "")


@each_codec
def test_content_of_65536_bytes_but_no_longer(codec: Codec) -> None:
    frame = SendMessage(
        message_id=MESSAGE,
        conversation_id=CONVERSATION,
        encrypted_content=b"x" * MAX_CONTENT,
        timestamp=0,
        ref="r",
    )
    assert codec.decode(codec.encode(frame)) == frame
    frame.encrypted_content += b"x"
    error = refusal(codec, codec.encode(frame))
    assert (error.code, error.field, error.ref, error.message_id) == (
        Code.TOO_LARGE,
        "encryptedContent",
        "r",
        MESSAGE,
    )


def _uuids(count: int) -> list[str]:
    return [ids.to_text(number.to_bytes(16, "big")) for number in range(count)]


@each_codec
@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("have", lambda entries: {"type": "sync", "have": dict.fromkeys(entries, 1)}),
        (
            "resume.have",
            lambda entries: {"type": "auth", "token": "t", "resume": {"have": dict.fromkeys(entries, 1)}},
        ),
        ("positions", lambda entries: {"type": "ack", "positions": dict.fromkeys(entries, 1)}),
        ("userIds", lambda entries: {"type": "presence_subscribe", "userIds": entries}),
    ],
    ids=["have", "resume.have", "positions", "userIds"],
)
def test_500_entries_but_no_more(codec: Codec, field: str, make: Callable[[list[str]], Any]) -> None:
    frame = JSON.decode(json.dumps(make(_uuids(500))).encode())
    assert codec.decode(codec.encode(frame)) == frame
    if codec is JSON:
        error = refuse(make(_uuids(501)))
    else:
        more = {"have": "have", "resume.have": "resume", "positions": "positions", "userIds": "user_ids"}[
            field
        ]
        target = getattr(frame, more)
        target = target.have if field == "resume.have" else target
        extra = _uuids(501)[-1]
        target.append(extra) if isinstance(target, list) else target.update({extra: 1})
        error = refusal(PROTOBUF, PROTOBUF.encode(frame))
    assert (error.code, error.field, error.malformed) == (Code.BAD_REQUEST, field, False)


@each_codec
@pytest.mark.parametrize("field", ["conversation_ids", "closed_conversation_ids"])
def test_50_chats_but_no_more(codec: Codec, field: str) -> None:
    frame = PresenceSubscribe([], **{field: _uuids(50)})  # type: ignore[arg-type]
    assert codec.decode(codec.encode(frame)) == frame
    error = refusal(codec, codec.encode(PresenceSubscribe([], **{field: _uuids(51)}, ref="r")))  # type: ignore[arg-type]
    name = {"conversation_ids": "conversationIds", "closed_conversation_ids": "closedConversationIds"}[field]
    assert (error.code, error.field, error.malformed) == (Code.BAD_REQUEST, name, False)


@pytest.mark.parametrize(
    ("have", "field"),
    [
        ({USER.upper(): 1}, "have"), ({"": 1}, "have"), ({USER: -1}, "have[...]"), ({USER: 2**53}, "have[...]"),
        ({USER: "1"}, "have[...]"),
        ({USER: None}, "have[...]"), ([USER], "have"), (7, "have"),
    ],
)  # fmt: skip
def test_wrong_positions(have: Any, field: str) -> None:
    error = refuse({"type": "sync", "ref": "r", "have": have})
    assert (error.code, error.field, error.ref) == (Code.BAD_REQUEST, field, "r")


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


# -- what only a server may say ---------------------------------------------------------------------------------------


@each_codec
@pytest.mark.parametrize(
    ("said", "taken"),
    [
        (
            StatusUpdate(CONVERSATION, "read", up_to=3, seq=4, duplicate=True, timestamp=5, user_id=USER),
            StatusUpdate(CONVERSATION, "read", up_to=3),
        ),
        (Presence("online", USER, 7, CONVERSATION, 3), Presence("online")),
        (Typing(CONVERSATION, True, "text", USER), Typing(CONVERSATION, True, "text")),
        (Call(MESSAGE, "end", None, USER, CONVERSATION), Call(MESSAGE, "end", None, USER)),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_what_only_a_server_may_say_is_cleared(codec: Codec, said: Any, taken: Any) -> None:
    assert codec.decode(codec.encode(said)) == taken


@each_codec
@pytest.mark.parametrize(
    ("said", "field"),
    [
        (StatusUpdate(CONVERSATION, "sent", MESSAGE, ref="r"), "status"),
        (StatusUpdate(CONVERSATION, "queued", MESSAGE, ref="r"), "status"),
        (StatusUpdate(CONVERSATION, "read", ref="r"), "upTo"),
        (StatusUpdate(CONVERSATION, "read", MESSAGE, 3, ref="r"), "upTo"),
        (Presence("unknown", ref="r"), "status"),
        (Call(MESSAGE, "offer", ref="r"), "toUserId"),
    ],
    ids=str,
)
def test_what_a_client_may_not_say(codec: Codec, said: Any, field: str) -> None:
    error = refusal(codec, codec.encode(said))
    assert (error.code, error.field, error.ref, error.malformed) == (Code.BAD_REQUEST, field, "r", False)
    assert error.message_id == getattr(said, "message_id", None)
