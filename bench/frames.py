"""The frames that the load generator writes and reads, in both codecs, with only the fields it needs.

Ids are *keys*: text in JSON, 16 bytes in protobuf, so that nothing is converted on the way of a message.
"""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from whatsapp.wire import whatsapp_pb2

pb: Any = whatsapp_pb2  # made at run time: no checker knows its names
Key = Any  # str or bytes
Body = Any  # str (base64) or bytes


class Counts(msgspec.Struct):
    """Of a large group: how many have the message, how many have read it."""

    delivered: int = 0
    read: int = 0


class Status(msgspec.Struct, tag_field="type", tag="status_update", rename="camel", gc=False):
    conversation_id: Key
    status: str
    message_id: Key = None
    seq: int = 0
    up_to: int = 0
    duplicate: bool = False
    user_id: Key = None
    counts: Counts | None = None


class Message(msgspec.Struct, tag_field="type", tag="message", rename="camel", gc=False):
    message_id: Key
    conversation_id: Key
    sender_id: Key
    seq: int
    seq_num: int = 0
    encrypted_content: Body = None


class Event(msgspec.Struct, tag_field="type", tag="event", rename="camel"):
    """What is in the log besides messages: that somebody was added."""

    conversation_id: Key
    seq: int


class Batch(msgspec.Struct, tag_field="type", tag="sync_batch", rename="camel"):
    conversation_id: Key
    events: list[Message | Event]
    through: int
    head: int
    remaining: int


class Ready(msgspec.Struct, tag_field="type", tag="ready", rename="camel"):
    user_id: Key


class SyncComplete(msgspec.Struct, tag_field="type", tag="sync_complete"):
    pass


class Presence(msgspec.Struct, tag_field="type", tag="presence", rename="camel", gc=False):
    user_id: Key
    status: str


class Reconnect(msgspec.Struct, tag_field="type", tag="reconnect", rename="camel"):
    after_ms: int


class Error(msgspec.Struct, tag_field="type", tag="error"):
    """An ``error`` frame, or (code ``unexpected``) any frame that a bench should not get."""

    code: str
    message: str = ""


Frame = Status | Message | Event | Batch | Ready | SyncComplete | Presence | Reconnect | Error


class Codec(Protocol):
    subprotocol: str
    text: bool

    def key(self, text: str) -> Key: ...
    def new_key(self) -> Key: ...
    def body(self, content: bytes) -> Body: ...
    def send(self, conversation: Key, message: Key, seq_num: int, at_ms: int, body: Body) -> bytes: ...
    def ack(self, conversation: Key, seq: int) -> bytes: ...
    def read(self, conversation: Key, seq: int) -> bytes: ...
    def sync(self) -> bytes: ...
    def follow(self, users: Sequence[Key], ttl_s: int) -> bytes: ...
    def decode(self, data: bytes) -> Frame: ...


class Json:
    subprotocol = "whatsapp.v3.2.json"
    text = True

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(Frame).decode

    def key(self, text: str) -> Key:
        return text

    def new_key(self) -> Key:
        digits = os.urandom(16).hex()
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"

    def body(self, content: bytes) -> Body:
        return base64.b64encode(content).decode()

    def send(self, conversation: Key, message: Key, seq_num: int, at_ms: int, body: Body) -> bytes:
        return (
            f'{{"type":"send_message","messageId":"{message}","conversationId":"{conversation}",'
            f'"encryptedContent":"{body}","timestamp":{at_ms},"seqNum":{seq_num}}}'
        ).encode()

    def ack(self, conversation: Key, seq: int) -> bytes:
        return f'{{"type":"ack","positions":{{"{conversation}":{seq}}}}}'.encode()

    def read(self, conversation: Key, seq: int) -> bytes:
        return f'{{"type":"status_update","conversationId":"{conversation}","status":"read","upTo":{seq}}}'.encode()

    def sync(self) -> bytes:
        return b'{"type":"sync"}'

    def follow(self, users: Sequence[Key], ttl_s: int) -> bytes:
        return msgspec.json.encode({"type": "presence_subscribe", "userIds": users, "ttl": ttl_s})

    def decode(self, data: bytes) -> Frame:
        try:
            return self._decode(data)
        except msgspec.ValidationError:
            return Error("unexpected", data[:200].decode("utf-8", "replace"))


class Protobuf:
    subprotocol = "whatsapp.v3.2.protobuf"
    text = False

    _STATUS = {1: "sent", 2: "queued", 3: "delivered", 4: "read"}
    _PRESENCE = {1: "online", 2: "offline", 3: "away", 4: "unknown"}

    def key(self, text: str) -> Key:
        return uuid.UUID(text).bytes

    def new_key(self) -> Key:
        return os.urandom(16)

    def body(self, content: bytes) -> Body:
        return content

    def send(self, conversation: Key, message: Key, seq_num: int, at_ms: int, body: Body) -> bytes:
        frame = pb.Frame()
        send = frame.send_message
        send.message_id, send.conversation_id, send.encrypted_content = message, conversation, body
        send.timestamp, send.seq_num = at_ms, seq_num
        return frame.SerializeToString()

    def ack(self, conversation: Key, seq: int) -> bytes:
        frame = pb.Frame()
        position = frame.ack.positions.add()
        position.conversation_id, position.seq = conversation, seq
        return frame.SerializeToString()

    def read(self, conversation: Key, seq: int) -> bytes:
        frame = pb.Frame()
        update = frame.status_update
        update.conversation_id, update.status, update.up_to = conversation, 4, seq
        return frame.SerializeToString()

    def sync(self) -> bytes:
        frame = pb.Frame()
        frame.sync.limit = 100
        return frame.SerializeToString()

    def follow(self, users: Sequence[Key], ttl_s: int) -> bytes:
        frame = pb.Frame()
        frame.presence_subscribe.user_ids.extend(users)
        frame.presence_subscribe.ttl = ttl_s
        return frame.SerializeToString()

    def decode(self, data: bytes) -> Frame:
        frame = pb.Frame.FromString(data)
        kind = frame.WhichOneof("body")
        if kind == "status_update":
            s = frame.status_update
            status = self._STATUS.get(s.status, "?")
            counts = Counts(s.counts.delivered, s.counts.read) if s.HasField("counts") else None
            return Status(
                s.conversation_id, status, s.message_id, s.seq, s.up_to, s.duplicate, s.user_id, counts
            )
        if kind == "message":
            return _message(frame.message)
        if kind == "event":
            return Event(frame.event.conversation_id, frame.event.seq)
        if kind == "sync_batch":
            b = frame.sync_batch
            events = [
                _message(item.message)
                if item.WhichOneof("body") == "message"
                else Event(item.event.conversation_id, item.event.seq)
                for item in b.events
            ]
            return Batch(b.conversation_id, events, b.through, b.head, b.remaining)
        if kind == "ready":
            return Ready(frame.ready.user_id)
        if kind == "sync_complete":
            return SyncComplete()
        if kind == "presence":
            return Presence(frame.presence.user_id, self._PRESENCE.get(frame.presence.status, "?"))
        if kind == "reconnect":
            return Reconnect(frame.reconnect.after_ms)
        if kind == "error":
            return Error(frame.error.code, frame.error.message)
        return Error("unexpected", str(kind))


def _message(m: Any) -> Message:
    return Message(m.message_id, m.conversation_id, m.sender_id, m.seq, m.seq_num, m.encrypted_content)


CODECS: dict[str, type[Json] | type[Protobuf]] = {"json": Json, "protobuf": Protobuf}
