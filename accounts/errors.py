"""What a service raises when it refuses. The REST layer makes a problem document of it, a socket an ``error`` frame."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from whatsapp.wire.errors import Code


class Refused(Exception):
    """``code`` is one of ``whatsapp.wire.errors.Code``; ``message`` is for the client and holds no personal data."""

    def __init__(
        self, code: str, message: str, *, details: dict[str, Any] | None = None, retry_after_ms: int = 0
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.retry_after_ms = retry_after_ms


def banned(until: int | None, appeal_url: str | None = None) -> Refused:
    """``banned``, the account or the device, with what the person may know: until when (ms), and where to appeal (of an account:
    :func:`accounts.appeals.banned_account`)."""
    return Refused(
        Code.BANNED,
        "This account or device is banned.",
        details={"until": until, "appealUrl": settings.APPEAL_URL if appeal_url is None else appeal_url},
    )
