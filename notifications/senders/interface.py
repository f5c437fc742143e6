"""What every sender of push notifications takes and answers. A sender knows one app of one provider; it does not know why
something is sent, nor what becomes of the answer."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple, Protocol


class PushApp(NamedTuple):
    """One app of one provider, in one environment."""

    name: str
    provider: str
    #: What stands in ``PUSH_<NAME>_…``, by the rest of the name in lower case: ``{"key_id": "…", "environment": "sandbox"}``.
    options: Mapping[str, str]
    rate: int = 10_000  # pushes a second, of one worker process; ``PUSH_<NAME>_RATE``
    concurrency: int = 100  # pushes under way at once, of one worker process; ``PUSH_<NAME>_CONCURRENCY``


class Urgency(enum.Enum):
    """How soon the device is to be woken. Each sender has its own words for it (``apns-priority``, ``Urgency`` of RFC 8030)."""

    CALL = "call"  # at once, or not at all
    MESSAGE = "message"  # at once, seen and heard
    SILENT = "silent"  # when it costs nothing: the badge, what was read elsewhere


class Target(NamedTuple):
    """Where one device is reached."""

    user: str
    device: str
    app: str  # a name in ``settings.PUSH_APPS``
    token: str  # the provider's; the endpoint of a Web Push subscription
    p256dh: bytes | None = None  # the device's public key, 65 bytes uncompressed, and
    auth: bytes | None = None  # its secret of 16 bytes (RFC 8291); both or neither
    #: When the device gave us the token, ms since the epoch: a provider may say since when a token is dead.
    set_at: int = 0
    call_token: str | None = None  # of APNs: the token of PushKit, which calls ring with


class Push(NamedTuple):
    """One notification for one device."""

    id: str  # a UUID: the same whenever the same notification is sent again
    collapse: str  # at most 32 characters of base64url: a newer one with it takes the place of an earlier one
    urgency: Urgency
    ttl_s: int  # how long the provider may keep it for a device that is not there
    badge: int | None  # what the app's icon shows; None: it stays as it is
    #: A JSON object for the app alone. Senders pass it on encrypted with the target's keys (``notifications.sealing``) or not at
    #: all: no provider ever reads it.
    content: bytes | None = None


class Outcome(enum.Enum):
    ACCEPTED = "accepted"
    GONE = "gone"  # the token is dead for good: it is removed at once
    REFUSED = "refused"  # this push, for a reason that does not go away by trying again
    LATER = "later"  # nothing was accepted; try again after ``retry_after_ms``
    MISCONFIGURED = "misconfigured"  # our credentials or our app: nothing is wrong with the token


class Result(NamedTuple):
    outcome: Outcome
    #: The provider's own word, from a closed set (``Unregistered``, ``QUOTA_EXCEEDED``), "" when accepted. A metric's label.
    reason: str = ""
    status: int = 0  # of HTTP; 0: there was no answer
    retry_after_ms: int | None = None  # what the provider asked for
    #: Whether the answer is about the whole app (its quota, its credentials, the provider is down), not this token alone.
    of_app: bool = False


class Sender(Protocol):
    """One app of one provider. Used on one event loop."""

    @property
    def provider(self) -> str:
        """``apns``, ``fcm`` or ``webpush``."""

    async def send(self, target: Target, push: Push) -> Result:
        """Hand a notification to the provider. Never raises (but ``CancelledError``): what goes wrong is a result. Callers may
        have many sends under way at once."""

    async def close(self) -> None: ...
