"""Setting and ending where a device is reached."""

from __future__ import annotations

import hashlib
import uuid
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from accounts import events, rates
from accounts.errors import Refused
from accounts.limits import HOUR_MS, limit_for
from accounts.locks import lock_hash
from accounts.models import Account, Device
from notifications.models import PushTarget
from notifications.senders.interface import PushApp
from notifications.tokens import checked, checked_call_token, invalid
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code


class QuietHours(NamedTuple):
    """Minutes of the day in a time zone of IANA."""

    start: int
    until: int
    time_zone: str


class Wanted(NamedTuple):
    """What a client sets."""

    app: str
    token: str
    p256dh: bytes | None
    auth: bytes | None
    preview: bool = True
    quiet: QuietHours | None = None
    call_token: str = ""  # of PushKit
    fields: tuple[str, str] = ("token", "keys")  # what the body calls them


def token_hash(token: str) -> bytes:
    """What names a token beside its app."""
    return hashlib.sha256(token.encode()).digest()


def check_apps() -> None:
    """Raises :class:`Refused` (``feature_disabled``): there are no apps."""
    if not settings.PUSH_APPS:
        raise Refused(Code.FEATURE_DISABLED, "Push notifications are not available here.")


def _app(name: str) -> PushApp:
    check_apps()
    found: PushApp | None = settings.PUSH_APPS.get(name)
    if found is None:
        raise invalid("app", "is not known here")
    return found


def check_own(*, account: Account, device: Device, device_id: uuid.UUID) -> None:
    """Raises :class:`Refused` unless ``device_id`` is the calling device: ``forbidden`` for another one of the account (a token
    and its keys belong to who holds them), ``not_found`` for every other id."""
    if device_id == device.pk:
        return
    if Device.objects.filter(pk=device_id, user=account, unlinked_at=None).exists():
        raise Refused(Code.FORBIDDEN, "A device sets where it is reached itself.")
    raise Refused(Code.NOT_FOUND, "You have no such device.")


def set_target(*, device: Device, wanted: Wanted) -> PushTarget:
    """From now on the device is reached there, and nowhere else. Another device with the same token of the same app is reached
    no more. The same again changes nothing but when it was set.

    ``device`` is the calling one. Raises :class:`Refused`: ``feature_disabled``, ``bad_request``, ``rate_limited``,
    ``unauthenticated`` (its session has ended since the request was let in).
    """
    app = _app(wanted.app)
    now = now_ms()
    wait = rates.take(
        scope="push_targets",
        subject=str(device.pk),
        limit=limit_for(device.user, "push_targets_per_hour"),
        window_ms=HOUR_MS,
        now=now,
    )
    if wait:
        raise Refused(
            Code.RATE_LIMITED, "Too many changes of push tokens; try again later.", retry_after_ms=wait
        )
    token = checked(app=app, token=wanted.token, p256dh=wanted.p256dh, auth=wanted.auth, fields=wanted.fields)
    call_token = checked_call_token(app=app, token=wanted.call_token)
    hashed = token_hash(token)
    quiet = wanted.quiet
    values = {
        "app": app.name,
        "token": token,
        "call_token": call_token,
        "token_hash": hashed,
        "p256dh": wanted.p256dh,
        "auth": wanted.auth,
        "preview": wanted.preview,
        "quiet_from": quiet.start if quiet else None,
        "quiet_until": quiet.until if quiet else None,
        "time_zone": quiet.time_zone if quiet else "UTC",
        "set_at": now,
    }
    with transaction.atomic():
        # Whoever ends the session locks the device too: it finds what is set here, or this finds that it has ended.
        known = Device.objects.select_for_update(no_key=True).filter(
            pk=device.pk, unlinked_at=None, revoked_at=None, session_from=device.session_from
        )
        if not known.exists():
            raise Refused(Code.UNAUTHENTICATED, "The session has ended.")
        _lock_token(app.name, hashed)
        # In the order of their keys: two devices may exchange their tokens.
        both = PushTarget.objects.select_for_update().filter(
            Q(device=device) | Q(app=app.name, token_hash=hashed)
        )
        own = None
        for target in both.order_by("pk"):
            if target.pk == device.pk:
                own = target
            else:
                target.delete()
        if own is None:
            # Processes that fan out have it that nothing of this user is reached.
            events.devices_changed(user_id=str(device.user_id))
            return PushTarget.objects.create(device=device, **values)
        if (own.app, bytes(own.token_hash)) != (app.name, hashed):
            # Of the token before.
            values |= {"success_at": None, "error_at": None, "error": ""}
        for name, value in values.items():
            setattr(own, name, value)
        own.save(update_fields=list(values))
        return own


def _lock_token(app: str, hashed: bytes) -> None:
    """Until the end of the transaction nobody else sets this token: what is not there yet cannot be locked as a row."""
    lock_hash(hashlib.sha256(app.encode() + b"\0" + hashed).digest())


def clear_target(device_id: uuid.UUID | str) -> None:
    """The device is reached no more, from when the transaction is committed on. Idempotent."""
    with transaction.atomic():
        # Locked before what refers to it goes, so that nobody writes another state of it meanwhile.
        found = list(PushTarget.objects.select_for_update().filter(pk=device_id))
        for target in found:
            target.delete()
