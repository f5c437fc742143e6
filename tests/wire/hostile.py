"""What a client should not have sent, for tests of how it is refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.wire.samples import CODECS, CONVERSATION, MESSAGE, USER, refusal
from whatsapp.wire import ids
from whatsapp.wire import whatsapp_pb2 as pb
from whatsapp.wire.codec import JSON, PROTOBUF
from whatsapp.wire.errors import FrameError

each_codec = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
MESSAGE_BYTES, CONVERSATION_BYTES, USER_BYTES = (ids.to_bytes(each) for each in (MESSAGE, CONVERSATION, USER))


def refuse(value: Any) -> FrameError:
    """The refusal of this as JSON."""
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
