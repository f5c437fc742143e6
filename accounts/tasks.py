"""Housekeeping. Every statement may be repeated and run twice at once."""

from __future__ import annotations

from celery import shared_task

from accounts.limits import DAY_MS
from accounts.models import (
    Contact,
    DeviceLink,
    InstallationBan,
    KeptAnswer,
    LimitHit,
    Photo,
    RefreshToken,
    VerificationCode,
)
from accounts.services.pictures import drop_unused
from whatsapp.infra.clock import now_ms

#: How long a removed contact is told to devices that ask for changes. Who was away for longer reads the whole list.
REMOVED_KEPT_MS = 90 * DAY_MS

#: How long a code that leads nowhere any more says ``gone``; then nobody knows it.
LINK_KEPT_MS = 3_600_000


@shared_task
def prune() -> None:
    """Delete what has no effect any more: expired codes (also those of new devices), tokens and bans, answers
    kept for repeats, and counted events older than the longest window."""
    now = now_ms()
    VerificationCode.objects.filter(expires_at__lte=now).delete()
    DeviceLink.objects.filter(expires_at__lte=now - LINK_KEPT_MS).delete()
    RefreshToken.objects.filter(expires_at__lte=now).delete()
    InstallationBan.objects.filter(until__lte=now).delete()
    LimitHit.objects.filter(at__lte=now - DAY_MS).delete()
    Contact.objects.filter(removed=True, updated_at__lte=now - REMOVED_KEPT_MS).delete()
    KeptAnswer.objects.filter(created_at__lte=now - DAY_MS).delete()


@shared_task
def drop_photos() -> int:
    """Photos that no account shows: left behind by a crash, or by a storage that was away. Returns how many are gone."""
    return drop_unused(Photo)
