"""Both encodings carry the same frames."""

from __future__ import annotations

import pytest

from whatsapp.wire import codec as wire
from whatsapp.wire import frames
from whatsapp_client import JSON, ProtobufCodec
from whatsapp_client.outbox import Outbox

U = "0197c0de-0000-7000-8000-00000000000{}"


def test_a_message_of_ours_means_the_same_to_the_server_in_both():
    outbox = Outbox()
    outbox.add(U.format(1), b"\x00\xffhello", replyTo=U.format(2))
    frame = outbox.due(0.0)[0]
    text = JSON.encode(frame)
    decoded = wire.JSON.decode(text.encode())
    assert decoded == wire.PROTOBUF.decode(ProtobufCodec().encode(frame))
    assert decoded.encrypted_content == b"\x00\xffhello"
    assert (decoded.seq_num, decoded.reply_to, decoded.ref) == (1, U.format(2), "1")


def test_a_message_of_the_server_means_the_same_to_us_in_both():
    message = frames.Message(
        message_id=U.format(1), conversation_id=U.format(2), sender_id=U.format(3), sender_device_id=U.format(4), seq=7,
        encrypted_content=b"\xff", timestamp=1, server_timestamp=2, kind="text",
    )  # fmt: skip
    batch = frames.SyncBatch(conversation_id=U.format(2), events=[message], through=7, head=9, remaining=2)
    assert JSON.decode(wire.JSON.encode(batch)) == ProtobufCodec().decode(wire.PROTOBUF.encode(batch))


@pytest.mark.parametrize("data", ["", "[]", "{}", '{"type": 1}', "\ud800"])
def test_what_is_no_frame_is_a_value_error(data: str):
    with pytest.raises(ValueError):
        JSON.decode(data)
