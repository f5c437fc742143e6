"""Linking a device by a QR code: the new device shows it, the primary one reads it and approves.

New device: ``async with link.request(url, "laptop") as offer``, show ``offer.qr``, then ``session = await offer.wait()``.
Primary device: ``await client.look_at_link(text)``, ask the person, then ``await client.approve_link(text)``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType

from .errors import Gone, RestError, Unreachable
from .group_calls import part
from .rest import Rest
from .session import Session, new_key
from .signals import Signals

PREFIX = ("wa-link", "1")
AGAIN = 1.0  # seconds, after no answer


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """What asks to be let in. ``device_name``: what it says of itself; it may say anything. ``same_address``: it is where this
    device is; otherwise somebody far away may have made the code."""

    device_name: str
    asked_at: int
    expires_at: int
    same_address: bool
    status: str


class Offer:
    """What a new device shows until it is approved. ``qr``: the text of the code, good until ``expires_at`` (ms)."""

    def __init__(self, rest: Rest, device_name: str, registration_id: int | None) -> None:
        self._rest = rest
        self._body = {"deviceName": device_name}
        if registration_id is not None:
            self._body |= {"registrationId": registration_id}  # type: ignore[dict-item]
        self.qr = ""
        self.expires_at = 0
        self._id = self._secret = ""

    async def __aenter__(self) -> Offer:
        """Ask for a code. Raises :class:`RestError`, :class:`Unreachable`."""
        offer = await self._rest.call("POST", "/auth/link", self._body, authenticated=False)
        self.qr, self.expires_at = str(offer["qr"]), int(offer["expiresAt"])
        self._id, self._secret = str(offer["linkId"]), str(offer["pollSecret"])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The code ends by itself."""

    async def wait(self) -> Session:
        """The session, once the user's primary device has approved. Its ``phone_number`` is read from the account. Raises
        :class:`Gone` when the code has expired or was refused: show another one."""
        while True:
            pause = AGAIN
            try:
                answer = await self._rest.call(
                    "GET", f"/auth/link/{part(self._id)}", authenticated=False, secret=self._secret
                )
                if answer["status"] == "approved":
                    return await self._session(answer)
                pause = int(answer.get("retryAfter") or 1_000) / 1000
            except Unreachable:
                pass  # had it been approved, that is gone; the next look says so
            except RestError as error:
                # Too many devices: one may be removed meanwhile.
                if error.code not in ("limit_exceeded", "unavailable", "rate_limited"):
                    raise
                pause = error.retry_after or AGAIN
            await asyncio.sleep(pause)

    async def _session(self, answer: dict) -> Session:
        self._rest.token = str(answer["token"])
        session = Session(
            "", str(answer["userId"]), str(answer["deviceId"]), self._rest.token, str(answer["refreshToken"]),
            int(answer.get("expiresAt") or 0), new_key(),
        )  # fmt: skip
        try:
            session.phone_number = str((await self._rest.me())["phoneNumber"])
        except (RestError, Unreachable):
            pass  # the session counts, and is given once
        return session


def request(url: str, device_name: str, *, registration_id: int | None = None) -> Offer:
    """For a device without a session: ``async with link.request(url, "laptop") as offer``."""
    return Offer(Rest(url), device_name, registration_id)


def read_code(text: str) -> tuple[str, str]:
    """(id, secret) of a code; what a client has appended is not looked at. Raises ValueError for what is none."""
    parts = text.strip().split(":")
    if len(parts) < 4 or tuple(parts[:2]) != PREFIX or not parts[2] or not parts[3]:
        raise ValueError("this is no code of a device")
    return parts[2], parts[3]


class Linked(Signals):
    """The part of a :class:`Client` that lets other devices in: on the primary device, others get :class:`Forbidden`. All of it
    raises ValueError for what is no code, :class:`Gone` for one that has expired, :class:`RestError`, :class:`Unreachable`."""

    async def look_at_link(self, qr_text: str) -> LinkRequest:
        """What asks to be let in; show it to the person first."""
        link_id, secret = read_code(qr_text)
        shown = await self.rest.call("GET", f"/auth/link/{part(link_id)}/device", secret=secret)
        return _asked(shown)

    async def approve_link(
        self, qr_text: str, history_days: int = 0, *, pin: str | None = None
    ) -> LinkRequest:
        """Let the device in that shows this code, with so many days of history (at most 30). ``pin``: if the account has one."""
        link_id, secret = read_code(qr_text)
        body = {"secret": secret, "historyDays": history_days} | ({"pin": pin} if pin else {})
        return _asked(await self._do("PUT", f"/auth/link/{part(link_id)}", body))

    async def reject_link(self, qr_text: str) -> None:
        """The code is void."""
        link_id, secret = read_code(qr_text)
        await self.rest.call("DELETE", f"/auth/link/{part(link_id)}", secret=secret)


def _asked(shown: dict) -> LinkRequest:
    return LinkRequest(
        str(shown["deviceName"]), int(shown["askedAt"]), int(shown["expiresAt"]), bool(shown["sameAddress"]),
        str(shown["status"]),
    )  # fmt: skip


__all__ = ["Gone", "LinkRequest", "Linked", "Offer", "read_code", "request"]
