"""What FCM answers to a send, and what it means: the error codes of the HTTP v1 API
(https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode) and of Google's APIs in general (google.rpc.Code)."""

from __future__ import annotations

import json
from typing import Any, Final

from notifications.senders.http2 import Answer
from notifications.senders.interface import Outcome, Result
from notifications.senders.retry_after import retry_after_ms
from whatsapp.infra import clock

#: "Retry after a minute" is what Google asks for where a quota is used up and no header says how long.
QUOTA_MS: Final = 60_000

_FCM_ERROR: Final = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST: Final = "type.googleapis.com/google.rpc.BadRequest"
_QUOTA_FAILURE: Final = "type.googleapis.com/google.rpc.QuotaFailure"
#: What a reason may be; a metric's label.
_WORDS: Final = frozenset({
    "UNSPECIFIED_ERROR", "INVALID_ARGUMENT", "UNREGISTERED", "SENDER_ID_MISMATCH", "QUOTA_EXCEEDED", "UNAVAILABLE", "INTERNAL",
    "THIRD_PARTY_AUTH_ERROR", "FAILED_PRECONDITION", "OUT_OF_RANGE", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND",
    "ABORTED", "ALREADY_EXISTS", "RESOURCE_EXHAUSTED", "CANCELLED", "DATA_LOSS", "UNKNOWN", "UNIMPLEMENTED", "DEADLINE_EXCEEDED",
})  # fmt: skip
_TOKEN_FIELD: Final = "message.token"  # noqa: S105 (a field's name)


class FcmAnswer:
    """One answer, taken apart. ``code`` is FCM's own word, or the general one where FCM has none, or ``HTTP``."""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self._asked_ms = retry_after_ms(answer.headers.get("retry-after"), clock.now_ms())
        self._body = _object(answer.body)
        error = self._body.get("error")
        self._error: dict[str, Any] = error if isinstance(error, dict) else {}
        words = [detail.get("errorCode") for detail in self._details(_FCM_ERROR)]
        words.append(self._error.get("status"))
        self.code: str = next((word for word in words if isinstance(word, str) and word in _WORDS), "HTTP")

    @property
    def token_expired(self) -> bool:
        """The access token was not accepted. FCM also says 401 of credentials that are stored in the Firebase project."""
        return self.status == 401 and self.code != "THIRD_PARTY_AUTH_ERROR"

    def result(self, proven: bool) -> Result:
        """``proven``: the credentials were good for another token already."""
        if self.status == 200:
            return self._accepted()
        if self.status == 429:
            wait = QUOTA_MS if self._asked_ms is None else self._asked_ms
            return self._is(Outcome.LATER, wait, of_app=not self._about_a_device())
        if self.status >= 500 or self.status == 408:
            return self._is(Outcome.LATER, self._asked_ms, of_app=True)
        match self.code:
            case "UNREGISTERED":
                return self._is(Outcome.GONE)
            case "SENDER_ID_MISMATCH" | "THIRD_PARTY_AUTH_ERROR":
                # The token is of another project, or of a kind that ours has no key for. That may be our mistake, so it is never
                # removed: one wrong file would empty the table. Anybody may bring such a token, so it is not held against the
                # app once others were accepted.
                return self._is(Outcome.REFUSED if proven else Outcome.MISCONFIGURED, of_app=not proven)
        if self.status == 400:
            return self._is(Outcome.GONE if self._about_the_token() else Outcome.REFUSED)
        if self.status < 400 or self.status in (401, 403, 404):
            return self._is(Outcome.MISCONFIGURED, of_app=True)
        return self._is(Outcome.REFUSED)

    def _accepted(self) -> Result:
        # A proxy's page of welcome is no acceptance.
        name = self._body.get("name")
        if isinstance(name, str) and name.startswith("projects/"):
            return Result(Outcome.ACCEPTED, "", 200)
        return Result(Outcome.LATER, "unreadable", 200, of_app=True)

    def _is(self, outcome: Outcome, wait_ms: int | None = None, *, of_app: bool = False) -> Result:
        return Result(outcome, self.code, self.status, wait_ms, of_app)

    def _about_the_token(self) -> bool:
        """A message that is too large, or a key that is reserved, has the same code as a token that is none."""
        if self.code != "INVALID_ARGUMENT":
            return False
        bad = self._details(_BAD_REQUEST)
        if not bad:
            # As documented: the field is not named then, and only the sentence tells.
            return bool(self._details(_FCM_ERROR)) and "registration token" in str(self._error.get("message"))
        fields = [
            violation.get("field") for detail in bad for violation in _list(detail.get("fieldViolations"))
        ]
        return bool(fields) and all(field == _TOKEN_FIELD for field in fields)

    def _about_a_device(self) -> bool:
        """ "Device message rate exceeded"; where nothing says so, the quota is the project's."""
        said = [str(self._error.get("message"))]
        for detail in self._details(_QUOTA_FAILURE):
            for violation in _list(detail.get("violations")):
                said += [str(violation.get("subject")), str(violation.get("description"))]
        return any("device" in text.lower() for text in said)

    def _details(self, kind: str) -> list[dict[str, Any]]:
        return [detail for detail in _list(self._error.get("details")) if detail.get("@type") == kind]


def _list(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
