"""What the types of a frame cannot say about a frame from a client. The same for every codec."""

from collections.abc import Callable
from typing import Any

from whatsapp.wire.errors import Code, FrameError
from whatsapp.wire.frames import MAX_PAYLOAD_DEPTH, Call, Frame, Presence, StatusUpdate, Typing


def _bad(frame: Frame, field: str, reason: str) -> FrameError:
    message_id = getattr(frame, "message_id", None)
    return FrameError(Code.BAD_REQUEST, f"{field}: {reason}", frame.ref, field=field, message_id=message_id)


def _is_flat(value: Any) -> bool:
    """Whether it can be encoded again at any depth of the stack."""
    level = [value]
    for _ in range(MAX_PAYLOAD_DEPTH):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        if not inner:
            return True
        level = inner
    return False


def _status_update(frame: StatusUpdate) -> None:
    if frame.status != "read" and frame.status != "delivered":
        raise _bad(frame, "status", "a client says delivered or read")
    if (frame.up_to is None) == (frame.message_id is None):
        raise _bad(frame, "upTo", "either upTo or messageId is needed")
    frame.seq = frame.timestamp = frame.user_id = frame.counts = None
    frame.duplicate = False


def _presence(frame: Presence) -> None:
    if frame.status == "unknown":
        raise _bad(frame, "status", "a client says online, offline or away")
    frame.user_id = frame.last_seen = frame.conversation_id = frame.online_count = None


def _typing(frame: Typing) -> None:
    frame.user_id = None


def _call(frame: Call) -> None:
    if frame.to_user_id is None:
        raise _bad(frame, "toUserId", "is missing")
    if frame.payload is not None and not _is_flat(frame.payload):
        raise _bad(frame, "payload", f"nested deeper than {MAX_PAYLOAD_DEPTH}")
    frame.from_user_id = None


#: Raises FrameError bad_request, or clears what only a server may say, so that it can never be passed on as
#: if it were true.
CLIENT_RULES: dict[type[Frame], Callable[[Any], None]] = {
    StatusUpdate: _status_update,
    Presence: _presence,
    Typing: _typing,
    Call: _call,
}
