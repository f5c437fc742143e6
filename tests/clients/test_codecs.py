"""Both encodings carry the same frames."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from whatsapp.wire import codec as wire
from whatsapp.wire import frames
from whatsapp_client import JSON, Entry, by_name
from whatsapp_client.outbox import Outbox

PROTOBUF = by_name("protobuf")
GOLDEN = json.loads((Path(__file__).parents[1] / "wire" / "golden.json").read_text())
U = "0197c0de-0000-7000-8000-00000000000{}"


def test_a_message_of_ours_means_the_same_to_the_server_in_both():
    outbox = Outbox()
    outbox.add(U.format(1), b"\x00\xffhello", replyTo=U.format(2))
    frame = outbox.due(0.0)[0]
    text = JSON.encode(frame)
    decoded = wire.JSON.decode(text.encode())
    assert decoded == wire.PROTOBUF.decode(PROTOBUF.encode(frame))
    assert decoded.encrypted_content == b"\x00\xffhello"
    assert (decoded.seq_num, decoded.reply_to, decoded.ref) == (1, U.format(2), "1")


def test_a_message_of_the_server_means_the_same_to_us_in_both():
    message = frames.Message(
        message_id=U.format(1), conversation_id=U.format(2), sender_id=U.format(3), sender_device_id=U.format(4), seq=7,
        encrypted_content=b"\xff", timestamp=1, server_timestamp=2, kind="text",
    )  # fmt: skip
    batch = frames.SyncBatch(conversation_id=U.format(2), events=[message], through=7, head=9, remaining=2)
    shown = PROTOBUF.decode(wire.PROTOBUF.encode(batch))
    assert wire.JSON.decode_server(json.dumps(shown).encode()) == batch
    for decoded in (shown, JSON.decode(wire.JSON.encode(batch).decode())):
        (entry,) = [Entry.from_frame(item, decoded["conversationId"]) for item in decoded["events"]]
        assert (entry.seq, entry.content, entry.fields, entry.edited) == (7, b"\xff", {}, False)


@pytest.mark.parametrize("data", ["", "[]", "{}", '{"type": 1}', "\ud800"])
def test_what_is_no_frame_is_a_value_error(data: str):
    with pytest.raises(ValueError):
        JSON.decode(data)


@pytest.mark.parametrize("golden", GOLDEN, ids=[f"{g['direction']} {g['name']}" for g in GOLDEN])
def test_every_frame_means_the_same_in_both(golden: dict[str, str]):
    raw = bytes.fromhex(golden["protobuf"])
    if golden["direction"] == "client":
        encoded = PROTOBUF.encode(json.loads(golden["json"]))
        assert isinstance(encoded, bytes)
        assert wire.PROTOBUF.decode(encoded) == wire.JSON.decode(golden["json"].encode())
    else:
        shown = PROTOBUF.decode(raw)
        assert wire.JSON.decode_server(json.dumps(shown).encode()) == wire.PROTOBUF.decode_server(raw)


@pytest.mark.parametrize("data", [b"", b"\xff\xff", b"\x82\x01\x01\x0a"])
def test_bytes_that_are_no_frame_are_a_value_error_or_unknown(data: bytes):
    try:
        assert PROTOBUF.decode(data) == {"type": "unknown"}
    except ValueError:
        assert data


def test_a_frame_that_the_protocol_has_no_place_for_cannot_be_encoded():
    for frame in (
        {"type": "nothing"},
        {"type": "ack", "positions": {"no uuid": 1}},
        {"type": "presence", "status": "asleep"},
    ):
        with pytest.raises(ValueError):
            PROTOBUF.encode(frame)
