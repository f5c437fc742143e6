"""What each answer of APNs means to us. Apple, "Handling notification responses from APNs"."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from notifications.senders.http2 import Answer
from notifications.senders.interface import Outcome, Result
from notifications.senders.retry_after import retry_after_ms

EXPIRED_PROVIDER: Final = "ExpiredProviderToken"
PAYLOAD_TOO_LARGE: Final = "PayloadTooLarge"
#: The connection is at its end, the app's pushes are not.
CONNECTION_ENDS: Final = frozenset({"IdleTimeout", "Shutdown"})
#: The token, or all tokens: a wrong environment or topic of ours gives the same answer.
_OF_ANOTHER_APP: Final = frozenset({"BadDeviceToken", "DeviceTokenNotForTopic"})
_GONE: Final = frozenset({"ExpiredToken", "Unregistered"})
_REFUSED: Final = frozenset({
    "BadCollapseId", "BadExpirationDate", "BadMessageId", "BadPath", "BadPriority", "DuplicateHeaders", "InvalidPushType",
    "MethodNotAllowed", "MissingDeviceToken", "PayloadEmpty", PAYLOAD_TOO_LARGE,
})  # fmt: skip
_MISCONFIGURED: Final = frozenset({
    "BadCertificate", "BadCertificateEnvironment", "BadEnvironmentKeyIdInToken", "BadTopic", EXPIRED_PROVIDER,
    "Forbidden", "InvalidProviderToken", "MissingProviderToken", "MissingTopic", "TopicDisallowed",
    "UnrelatedKeyIdInToken",
})  # fmt: skip
_LATER_OF_APP: Final = frozenset({"InternalServerError", "ServiceUnavailable", "TooManyProviderTokenUpdates"})
_LATER: Final = CONNECTION_ENDS | {"TooManyRequests"}
REASONS: Final = _OF_ANOTHER_APP | _GONE | _REFUSED | _MISCONFIGURED | _LATER_OF_APP | _LATER


class Reply(NamedTuple):
    status: int
    reason: str  # of ``REASONS``, "other", or "" when the push was accepted
    #: With a dead token: since when it is dead for sure, ms since the epoch.
    dead_ms: int | None
    retry_after: str | None  # the header


def read(answer: Answer) -> Reply:
    if answer.status == 200:
        return Reply(200, "", None, None)
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        body = None
    fields = body if isinstance(body, dict) else {}
    reason, dead_ms = fields.get("reason"), fields.get("timestamp")
    return Reply(
        answer.status,
        reason if isinstance(reason, str) and reason in REASONS else "other",
        dead_ms if isinstance(dead_ms, int) else None,
        answer.headers.get("retry-after"),
    )


def result(reply: Reply, *, set_at: int, proven: bool, now_ms: int) -> Result:
    """``set_at``: when the device gave us its token, ms. ``proven``: the app's environment and topic are right, since APNs has
    accepted a push with them."""
    if not reply.reason:
        return Result(Outcome.ACCEPTED, status=reply.status)
    outcome, of_app = _outcome(reply, set_at, proven)
    wait_ms = retry_after_ms(reply.retry_after, now_ms) if outcome is Outcome.LATER else None
    return Result(outcome, reply.reason, reply.status, wait_ms, of_app)


def _outcome(reply: Reply, set_at: int, proven: bool) -> tuple[Outcome, bool]:
    """And whether it is about the whole app."""
    reason, status = reply.reason, reply.status
    if reason in _GONE or (reason == "other" and status == 410):
        # The device may have given us the token again since it died: then it lives.
        revived = reply.dead_ms is not None and reply.dead_ms < set_at
        return (Outcome.LATER if revived else Outcome.GONE), False
    if reason in _OF_ANOTHER_APP:
        return (Outcome.GONE if proven else Outcome.REFUSED), False
    if reason in _MISCONFIGURED or (reason == "other" and status == 403):
        return Outcome.MISCONFIGURED, True
    if reason in _REFUSED:
        return Outcome.REFUSED, False
    if reason in _LATER or (reason == "other" and status == 429):
        return Outcome.LATER, False
    if reason in _LATER_OF_APP or status >= 500:
        return Outcome.LATER, True
    return Outcome.REFUSED, False
