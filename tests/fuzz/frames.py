"""What holds of the codecs for any bytes: nothing but a typed error, the same again when decoded anew, both encodings agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from whatsapp.wire.codec import JSON, PROTOBUF, Codec
from whatsapp.wire.downgrades import DOWNGRADES
from whatsapp.wire.errors import CODES, FrameError
from whatsapp.wire.frames import CLIENT_FRAMES, Event, Frame, Message, SyncBatch
from whatsapp.wire.versions import codec_by_id

#: Bytes of an encoded refusal: who sends nonsense is not answered with more of it.
MOST_OF_AN_ANSWER = 4_096
#: An id has 16 bytes in protobuf and 39 as JSON in a list, a position 18 and 56.
MOST_GROWTH = 8

CODECS = (JSON, PROTOBUF)
OLDER = [
    codec_by_id(f"{codec.name} {version}") for version, row in DOWNGRADES.items() if row for codec in CODECS
]


def check(codec: Codec, data: bytes) -> Iterator[str]:
    """Assert what has to hold, and name what was met, for whoever looks for inputs of another kind."""
    for side, decode in (("client", codec.decode), ("server", codec.decode_server)):
        try:
            frame = decode(data)
        except FrameError as error:
            _can_be_told(error)
            yield f"{side} {error.code} {error.field} {error.message[-40:]}"
        else:
            _is_the_same_again(frame, side, len(data))
            if side == "server":
                _batches_and_older_versions(frame)
            given = [
                name for name in frame.__struct_fields__ if getattr(frame, name) not in (None, "", False)
            ]
            yield f"{side} {type(frame).__name__} {' '.join(given)}"


def _can_be_told(error: FrameError) -> None:
    assert error.code in CODES, error.code
    told = error.frame()
    for codec in CODECS:
        encoded = codec.encode(told)
        assert len(encoded) <= MOST_OF_AN_ANSWER, len(encoded)
        assert codec.decode_server(encoded) == told, (codec.name, told)


def _is_the_same_again(frame: Frame, side: str, size: int) -> None:
    assert side == "server" or isinstance(frame, CLIENT_FRAMES)
    for codec in CODECS:
        encoded = codec.encode(frame)
        assert len(encoded) <= MOST_GROWTH * size + 1_024, (codec.name, len(encoded), size)
        again = (codec.decode if side == "client" else codec.decode_server)(encoded)
        assert without_empty(again) == without_empty(frame), (codec.name, frame, again)
        assert codec.encode(again) == encoded, (codec.name, frame)


def _batches_and_older_versions(frame: Any) -> None:
    for codec in CODECS:
        if isinstance(frame, SyncBatch) and not frame.ref:
            items = [codec.encode_item(event) for event in frame.events]
            numbers = frame.through, frame.head, frame.remaining
            batch = codec.encode_batch(frame.conversation_id, items, *numbers)
            again = codec.decode_server(batch)
            # An item of a batch has no ref in protobuf, and none that is of use in JSON.
            assert without_empty(again) == without_empty(frame) or any(event.ref for event in frame.events)
        if isinstance(frame, Message | Event) and not frame.ref:
            item = codec.encode_item(frame)
            assert codec.encode(frame) == item
        if isinstance(frame, Message) and frame.envelope is not None and not frame.ref:
            without = codec.encode_item(msgspec.structs.replace(frame, envelope=None))
            again = codec.decode_server(codec.with_envelope(without, frame.envelope))
            assert without_empty(again) == without_empty(frame), (codec.name, frame, again)
    for older in OLDER:
        if said := older.encode(frame):  # empty: this version is not told
            older.decode_server(said)


def without_empty(frame: Any) -> Any:
    """As plain values, an empty optional list left out: protobuf has no such thing."""
    if isinstance(frame, msgspec.Struct):
        values = {name: without_empty(getattr(frame, name)) for name in frame.__struct_fields__}
        kept = {name: value for name, value in values.items() if value != [] and value is not None}
        return {"type": type(frame).__name__, **kept}
    if isinstance(frame, list):
        return [without_empty(each) for each in frame]
    return frame
