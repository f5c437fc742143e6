"""What a client may give as the place where its device is reached, by provider. Nothing here asks anybody."""

from __future__ import annotations

import re
from typing import Final

from accounts.errors import Refused
from notifications.endpoints import refusal
from notifications.sealing import CannotSeal, check_keys
from notifications.senders.interface import PushApp
from whatsapp.wire.errors import Code

MAX_LENGTH: Final = 4_096
#: A device token of APNs: opaque bytes of a length that Apple does not promise, written in hexadecimal; in whole bytes.
_APNS: Final = re.compile(r"(?:[0-9a-fA-F]{2}){32,100}")
#: A registration token of FCM: opaque, visible ASCII.
_FCM: Final = re.compile(r"[!-~]{8,4096}")
#: Of a token no more is shown than this, and no more than a quarter of it.
_SHOWN: Final = 6


def invalid(field: str, text: str) -> Refused:
    """``bad_request`` that names the field, as fields of bodies do."""
    return Refused(Code.BAD_REQUEST, f"{field}: {text}.", details={"field": field})


def checked(
    *,
    app: PushApp,
    token: str,
    p256dh: bytes | None,
    auth: bytes | None,
    fields: tuple[str, str] = ("token", "keys"),
) -> str:
    """The token as it is kept. ``fields``: what the body calls token and keys. Raises :class:`Refused` (``bad_request``)."""
    if p256dh is not None or auth is not None:
        try:
            check_keys(p256dh or b"", auth or b"")
        except CannotSeal:
            raise invalid(fields[1], "must have a point of P-256 and a secret of 16 bytes") from None
    if app.provider == "webpush":
        if why := refusal(token, app.options):
            raise invalid(fields[0], f"the endpoint {why}")
        if p256dh is None:
            raise invalid(fields[1], "are needed with Web Push")
        return token
    if app.provider == "apns":
        if not _APNS.fullmatch(token):
            raise invalid(fields[0], "must be 64 to 200 hexadecimal digits")
        return token.lower()
    if not _FCM.fullmatch(token):
        raise invalid(fields[0], "must be 8 to 4096 visible ASCII characters")
    return token


def checked_call_token(*, app: PushApp, token: str) -> str:
    """Of PushKit, "" for none. Raises :class:`Refused` (``bad_request``)."""
    if token and (app.provider != "apns" or not _APNS.fullmatch(token)):
        raise invalid("callToken", "is of APNs alone, 64 to 200 hexadecimal digits")
    return token.lower()


def shortened(token: str) -> str:
    """The end of a token, by which its owner knows it again and nobody reaches the device."""
    return "…" + token[len(token) - min(_SHOWN, len(token) // 4) :]
