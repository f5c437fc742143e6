"""What is encoded is what is decoded, for every frame and both encodings."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire import samples
from tests.wire.samples import CODECS, CONVERSATION, USER
from whatsapp.wire import ids
from whatsapp.wire.codec import JSON, PROTOBUF, Codec
from whatsapp.wire.frames import Ack, Envelope, Event, Message, Sync, SyncBatch

each_codec = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)


@each_codec
@given(frame=samples.client_frames)
def test_client_frames(codec: Codec, frame: Any) -> None:
    assert codec.decode(codec.encode(frame)) == frame


@each_codec
@given(frame=samples.server_frames)
def test_server_frames(codec: Codec, frame: Any) -> None:
    assert codec.decode_server(codec.encode(frame)) == frame


@each_codec
@given(st.lists(samples.messages | samples.events, max_size=5), *[st.integers(0, 2**53 - 1)] * 3)
def test_a_batch_of_encoded_items_is_the_batch(
    codec: Codec, events: list[Any], through: int, head: int, remaining: int
) -> None:
    items = [codec.encode_item(event) for event in events]
    spliced = codec.encode_batch(CONVERSATION, items, through, head, remaining)
    whole = SyncBatch(
        conversation_id=CONVERSATION, events=events, through=through, head=head, remaining=remaining
    )
    assert spliced == codec.encode(whole)
    assert codec.decode_server(spliced) == whole


@each_codec
@given(samples.messages | samples.events)
def test_an_encoded_item_is_the_live_frame(codec: Codec, event: Message | Event) -> None:
    assert codec.encode_item(event) == codec.encode(event)


@each_codec
@given(samples.messages, samples.envelopes)
def test_an_envelope_is_spliced_behind_a_message(codec: Codec, message: Message, envelope: Envelope) -> None:
    message.envelope = None
    encoded = codec.encode_item(message)
    spliced = codec.with_envelope(encoded, envelope)
    message.envelope = envelope
    assert codec.decode_server(spliced) == message
    # and it is still an item
    batch = codec.decode_server(codec.encode_batch(CONVERSATION, [spliced], 1, 1, 0))
    assert batch.events == [message]


@given(st.uuids())
def test_ids(uuid: Any) -> None:
    assert ids.to_bytes(str(uuid)) == uuid.bytes
    assert ids.to_text(uuid.bytes) == str(uuid)


def test_sync_offline_is_sync() -> None:
    frame = JSON.decode(
        b'{"type":"sync_offline","ref":"r","have":{"%s":3},"more":true,"limit":7,"since":9}'
        % CONVERSATION.encode()
    )
    assert type(frame) is Sync
    assert frame == Sync({CONVERSATION: 3}, True, 9, 7, ref="r")


def test_json_is_taken_as_text_too() -> None:
    """Servers hand text frames over decoded."""
    assert JSON.decode('{"type":"ack","positions":{"%s":1}}' % USER) == Ack({USER: 1})  # type: ignore[arg-type]  # noqa: UP031


def test_an_absent_have_is_not_an_empty_one() -> None:
    """``auth`` with ``resume.have`` starts the backlog, so protobuf must tell the two apart."""
    for codec in CODECS:
        assert codec.decode(codec.encode(Sync(have=None))).have is None
        assert codec.decode(codec.encode(Sync(have={}))).have == {}


def test_a_present_zero_is_not_an_absent_number() -> None:
    body = PROTOBUF.encode(samples.StatusUpdate(CONVERSATION, "read", up_to=0))
    assert PROTOBUF.decode(body).up_to == 0
