"""What a notification says to the app, as JSON. It leaves this system encrypted for one device (:mod:`notifications.sealing`), or
not at all.

A message: ``{"type": "message", "conversationId", "messageId", "seq", "senderId", "count", "frame"?}``. ``frame`` is the
``message`` frame of the newest wire version with this device's envelope, as its socket would get it; ``count`` are the messages
of the conversation that the device was not told of before, of its last :data:`notifications.unheard.AT_MOST` events.
A withdrawal: ``{"type": "clear", "clear": [collapse keys]}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from delivery.store.values import Logged
from delivery.view import item_for
from whatsapp.wire.codec import JSON

#: Bytes. Sealed it then has one of the sizes that every provider takes, with room for what senders put around it.
LONGEST: Final = 2_700
#: Collapse keys of one withdrawal: each is 35 bytes.
CLEARED_AT_ONCE: Final = 64

_encode = msgspec.json.Encoder().encode


def message(logged: Logged, count: int, user: str, device: str, *, preview: bool) -> bytes:
    """Of the newest message, for one device. ``preview``: with what was written, if it fits."""
    about = {
        "type": "message",
        "conversationId": logged.conversation,
        "messageId": logged.message_id,
        "seq": logged.seq,
        "senderId": logged.sender,
        "count": count,
    }
    if preview:
        frame = JSON.encode(item_for(logged, user, device))
        whole = _encode({**about, "frame": msgspec.Raw(frame)})
        if len(whole) <= LONGEST:
            return whole
    return _encode(about)


def clear(collapse: Sequence[str]) -> bytes:
    """These are no longer to be shown; at most :data:`CLEARED_AT_ONCE`."""
    return _encode({"type": "clear", "clear": list(collapse)})
