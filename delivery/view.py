"""How a row of the log looks on the wire."""

from __future__ import annotations

from typing import Any, TypeGuard

import msgspec
from django.conf import settings

from delivery.envelopes import envelope_of, unpack
from delivery.franking import Place, tag
from delivery.store.values import Logged
from whatsapp.infra import clock
from whatsapp.wire import frames
from whatsapp.wire.codec import Codec

#: Optional fields of a message that are kept in ``extra`` (msgpack map, wire names in snake case).
EXTRA_FIELDS = (
    "media_url",
    "reply_to",
    "forward_id",
    "forward_count",
    "expires_in",
    "mentions",
    "view_once",
    "franking",
)
EVENT_KINDS = frozenset(
    ("edit", "delete", "reaction", "member_added", "member_removed", "role", "info", "timer", "vote")
)

#: Ids, times and names of the fields of an event in a batch, at most, those of an envelope too.
_ITEM_BYTES = 768

_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode
_encode = msgspec.msgpack.Encoder(order="sorted").encode


def pack_extra(frame: frames.SendMessage, *, franked: bool = True) -> bytes | None:
    """The optional fields that the log keeps, None if there are none; without its commitment if not ``franked``."""
    extra = {
        name: value
        for name in EXTRA_FIELDS
        if (value := getattr(frame, name)) is not None and value is not False
    }
    if not franked:
        extra.pop("franking", None)
    return _encode(extra) if extra else None


def pack_target(target_id: str, franking: bytes | None = None) -> bytes:
    """What the log keeps of an edit, a delete or a reaction besides its content."""
    return _encode(
        {"target_id": target_id} if franking is None else {"franking": franking, "target_id": target_id}
    )


def page_bytes(codec: Codec) -> int:
    """How much a page may hold so that its ``sync_batch`` stays within MAX_BATCH_BYTES: base64 makes four bytes of three."""
    room = frames.MAX_BATCH_BYTES - frames.MAX_BATCH_EVENTS * _ITEM_BYTES
    return room * 3 // 4 if codec.text else room


def item_for(logged: Logged, user: str, device: str) -> frames.Message | frames.Event:
    """The frame of a row for this device: a message with the device's own envelope, if it has one."""
    frame = item_frame(logged)
    if logged.envelopes is not None and has_content(frame):
        frame.envelope = envelope_of(unpack(logged.envelopes), user, device)
    return frame


def has_content(frame: frames.Message | frames.Event) -> TypeGuard[frames.Message]:
    """Whether there is something that an envelope opens."""
    return type(frame) is frames.Message and not frame.deleted


def item_frame(logged: Logged) -> frames.Message | frames.Event:
    """The ``message`` or ``event`` frame of a row, as live delivery and batches carry it, without an envelope."""
    extra = _decode(logged.extra) if logged.extra else None
    kind: Any = logged.kind  # one of the wire's literals: nothing else was ever stored
    # When its time has come it is not shown, whether or not the store has emptied it yet.
    gone = 0 < logged.until <= clock.now_ms()
    content = None if gone else logged.content
    if kind in EVENT_KINDS:
        data = extra or {}
        if kind == "reaction":
            data["emoji"] = (content or b"").decode()
        event = frames.Event(
            conversation_id=logged.conversation,
            seq=logged.seq,
            kind=kind,
            actor_id=logged.sender,
            target_id=data.pop("target_id", None),
            user_id=data.pop("user_id", None),
            franking=data.pop("franking", None),
            data=data,
            server_timestamp=logged.at,
            encrypted_content=content or None if kind in ("edit", "vote") else None,
        )
        if event.franking is not None:
            if event.encrypted_content is None or event.target_id is None:
                event.franking = None
            else:
                event.franking_tag = _tag(event.franking, logged, event.target_id)
                event.actor_device_id = logged.device
        return event
    frame = frames.Message(
        message_id=logged.message_id,
        conversation_id=logged.conversation,
        sender_id=logged.sender,
        sender_device_id=logged.device,
        seq=logged.seq,
        seq_num=logged.seq_num or None,
        encrypted_content=content,
        timestamp=logged.sent_at,
        server_timestamp=logged.at,
        kind=kind,
        edited=logged.edited and not gone,
        deleted=content is None,
        request=logged.request,
    )
    if logged.until:
        frame.expires_in = -((logged.at - logged.until) // 1000)  # whole seconds; a part of one counts as one
    if extra and not gone:
        frame.media_url = extra.get("media_url")
        frame.reply_to = extra.get("reply_to")
        frame.forward_count = extra.get("forward_count")
        frame.mentions = extra.get("mentions") or None
        frame.view_once = extra.get("view_once", False)
    if content is not None:
        # What an edited message says is what its last edit was franked with; a row without optional fields may be edited too.
        franked = extra if not logged.edited else _decode(logged.form) if logged.form else None
        if franked and (franking := franked.get("franking")) is not None:
            frame.franking = franking
            frame.franking_tag = _tag(franking, logged, logged.message_id)
    return frame


def _tag(franking: bytes, logged: Logged, message_id: str) -> bytes:
    """Made whenever the frame is: what it says is in the row, and so the log keeps no tag."""
    place = Place(logged.conversation, message_id, logged.sender, logged.device, logged.at)
    return tag(settings.FRANKING_KEYS, franking, place)
