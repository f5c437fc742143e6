"""A new device is let in by a code on its screen: it asks, shows the code, the account's primary device scans and approves it,
and the new device fetches its session.

Nobody proves anything by the id of a link. The code's secret approves or rejects it, and only together with a session of a
primary device; the new device's own secret, which is in no code, fetches the session, once. So who photographs the screen can
let the device into *their own* account at most, and never gets into that of the owner. ``docs/subsystems/linking.md``.

Order of locks: the link, the installation, the account, its devices.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from typing import Final, Literal, NamedTuple

from django.db import transaction

from accounts import limits
from accounts.appeals import banned_account
from accounts.errors import Refused
from accounts.installations import check_not_banned, installation_hash, lock
from accounts.limits import DAY_MS, HOUR_MS
from accounts.models import Account, Device, DeviceLink
from accounts.services import pins
from accounts.services.devices import check_room, link_device
from accounts.services.sessions import Tokens, start_session
from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

_BYTES: Final = 32
#: What the text of the code begins with; the number is that of this form of it.
PREFIX: Final = "wa-link:1"
#: How long a new device waits between two looks.
POLL_MS: Final = 2_000

State = Literal["pending", "approved", "linked"]


class Offer(NamedTuple):
    """What a new device is given: it shows ``qr`` and keeps ``poll_secret`` to itself. Times in ms since the epoch."""

    link_id: str
    qr: str
    poll_secret: str
    expires_at: int


class Pending(NamedTuple):
    expires_at: int


class Asked(NamedTuple):
    """What is shown to who is about to approve, or has approved."""

    state: State
    device_name: str  # what the new device says of itself
    asked_at: int
    expires_at: int
    same_address: bool  # it asked from the address from which the caller looks
    device_id: str | None  # once it is linked
    history_days: int


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _asker(address: str) -> bytes:
    return limits.subject_hash("asker", address)


def ask(
    *, name: str, registration_id: int | None = None, device_id: str | None = None, address: str = ""
) -> Offer:
    """A new code. ``device_id`` is the client's installation id.

    Raises :class:`Refused`: ``rate_limited`` (by address), ``banned`` (the installation).
    """
    now = now_ms()
    limits.count(
        scope="link_ip",
        subject=address,
        limit=LIMITS.links_per_address_hour,
        window_ms=HOUR_MS,
        now=now,
    )
    installation = installation_hash(device_id)
    check_not_banned(installation=installation, now=now)
    secret, poll_secret = secrets.token_urlsafe(_BYTES), secrets.token_urlsafe(_BYTES)
    link = DeviceLink.objects.create(
        secret_hash=_hash(secret),
        poll_hash=_hash(poll_secret),
        name=name,
        registration_id=registration_id,
        installation=installation,
        asker=_asker(address),
        created_at=now,
        expires_at=now + LIMITS.link_ttl_ms,
    )
    metrics.count("links", "asked")
    return Offer(str(link.pk), f"{PREFIX}:{link.pk}:{secret}", poll_secret, link.expires_at)


def poll(*, link_id: uuid.UUID, poll_secret: str) -> Pending | Tokens:
    """What became of the link; when it was approved, the session of the new device, which exists from then on and is owed what
    was agreed. Given once: nothing of it is kept.

    Raises :class:`Refused`: ``not_found`` (no such link, or another secret), ``gone`` (expired, rejected, fetched, or who
    approved may not any more), ``banned``, ``limit_exceeded`` (devices; it may go on polling while one is removed).
    """
    # Most looks find nothing new: they take no lock.
    link = _find(link_id, poll_secret, "poll_hash")
    now = now_ms()
    if _state(link, now) == "pending":
        return Pending(link.expires_at)
    with transaction.atomic():
        link = _find(link_id, poll_secret, "poll_hash", lock=True)
        if _state(link, now) != "approved":
            raise _gone()
        tokens = _let_in(link)
    metrics.count("links", "linked")
    return tokens


def look(*, account: Account, device: Device, link_id: uuid.UUID, secret: str, address: str = "") -> Asked:
    """What asks to be let in, for the primary device, which has scanned the code; changes nothing.

    Raises :class:`Refused`: ``forbidden`` (no primary device), ``not_found``, ``gone``.
    """
    _check_primary(device)
    link = _find(link_id, secret, "secret_hash")
    _check_open(link, account, now_ms())
    return _asked(link, address)


def approve(
    *,
    account: Account,
    device: Device,
    link_id: uuid.UUID,
    secret: str,
    history_days: int = 0,
    pin: str | None = None,
    address: str = "",
) -> Asked:
    """Let the new device in, with the history of so many days. ``device`` is the caller's; an account with a PIN is asked for it,
    as for any new device. A repetition changes nothing.

    Raises :class:`Refused`: ``forbidden`` (no primary device, {pinRequired}, {pinWrong}), ``not_found``, ``gone`` (expired,
    rejected, or approved by another account), ``conflict`` (approved with other ``history_days``), ``limit_exceeded``,
    ``rate_limited``, ``banned``, ``unavailable``.
    """
    _check_primary(device)
    now = now_ms()
    refusal: Refused | None = None
    with transaction.atomic():
        link = _find(link_id, secret, "secret_hash", lock=True)
        _check_open(link, account, now)
        if link.device_id is not None:
            return _asked(link, address)
        installation = _installation(link)
        lock(installation)
        check_not_banned(installation=installation, now=now)
        locked = Account.objects.select_for_update().get(pk=account.pk)
        approver = _approver(device.pk, now)
        if approver is None or locked.is_banned(now):
            raise Refused(Code.FORBIDDEN, "Only the primary device may link others.")
        # An earlier approval that ended with what gave it is none; this is a new one.
        if link.approver_id == approver.pk and approver.session_from <= (link.approved_at or 0):
            if link.history_days != history_days:
                raise Refused(Code.CONFLICT, "It was approved with another history.")
            return _asked(link, address)
        check_room(account=locked)
        wait = limits.wait(
            scope="link_approve",
            subject=str(account.pk),
            limit=limits.limit_for(locked, "link_approvals_per_day"),
            window_ms=DAY_MS,
            now=now,
        )
        if wait:
            raise Refused(Code.RATE_LIMITED, "Too many devices approved today.", retry_after_ms=wait)
        # Last: what is counted there must not be undone by a refusal.
        stored = pins.of(account=locked)
        if stored is not None:
            if not pin:
                raise pins.required()
            refusal = pins.check(stored=stored, pin=pin, by=approver, now=now)
        if refusal is None:
            limits.note(scope="link_approve", subject=str(account.pk), now=now)
            link.user, link.approver = locked, approver
            link.history_days, link.approved_at = history_days, now
            link.expires_at = now + LIMITS.link_pickup_ms
            link.save(update_fields=["user", "approver", "history_days", "approved_at", "expires_at"])
    if refusal is not None:
        raise refusal  # outside: a wrong PIN was counted
    metrics.count("links", "approved")
    return _asked(link, address)


def reject(*, account: Account, device: Device, link_id: uuid.UUID, secret: str) -> None:
    """Refuse the new device, or take an approval back that it has not used yet. Idempotent.

    Raises :class:`Refused`: ``forbidden`` (no primary device), ``not_found``, ``conflict`` (it is linked: unlink it), ``gone``
    (another account has approved it).
    """
    _check_primary(device)
    now = now_ms()
    with transaction.atomic():
        link = _find(link_id, secret, "secret_hash", lock=True)
        if link.user_id is not None and link.user_id != account.pk:
            raise _gone()
        if link.device_id is not None:
            raise Refused(Code.CONFLICT, "It is linked already; remove the device.")
        if link.rejected_at is None:
            link.rejected_at = now
            link.save(update_fields=["rejected_at"])
            metrics.count("links", "rejected")


def _find(link_id: uuid.UUID, secret: str, column: str, *, lock: bool = False) -> DeviceLink:
    links = DeviceLink.objects.select_for_update() if lock else DeviceLink.objects.all()
    link = links.filter(pk=link_id).first()
    known = bytes(getattr(link, column)) if link is not None else bytes(_BYTES)
    # The same work and the same answer whether there is such a link or not.
    if not hmac.compare_digest(known, _hash(secret)) or link is None:
        raise Refused(Code.NOT_FOUND, "There is no such code.")
    return link


def _state(link: DeviceLink, now: int) -> State | Literal["gone"]:
    if link.device_id is not None:
        return "linked"
    if link.rejected_at is not None or link.expires_at <= now:
        return "gone"
    return "pending" if link.approved_at is None else "approved"


def _gone() -> Refused:
    return Refused(Code.GONE, "This code is not good any more; show a new one.")


def _installation(link: DeviceLink) -> bytes | None:
    return bytes(link.installation) if link.installation is not None else None


def _check_primary(device: Device) -> None:
    if not device.primary:
        raise Refused(Code.FORBIDDEN, "Only the primary device may link others.")


def _check_open(link: DeviceLink, account: Account, now: int) -> None:
    """Raises :class:`Refused` (``gone``) unless it waits, or this account has approved it."""
    if _state(link, now) == "gone" or (link.user_id is not None and link.user_id != account.pk):
        raise _gone()


def _approver(device_id: uuid.UUID, now: int, since: int | None = None) -> Device | None:
    """The device, locked, if it may let others in; ``since``: by a session that goes on since then. Its account is locked."""
    device = (
        Device.objects.select_for_update()
        .filter(pk=device_id, primary=True, unlinked_at=None, revoked_at=None)
        .first()
    )
    if device is None or device.is_banned(now) or (since is not None and device.session_from > since):
        return None
    return device


def _let_in(link: DeviceLink) -> Tokens:
    """The new device and its session. The link is locked and approved."""
    installation = _installation(link)
    lock(installation)
    account = Account.objects.select_for_update().get(pk=link.user_id)
    # Behind the locks: gateways must not take the device for older than it is (ADR 0008).
    now = now_ms()
    check_not_banned(installation=installation, now=now)
    if account.is_banned(now):
        raise banned_account(account)
    approver = _approver(link.approver_id, now, link.approved_at)
    if approver is None:
        raise _gone()
    link.device = link_device(
        account=account,
        name=link.name,
        registration_id=link.registration_id,
        installation=installation,
        linked_by=approver,
        history_since=now - link.history_days * DAY_MS if link.history_days else 0,
        now=now,
    )
    link.save(update_fields=["device"])
    return start_session(device=link.device, now=now)


def _asked(link: DeviceLink, address: str) -> Asked:
    state: State = "linked" if link.device_id else "pending" if link.approved_at is None else "approved"
    return Asked(
        state=state,
        device_name=link.name,
        asked_at=link.created_at,
        expires_at=link.expires_at,
        same_address=bool(address) and hmac.compare_digest(bytes(link.asker), _asker(address)),
        device_id=str(link.device_id) if link.device_id else None,
        history_days=link.history_days,
    )
