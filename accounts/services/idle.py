"""Devices that nobody uses are unlinked: each is a door to the account that nobody watches, and takes one of five places.

Only after their user was told days before, and nothing was seen of them since. So neither a clock that jumps nor a system that
was down for a month unlinks anybody: whoever comes back within those days is seen. The primary device is never unlinked for
being idle: it is what lets others in and takes them out.
"""

from __future__ import annotations

import logging
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet

from accounts import events
from accounts.limits import DAY_MS
from accounts.models import Account, Device
from accounts.services.devices import end_device, tell_removed
from whatsapp.infra import metrics

log = logging.getLogger(__name__)

_AT_ONCE: Final = 500
#: Devices of one run; what is left is done by the next one.
_RUN: Final = 10_000


def _seen_until(at: int) -> QuerySet[Device]:
    """Linked devices but primary ones of which nothing was seen since ``at``, those that were silent for longest first."""
    return Device.objects.filter(unlinked_at=None, primary=False, last_seen_at__lte=at).order_by(
        "last_seen_at", "pk"
    )


def _idle_ms() -> int:
    return settings.DEVICE_IDLE_DAYS * DAY_MS


def _notice_ms() -> int:
    return min(settings.DEVICE_IDLE_NOTICE_DAYS * DAY_MS, _idle_ms())


def tell_idle(*, now: int) -> int:
    """Tell the users of devices that will soon be unlinked: the notice ``device_idle`` on their other devices, once a silence.
    How many."""
    if not _idle_ms():
        return 0
    told = 0
    while told < _RUN:
        with transaction.atomic():
            # Rows that somebody writes at this moment are being used.
            due = list(
                _seen_until(now - _idle_ms() + _notice_ms())
                .filter(Q(idle_told_at=None) | Q(idle_told_at__lt=F("last_seen_at")))
                .select_for_update(skip_locked=True)[:_AT_ONCE]
            )
            Device.objects.filter(pk__in=[device.pk for device in due]).update(idle_told_at=now)
            for device in due:
                unlink_at = max(device.last_seen_at + _idle_ms(), now + _notice_ms())
                events.notice(
                    user_id=str(device.user_id),
                    kind="device_idle",
                    data={"deviceId": str(device.pk), "name": device.name, "unlinkAt": unlink_at},
                )
        told += len(due)
        if len(due) < _AT_ONCE:
            break
    return told


def _due(now: int) -> QuerySet[Device]:
    return _seen_until(now - _idle_ms()).filter(
        idle_told_at__lte=now - _notice_ms(), idle_told_at__gte=F("last_seen_at")
    )


def unlink_idle(*, now: int) -> int:
    """Unlink devices that were silent for too long, each in a transaction of its own: one that comes back at this moment is seen
    first and stays, or is told that it is unlinked. How many."""
    if not _idle_ms():
        return 0
    unlinked = 0
    for device_id, user_id in list(_due(now).values_list("pk", "user_id")[:_RUN]):
        try:
            with transaction.atomic():
                Account.objects.select_for_update().get(pk=user_id)
                device = _due(now).select_for_update().filter(pk=device_id).first()
                if device is None:
                    continue  # it is back
                end_device(device=device, now=now, reason="idle")
                tell_removed(device=device)
        except Exception:
            log.exception("an idle device stays for now")  # the others do not wait for it
        else:
            unlinked += 1
            metrics.count("links", "idle")
    return unlinked
