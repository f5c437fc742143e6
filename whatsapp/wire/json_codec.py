"""Frames as JSON: one object a text frame. Decoders are typed and made once (msgspec); only a frame at fault
is read twice."""

import re
from collections.abc import Iterable
from functools import partial
from typing import Any, NoReturn, Union

import msgspec

from whatsapp.wire.errors import Code, FrameError
from whatsapp.wire.frames import (
    CLIENT_FRAMES,
    MAX_REF,
    SERVER_FRAMES,
    UUID_PATTERN,
    Envelope,
    Frame,
    Sync,
    SyncBatch,
    SyncOffline,
)
from whatsapp.wire.rules import CLIENT_RULES

_NOT_JSON = (msgspec.DecodeError, UnicodeError, RecursionError)
# Numbers beyond a float are JSON all the same.
_decode_anything = msgspec.json.Decoder(float_hook=str).decode
_is_id = re.compile(UUID_PATTERN[:-1] + r"\Z").match
_place = re.compile(r"(?P<key>key` in `)?\$\.?(?P<path>[^`]*)`\Z").match
_missing = re.compile(r"Object missing required field `(\w+)`").match


def _tags(frames: Iterable[type[Frame]]) -> frozenset[str]:
    return frozenset(str(frame.__struct_config__.tag) for frame in frames)


class JsonCodec:
    """See :class:`whatsapp.wire.codec.Codec`."""

    name = id = "json"
    text = True

    def __init__(self) -> None:
        client: tuple[type[Frame], ...] = (*CLIENT_FRAMES, SyncOffline)
        self._decode_client = msgspec.json.Decoder(
            Union[client]  # noqa: UP007 - made of a tuple
        ).decode
        self._decode_server = msgspec.json.Decoder(
            Union[SERVER_FRAMES]  # noqa: UP007
        ).decode
        self._client_types = _tags(client)
        self._server_types = _tags(SERVER_FRAMES)
        self.encode = msgspec.json.Encoder().encode
        self.encode_item = self.encode

    def decode(self, data: bytes | str) -> Any:
        try:
            frame = self._decode_client(data)
        except (*_NOT_JSON, msgspec.ValidationError) as error:
            _explain(data, self._client_types, error)
        kind = type(frame)
        rule = CLIENT_RULES.get(kind)
        if rule is not None:
            rule(frame)
        elif kind is SyncOffline:
            return Sync(frame.have, frame.more, frame.since, frame.limit, ref=frame.ref)
        return frame

    def decode_server(self, data: bytes | str) -> Any:
        try:
            frame = self._decode_server(data)
        except (*_NOT_JSON, msgspec.ValidationError) as error:
            _explain(data, self._server_types, error)
        if type(frame) is SyncBatch:
            for item in frame.events:
                item.ref = ""  # only a frame answers something: protobuf has no place for it in an item
        return frame

    def encode_batch(
        self, conversation_id: str, encoded_events: list[bytes], through: int, head: int, remaining: int
    ) -> bytes:
        numbers = b'"through":%d,"head":%d,"remaining":%d' % (through, head, remaining)
        events = b",".join(encoded_events)
        conversation = conversation_id.encode()
        return b'{"type":"sync_batch","conversationId":"%b","events":[%b],%b}' % (
            conversation,
            events,
            numbers,
        )

    def with_envelope(self, encoded_message: bytes, envelope: Envelope) -> bytes:
        return b'%b,"envelope":%b}' % (encoded_message[:-1], self.encode(envelope))


def _explain(data: bytes | str, types: frozenset[str], error: Exception) -> NoReturn:
    """Raise the FrameError that says what is wrong with ``data``. Reads it again, without types."""
    try:
        value = _decode_anything(data)
    except _NOT_JSON:
        raise FrameError(Code.BAD_REQUEST, "not a frame: no valid JSON", malformed=True) from None
    if not isinstance(value, dict):
        raise FrameError(Code.BAD_REQUEST, "not a frame: no JSON object", malformed=True) from None
    ref, message_id, kind = value.get("ref"), value.get("messageId"), value.get("type")
    ref = ref if isinstance(ref, str) and len(ref) <= MAX_REF else ""
    message_id = message_id if isinstance(message_id, str) and _is_id(message_id) else None
    answer = partial(FrameError, ref=ref, message_id=message_id)
    if not isinstance(kind, str):
        raise answer(Code.BAD_REQUEST, "not a frame: no type", malformed=True) from None
    if kind not in types:
        kind = kind[:40]
        raise answer(Code.UNKNOWN_TYPE, f"unknown type {kind!r}", details={"type": kind}) from None
    field, reason = _field_and_reason(str(error))
    code = Code.TOO_LARGE if reason.startswith("Expected `bytes` of length <=") else Code.BAD_REQUEST
    raise answer(code, f"{field}: {reason}" if field else reason, field=field) from None


def _field_and_reason(text: str) -> tuple[str, str]:
    """``"Expected `int` - at `$.resume.have[...]`"`` -> ``("resume.have[...]", "Expected `int`")``."""
    # The last one: before it stands what the client wrote.
    reason, _, place = text.rpartition(" - at `")
    match = _place(place)
    path = match["path"] if match else ""
    if not match:
        reason = text
    missing = _missing(reason)
    if missing:
        return f"{path}.{missing[1]}" if path else missing[1], "is missing"
    if UUID_PATTERN in reason or ("of length <= 36" in reason and not path.endswith("ref")):
        reason = "not a lower-case UUID"
    if match and match["key"]:
        reason = f"key: {reason}"
    return path, reason[:200]
