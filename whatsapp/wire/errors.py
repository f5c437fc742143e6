"""Error codes, close codes and the error a decoder raises. The one taxonomy; over REST a problem's ``type``
ends in the code."""

from typing import Any, Final

from whatsapp.wire.frames import Error


class Code:
    BAD_REQUEST: Final = "bad_request"
    UNKNOWN_TYPE: Final = "unknown_type"
    UNAUTHENTICATED: Final = "unauthenticated"
    FORBIDDEN: Final = "forbidden"
    NOT_MEMBER: Final = "not_member"
    NOT_FOUND: Final = "not_found"  # also for what the caller may not know
    CONFLICT: Final = "conflict"  # this messageId was used for another body
    GONE: Final = "gone"
    TOO_LARGE: Final = "too_large"
    UNSUPPORTED_MEDIA: Final = "unsupported_media"
    RATE_LIMITED: Final = "rate_limited"
    OUT_OF_ORDER: Final = "out_of_order"  # details {expected}
    DEVICE_MISMATCH: Final = "device_mismatch"  # details {missing, extra, stale}
    MEMBER_MISMATCH: Final = "member_mismatch"
    WINDOW_EXPIRED: Final = "window_expired"
    LIMIT_EXCEEDED: Final = "limit_exceeded"
    BANNED: Final = "banned"  # details {until, appealUrl}
    FEATURE_DISABLED: Final = "feature_disabled"
    UNAVAILABLE: Final = "unavailable"
    UPGRADE_REQUIRED: Final = "upgrade_required"
    WRONG_REGION: Final = "wrong_region"  # details {region, name, jurisdiction, url}
    RESET: Final = "reset"  # details {conversationId}
    INTERNAL: Final = "internal"


CODES: Final = frozenset(value for name, value in vars(Code).items() if name.isupper())

#: The client sends again with the same messageId (after mending what ``details`` names).
RETRYABLE: Final = frozenset({
    Code.RATE_LIMITED, Code.OUT_OF_ORDER, Code.DEVICE_MISMATCH, Code.MEMBER_MISMATCH, Code.UNAVAILABLE,
    Code.INTERNAL,
})  # fmt: skip


class Close:
    NORMAL: Final = 1000
    TOO_LARGE: Final = 1009
    INTERNAL: Final = 1011
    RESTART: Final = 1012  # deploy; come back in the slot of the last ``reconnect``
    OVERLOADED: Final = 1013
    NOT_A_FRAME: Final = 4400  # third malformed one in a row
    UNAUTHENTICATED: Final = 4401
    BANNED: Final = 4403
    TIMEOUT: Final = 4408  # no ``auth`` in 5 s, or no pong
    REPLACED: Final = 4409
    UNLINKED: Final = 4410
    UPGRADE_REQUIRED: Final = 4426
    FLOOD: Final = 4429
    SLOW_CONSUMER: Final = 4430


#: What a client does about a close code. 1006 is what a client sees when no close frame came.
RETRY_AT_ONCE: Final = frozenset({1006, Close.INTERNAL, Close.TIMEOUT, Close.SLOW_CONSUMER})  # with jitter
RETRY_AFTER_SLOT: Final = frozenset({Close.RESTART, Close.OVERLOADED})
RETRY_AFTER_REFRESH: Final = frozenset({Close.UNAUTHENTICATED})
RETRY_NEVER: Final = frozenset({Close.BANNED, Close.REPLACED, Close.UNLINKED, Close.UPGRADE_REQUIRED})


class FrameError(Exception):
    """A frame that cannot be taken.

    ``malformed``: it was no frame at all (the third in a row closes the socket with 4400); otherwise the
    socket lives. ``ref`` and ``message_id`` are those of the frame as far as they could be read, ``field`` is
    the JSON path of the field at fault ("" when it is not one field's).
    """

    def __init__(
        self,
        code: str,
        message: str,
        ref: str = "",
        malformed: bool = False,
        details: dict[str, Any] | None = None,
        *,
        field: str = "",
        message_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.ref = ref
        self.malformed = malformed
        self.field = field
        self.message_id = message_id
        self.details = details if details is not None else ({"field": field} if field else None)

    def frame(self) -> Error:
        """The ``error`` frame that answers it."""
        return error_frame(
            self.code, self.message, ref=self.ref, message_id=self.message_id, details=self.details
        )


def error_frame(
    code: str,
    message: str,
    *,
    ref: str = "",
    message_id: str | None = None,
    retry_after_ms: int | None = None,
    details: dict[str, Any] | None = None,
) -> Error:
    """An ``error`` frame whose ``retryable`` follows from its code."""
    return Error(code, message, code in RETRYABLE, message_id, retry_after_ms, details, ref=ref)
