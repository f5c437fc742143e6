"""Linking a device by a QR code: the new device shows it, one that is signed in reads it and approves."""

from __future__ import annotations

from types import TracebackType

from .session import Session
from .signals import Signals


class Offer:
    """What a new device shows until it is approved. ``qr``: the text of the code."""

    qr: str = ""

    async def wait(self) -> Session:
        """The session, once a device of the user has approved. Raises :class:`Gone` when the code is too old."""
        raise NotImplementedError

    async def __aenter__(self) -> Offer:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def request(url: str, device_name: str) -> Offer:
    """``async with link.request(url, "laptop") as offer``: show ``offer.qr``, then ``session = await offer.wait()``."""
    raise NotImplementedError


class Linked(Signals):
    """The part of a :class:`Client` that lets other devices in."""

    async def approve_link(self, qr_text: str, history_days: int = 0) -> None:
        """Let the device in that shows this code, with so many days of history."""
        raise NotImplementedError
