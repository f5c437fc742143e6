"""Housekeeping. Every statement may be repeated and run twice at once."""

from __future__ import annotations

from celery import shared_task

from accounts.limits import DAY_MS
from accounts.models import (
    Allowance,
    Contact,
    DeviceLink,
    IdentityNews,
    InstallationBan,
    KeptAnswer,
    LimitHit,
    Photo,
    Prekey,
    RefreshToken,
    VerificationCode,
)
from accounts.services import identities, idle, limit_overrides, sanctions
from accounts.services.pictures import drop_unused
from delivery import tasks
from whatsapp.infra.clock import now_ms

#: How long a removed contact is told to devices that ask for changes. Who was away for longer reads the whole list.
REMOVED_KEPT_MS = 90 * DAY_MS
#: How long an id of a prekey that was given out is known to be used, and news are kept for devices that are away.
USED_KEPT_MS = NEWS_KEPT_MS = 30 * DAY_MS
#: How long a code that leads nowhere any more says ``gone``; then nobody knows it.
LINK_KEPT_MS = 3_600_000


@shared_task
def tell_identities() -> int:
    """Tell of identity keys that have changed. What a run does not finish, or a broker forgets, the schedule brings back."""
    return identities.tell_changes()


def tell_identities_soon() -> None:
    """:func:`tell_identities` from anywhere: does not wait for the broker."""
    tasks.enqueue_soon(tell_identities)


@shared_task
def prune() -> None:
    """Delete what has no effect any more: expired codes (also those of new devices), tokens, bans and limits of one account or
    class, answers kept for repeats, counted events older than the longest window, prekeys that were given out, and news."""
    now = now_ms()
    VerificationCode.objects.filter(expires_at__lte=now).delete()
    DeviceLink.objects.filter(expires_at__lte=now - LINK_KEPT_MS).delete()
    RefreshToken.objects.filter(expires_at__lte=now).delete()
    InstallationBan.objects.filter(until__lte=now).delete()
    LimitHit.objects.filter(at__lte=now - DAY_MS).delete()
    Contact.objects.filter(removed=True, updated_at__lte=now - REMOVED_KEPT_MS).delete()
    KeptAnswer.objects.filter(created_at__lte=now - DAY_MS).delete()
    Allowance.objects.filter(tat__lte=now * 1000).delete()
    Prekey.objects.filter(given_at__lte=now - USED_KEPT_MS).delete()
    IdentityNews.objects.filter(at__lte=now - NEWS_KEPT_MS).delete()
    while limit_overrides.prune(now=now):
        pass


@shared_task
def drop_photos() -> int:
    """Photos that no account shows: left behind by a crash, or by a storage that was away. Returns how many are gone."""
    return drop_unused(Photo)


@shared_task
def end_sanctions() -> int:
    """What sanctions did whose time is over is taken back. Returns of how many accounts."""
    return sanctions.end_due(now=now_ms())


@shared_task
def unlink_idle() -> int:
    """Tell users of devices that nobody uses, and unlink those of which they were told. Returns how many were unlinked."""
    now = now_ms()
    unlinked = idle.unlink_idle(now=now)
    idle.tell_idle(now=now)
    return unlinked
