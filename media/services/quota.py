"""How large a file may be, and how many bytes its owner may send: of small files by the hour, of large ones by the day."""

from __future__ import annotations

from accounts import rates
from accounts.errors import Refused
from accounts.limits import DAY_MS, HOUR_MS, limit_for
from accounts.models import Account
from media.models import Kind, Media
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code


def most(kind: str, encrypted: bool) -> int:
    """Bytes that a file of this kind may have."""
    if kind == Kind.IMAGE:
        return LIMITS.media_photo_bytes if encrypted else LIMITS.media_photo_raw_bytes
    if kind == Kind.AUDIO:
        return LIMITS.media_audio_bytes
    return LIMITS.media_video_bytes if kind == Kind.VIDEO else LIMITS.media_document_bytes


def check_length(kind: str, encrypted: bool, length: int) -> None:
    """Raises :class:`Refused` (``too_large``, ``bad_request``)."""
    if length <= 0:
        raise Refused(Code.BAD_REQUEST, "A file has at least one byte.")
    limit = most(kind, encrypted)
    if length > limit:
        raise Refused(
            Code.TOO_LARGE, f"A file of this kind has at most {limit} bytes.", details={"limit": limit}
        )


def charge(account: Account, length: int, now: int) -> None:
    """Count the bytes of a file, :data:`LIMITS.media_least_bytes` at least: large files by the day, others by the hour. Raises
    :class:`Refused` (``rate_limited``)."""
    if length > LIMITS.media_large_bytes:
        scope, name, window = "media-large", "media_large_bytes_per_day", DAY_MS
    else:
        scope, name, window = "media", "media_bytes_per_hour", HOUR_MS
    number = max(length, LIMITS.media_least_bytes)
    limit = limit_for(account, name)
    wait = rates.take(
        scope=scope, subject=str(account.pk), limit=limit, window_ms=window, now=now, number=number
    )
    if wait:
        raise Refused(
            Code.RATE_LIMITED,
            "You have uploaded as much as is allowed; try again later.",
            retry_after_ms=wait,
        )


def counted(owner: Account, now: int) -> tuple[int, int]:
    """Bytes of a user that count at this moment: of the hour, and of the day in large files."""
    user, used = str(owner.pk), rates.used
    hour = limit_for(owner, "media_bytes_per_hour")
    day = limit_for(owner, "media_large_bytes_per_day")
    return (
        used(scope="media", subject=user, limit=hour, window_ms=HOUR_MS, now=now),
        used(scope="media-large", subject=user, limit=day, window_ms=DAY_MS, now=now),
    )


def meter(media: Media, size: int) -> None:
    """Count bytes of a file of unknown length, as those of a large one. Raises :class:`Refused` (``rate_limited``)."""
    wait = rates.take(
        scope="media-large", subject=str(media.owner_id), limit=limit_for(media.owner, "media_large_bytes_per_day"),
        window_ms=DAY_MS, now=now_ms(), number=size,
    )  # fmt: skip
    if wait:
        raise Refused(
            Code.RATE_LIMITED, "You have uploaded as much as is allowed; go on later.", retry_after_ms=wait
        )
