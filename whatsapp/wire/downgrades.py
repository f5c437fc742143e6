"""What clients of older versions are told instead of what they do not know: one table, a row per version and frame.

A change of a log always comes as something, for a client that missed a number would ask for it again and again. Nothing here
takes a right away: clients of every version may send every frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from whatsapp.wire import frames
from whatsapp.wire.frames import Frame

#: A frame as the version knows it: the same, a changed copy, or None where nothing is said.
Downgrade = Callable[[Any], Frame | None]


def without(*fields: str) -> Downgrade:
    """These fields are not said."""

    def change(frame: Frame) -> Frame:
        defaults = {
            field.name: field.default for field in msgspec.structs.fields(frame) if field.name in fields
        }
        return msgspec.structs.replace(frame, **defaults)

    return change


def kinds(others: Mapping[str, str]) -> Downgrade:
    """These kinds come as others."""

    def change(frame: Any) -> Frame:
        kind = others.get(frame.kind)
        return frame if kind is None else msgspec.structs.replace(frame, kind=kind)

    return change


def passed_by(*kinds: str) -> Downgrade:
    """Events of these kinds come as a change of the conversation that changes nothing: the number is there, nothing is shown."""

    def change(frame: frames.Event) -> Frame:
        if frame.kind not in kinds:
            return frame
        return msgspec.structs.replace(
            frame, kind="info", data={}, target_id=None, user_id=None, encrypted_content=None
        )

    return change


def unsaid(*kinds: str) -> Downgrade:
    """Notices of these kinds do not come: they are hints, and what they are about can be read."""
    return lambda frame: None if frame.kind in kinds else frame


def sealed(frame: frames.Message) -> Frame:
    """What may be seen once is not given to a client that would keep it: it comes empty, as deleted."""
    if not frame.view_once:
        return frame
    return msgspec.structs.replace(
        frame, encrypted_content=None, media_url=None, envelope=None, deleted=True, view_once=False
    )


def all_of(*downgrades: Downgrade) -> Downgrade:
    def change(frame: Frame) -> Frame | None:
        said: Frame | None = frame
        for downgrade in downgrades:
            if said is None:
                return None
            said = downgrade(said)
        return said

    return change


#: What reports are verified by: an older client has no use for it.
_FRANKED: Final = ("franking", "franking_tag")

#: Since 3.2: polls, what may be seen once, message requests, franking, and these notices.
_NEW_NOTICES: Final = (
    "prekeys_low", "identity_changed", "join_request", "join_answer", "number_changed", "pin", "profile_changed",
    "device_idle", "media", "export", "limited",
)  # fmt: skip

_TO_3_1: Final[Mapping[type[Frame], Downgrade]] = {
    # A poll is shown as the text that it is.
    frames.Message: all_of(sealed, without("request", *_FRANKED), kinds({"poll": "text"})),
    frames.Event: all_of(without(*_FRANKED, "actor_device_id"), passed_by("vote")),
    frames.Notice: unsaid(*_NEW_NOTICES),
}

#: Since 3.1: reactions, replies, forwards, mentions, messages that vanish, voice messages, stickers, places, contacts.
_TO_3_0: Final[Mapping[type[Frame], Downgrade]] = {
    frames.Message: all_of(
        _TO_3_1[frames.Message],
        without("reply_to", "forward_count", "mentions", "expires_in"),
        kinds({"voice": "audio", "sticker": "image", "location": "text", "contact": "text"}),
    ),
    frames.Event: all_of(_TO_3_1[frames.Event], passed_by("reaction", "timer")),
    frames.Notice: all_of(_TO_3_1[frames.Notice], unsaid("flags", "contact_deleted")),
}

#: version → frame → what its clients are told. An empty row speaks the frames as they are.
DOWNGRADES: Final[Mapping[str, Mapping[type[Frame], Downgrade]]] = {"3.2": {}, "3.1": _TO_3_1, "3.0": _TO_3_0}
