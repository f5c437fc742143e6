"""Errors a caller of the client may see."""

from __future__ import annotations

from typing import Any


class ClientError(Exception):
    """Base of everything this package raises."""


class NotFranked(ClientError):
    """An encrypted message that its sender has not committed to, or to something else: who read it could not report it."""


class RestError(ClientError):
    """The server answered a REST call with a problem document (RFC 9457).

    ``code`` is the last part of the problem's ``type`` (``not_found``, ``rate_limited``…), ``status`` the
    HTTP status, and ``retry_after`` the seconds of the ``Retry-After`` header, if there was one. Codes that callers often
    care about have a class of their own (:data:`REST_ERRORS`). ``url``: what was asked, "" if it is not known.
    """

    url = ""

    def __init__(
        self, status: int, code: str, message: str, *, retry_after: float | None = None, details: Any = None
    ) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.details = details


class NotFound(RestError):
    """There is no such thing, or nothing that this user may see. Groups are this for everybody outside."""


class Forbidden(RestError):
    """The user may see it, but not do this: the role is missing."""


class CaptchaRequired(Forbidden):
    """A code is sent once a person has solved a CAPTCHA: show it (``provider``, ``site_key``), and give its token to
    ``rest.register(…, challenge_answer=token)``."""

    def __init__(self, refusal: Forbidden, challenge: dict[str, Any]) -> None:
        super().__init__(refusal.status, refusal.code, refusal.message, details=refusal.details)
        self.provider = str(challenge.get("provider", ""))
        self.site_key = str(challenge.get("siteKey", ""))


class Gone(RestError):
    """An invite that has expired, was revoked or is used up."""


class LimitExceeded(RestError):
    """A group is full, or there are too many of something."""


class RateLimited(RestError):
    """Too often; again after ``retry_after`` seconds."""


class Unreachable(ClientError):
    """No answer: refused, timed out or cut off. Whether a write took effect is unknown."""


class Closed(ClientError):
    """The socket ended. ``code`` is a WebSocket close code, 1006 when there was no close frame. ``retry_after``: seconds;
    ``slotted``: they are a slot of this client's own, from a `reconnect` frame. ``details``: those of the error before it, behind
    which the server closed (4403: ``until`` in ms, ``appealUrl``)."""

    def __init__(
        self,
        code: int,
        reason: str = "",
        *,
        retry_after: float | None = None,
        slotted: bool = False,
        details: Any = None,
    ) -> None:
        super().__init__(f"closed {code} {reason}".rstrip())
        self.code = code
        self.reason = reason
        self.retry_after = retry_after
        self.slotted = slotted
        self.details = details


class Stopped(ClientError):
    """The client has stopped for good (or was stopped) and can do nothing more."""


class SendFailed(ClientError):
    """The server refused a message for good; sending it again would not help."""

    def __init__(self, code: str, message: str, details: Any = None) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message
        self.details = details


class WindowExpired(SendFailed):
    """Too late: a message can be edited for 15 minutes and deleted for everyone for 48 hours."""


class MessageGone(SendFailed):
    """The message that it is about was deleted."""


class MessageNotFound(SendFailed):
    """There is no such message, or no reaction to take back."""


class SendLimitExceeded(SendFailed):
    """Forwarded to too many chats, or too many different reactions."""


class DeviceMismatch(SendFailed):
    """The envelopes are not those of the devices that are there: encrypt again for ``missing`` and ``stale``, without
    ``extra``, and :meth:`Client.retry` with the new ones."""

    @property
    def missing(self) -> list[Any]:
        return self._of("missing")

    @property
    def extra(self) -> list[Any]:
        return self._of("extra")

    @property
    def stale(self) -> list[Any]:
        return self._of("stale")

    def _of(self, name: str) -> list[Any]:
        devices = self.details.get(name) if isinstance(self.details, dict) else None
        return devices if isinstance(devices, list) else []


class MemberMismatch(SendFailed):
    """The members of the group are others than those whom ``memberHash`` stands for."""


SEND_ERRORS: dict[str, type[SendFailed]] = {
    "window_expired": WindowExpired,
    "gone": MessageGone,
    "not_found": MessageNotFound,
    "limit_exceeded": SendLimitExceeded,
    "device_mismatch": DeviceMismatch,
    "member_mismatch": MemberMismatch,
}


def refused(code: str, message: str, details: Any = None) -> SendFailed:
    """The error of a message with this code."""
    return SEND_ERRORS.get(code, SendFailed)(code, message, details)


class MediaRefused(ClientError):
    """The server will not pass this file on. ``reason``: why, in one word (``mismatch``, ``infected``…)."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the file was refused: {reason}" if reason else "the file was refused")
        self.reason = reason


class MediaDamaged(ClientError):
    """What came is not the file that was sent: cut short, changed, or encrypted with another key. Nothing of it is kept."""


class TooLarge(RestError):
    """A file of this kind may have ``details["limit"]`` bytes."""


class OutboxFull(ClientError):
    """More messages wait for their ✓ than the outbox holds."""


class DatabaseError(ClientError):
    """The file cannot be used: not ours, of another device, or made by a newer version."""


class DatabaseInUse(DatabaseError):
    """Another process has the file open; a device has one process at a time."""


class DatabaseBroken(DatabaseError):
    """The file can no longer be written (disk full, removed, closed). The client stops: what it cannot store it
    must not acknowledge."""


REST_ERRORS: dict[str, type[RestError]] = {
    "not_found": NotFound,
    "forbidden": Forbidden,
    "gone": Gone,
    "limit_exceeded": LimitExceeded,
    "rate_limited": RateLimited,
    "too_large": TooLarge,
}
