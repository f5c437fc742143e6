"""Frames with fields of wrong types and values, and with what only a server may say: refused by name, or cleared."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.wire.hostile import USER_BYTES, each_codec, refuse, refuse_protobuf
from tests.wire.samples import CONVERSATION, MESSAGE, USER, refusal, send_message
from whatsapp.wire import ids
from whatsapp.wire import whatsapp_pb2 as pb
from whatsapp.wire.codec import JSON, PROTOBUF, Codec
from whatsapp.wire.errors import Code
from whatsapp.wire.frames import (
    MAX_CONTENT,
    Ack,
    Call,
    Presence,
    PresenceSubscribe,
    SendMessage,
    StatusUpdate,
    Typing,
)

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
