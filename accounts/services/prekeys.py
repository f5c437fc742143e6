"""What a device leaves here for others, so that they can begin an encrypted session with it while it is offline.

``docs/subsystems/keys.md``. Fetching is :mod:`accounts.services.bundles`. Whatever holds several of these locks takes them in
this order: account, device, one-time keys, row of the device's keys.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from django.db import transaction
from django.db.models import Count, Q

from accounts import events, rates
from accounts.curve import BadKey, Verifier, check_key, check_kyber_key
from accounts.errors import Refused
from accounts.limits import HOUR_MS, limit_for
from accounts.models import Account, Device, DeviceKeys, Prekey
from accounts.services import identities
from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

CLASSIC: Final = Prekey.Kind.CLASSIC
POST_QUANTUM: Final = Prekey.Kind.POST_QUANTUM


class PublicKey(NamedTuple):
    key_id: int
    public_key: bytes
    signature: bytes | None = None


class Upload(NamedTuple):
    identity_key: bytes
    signed: PublicKey
    classic: Sequence[PublicKey] = ()
    post_quantum: Sequence[PublicKey] = ()
    last: PublicKey | None = None
    registration_id: int | None = None


class Counts(NamedTuple):
    """One-time keys that are left."""

    classic: int
    post_quantum: int


def count(*, device: Device) -> Counts:
    found = Prekey.objects.filter(device=device, given_at=None).values_list("kind").annotate(Count("pk"))
    numbers = dict(found)
    return Counts(numbers.get(CLASSIC, 0), numbers.get(POST_QUANTUM, 0))


def upload(*, account: Account, device: Device, keys: Upload) -> bool:
    """Put a device's keys: signed prekey and last resort take the place of earlier ones, one-time keys are added. The same upload
    again changes nothing, whichever of its keys were given out meanwhile.

    True: the identity key of the account has changed, and others are to be told (``services/identities.py``). Raises
    :class:`Refused`: ``bad_request`` (a key or signature is not good; the field is named), ``conflict`` (an id names another key
    already; another identity key from a device that is not the primary), ``limit_exceeded``, ``rate_limited``,
    ``unauthenticated`` (unlinked meanwhile).
    """
    now = now_ms()
    wait = rates.take(
        scope="key_uploads",
        subject=str(device.pk),
        limit=limit_for(account, "key_uploads_per_hour"),
        window_ms=HOUR_MS,
        now=now,
    )
    if wait:
        raise Refused(Code.RATE_LIMITED, "Too many uploads of keys; try again later.", retry_after_ms=wait)
    check(keys)  # before any lock: it takes milliseconds
    with transaction.atomic():
        # "No key": rows that refer to the account are written meanwhile.
        Account.objects.select_for_update(no_key=True).get(pk=account.pk)
        found = Device.objects.select_for_update(no_key=True).filter(pk=device.pk, unlinked_at=None).first()
        if found is None:
            raise Refused(Code.UNAUTHENTICATED, "This device is not linked any more.")
        registered = _register(found, keys.registration_id)
        changed = identities.put(account=account, device=found, key=keys.identity_key, now=now)
        if changed:
            # What the account's devices have signed with the earlier key is worth nothing now.
            forget_all(devices=list(Device.objects.filter(user=account, unlinked_at=None)))
        added = _add(found, CLASSIC, keys.classic) + _add(found, POST_QUANTUM, keys.post_quantum)
        if _put_row(found, keys, now) or registered or changed:
            events.devices_changed(user_id=str(account.pk))
    metrics.count("keys", "stored", added)
    return changed


def check(keys: Upload) -> None:
    """Every key is one, and what must be signed is signed by the identity key. Raises :class:`Refused` (``bad_request``)."""
    _point("identityKey", keys.identity_key)
    verifier = Verifier(keys.identity_key)
    _point("signedPreKey", keys.signed.public_key)
    _signature("signedPreKey", verifier, keys.signed)
    for place, key in enumerate(keys.classic):
        field = f"preKeys.{place}"
        _point(field, key.public_key)
        if key.signature is not None:  # Signal's have none; one that is there is not passed on unseen
            _signature(field, verifier, key)
    for place, key in enumerate(keys.post_quantum):
        _post_quantum(f"pqPreKeys.{place}", verifier, key)
    if keys.last is not None:
        _post_quantum("lastResort", verifier, keys.last)
    _once("preKeys", [keys.signed.public_key, keys.identity_key], keys.classic)
    _once("pqPreKeys", [keys.last.public_key] if keys.last else [], keys.post_quantum)


def _bad(field: str, why: str) -> Refused:
    return Refused(Code.BAD_REQUEST, f"{field} {why}.", details={"field": field})


def _point(field: str, key: bytes) -> None:
    try:
        check_key(key)
    except BadKey as error:
        raise _bad(field, str(error)) from None


def _post_quantum(field: str, verifier: Verifier, key: PublicKey) -> None:
    try:
        check_kyber_key(key.public_key)
    except BadKey as error:
        raise _bad(field, str(error)) from None
    _signature(field, verifier, key)


def _signature(field: str, verifier: Verifier, key: PublicKey) -> None:
    if key.signature is None or not verifier.is_good(key.signature, key.public_key):
        raise _bad(field, "is not signed by the identity key")


def _once(field: str, others: list[bytes], keys: Sequence[PublicKey]) -> None:
    """A one-time key has one id and is nothing else besides."""
    if len({key.key_id for key in keys}) < len(keys):
        raise _bad(field, "holds an id twice")
    if len({*others, *(key.public_key for key in keys)}) < len(set(others)) + len(keys):
        raise _bad(field, "holds a key twice")


def _register(device: Device, registration_id: int | None) -> bool:
    """Whether the device has another registration id than before."""
    if registration_id is None:
        if device.registration_id is None:
            raise _bad("registrationId", "is needed: this device has not given one yet")
        return False
    if registration_id == device.registration_id:
        return False
    forget(device=device)  # another installation: the private keys of what is on file are gone
    device.registration_id = registration_id
    device.save(update_fields=["registration_id"])
    return True


def _add(device: Device, kind: int, keys: Sequence[PublicKey]) -> int:
    """How many of these are new. Raises :class:`Refused`: ``conflict``, ``limit_exceeded``."""
    if not keys:
        return 0
    mine = Prekey.objects.filter(device=device, kind=kind)
    digests = [_digest(key.public_key) for key in keys]
    same = Q(key_id__in=[key.key_id for key in keys]) | Q(digest__in=digests)
    known = {key_id: bytes(digest) for key_id, digest in mine.filter(same).values_list("key_id", "digest")}
    ids = {digest: key_id for key_id, digest in known.items()}
    field = "preKeys" if kind == CLASSIC else "pqPreKeys"
    new = []
    for key, digest in zip(keys, digests, strict=True):
        if digest in ids and ids[digest] != key.key_id:
            raise Refused(
                Code.CONFLICT,
                f"{field}: the key of id {key.key_id} had id {ids[digest]} before.",
                details={"field": field, "keyId": key.key_id},
            )
        if key.key_id not in known:
            new.append(
                Prekey(
                    device=device,
                    kind=kind,
                    key_id=key.key_id,
                    digest=digest,
                    public_key=key.public_key,
                    signature=key.signature,
                )
            )
        elif known[key.key_id] != digest:
            raise _taken(field, key.key_id)
    if new and mine.filter(given_at=None).count() + len(new) > LIMITS.prekeys_stored:
        raise Refused(
            Code.LIMIT_EXCEEDED,
            f"At most {LIMITS.prekeys_stored} one-time keys of a kind are kept for a device.",
            details={"limit": LIMITS.prekeys_stored},
        )
    Prekey.objects.bulk_create(new)
    return len(new)


def _put_row(device: Device, keys: Upload, now: int) -> bool:
    """Whether the device had no keys before. Raises :class:`Refused` (``conflict``)."""
    row = DeviceKeys.objects.select_for_update(no_key=True).filter(device=device).first()
    is_new = row is None
    if row is None:
        row = DeviceKeys(device=device, signed_at=now)
    elif keys.signed.key_id == row.signed_id:
        if keys.signed.public_key != bytes(row.signed_key):
            raise _taken("signedPreKey", keys.signed.key_id)
    else:
        row.signed_at = now
    row.signed_id, row.signed_key, row.signed_signature = keys.signed  # type: ignore[assignment]
    if keys.last is not None:
        if keys.last.key_id == row.last_id and keys.last.public_key != bytes(row.last_key or b""):
            raise _taken("lastResort", keys.last.key_id)
        row.last_id, row.last_key, row.last_signature = keys.last
    row.post_quantum = row.post_quantum or keys.last is not None or bool(keys.post_quantum)
    left = count(device=device)
    if not is_low(left, post_quantum=row.post_quantum):
        row.low = False  # so it is told again when few are left
    row.updated_at = now
    row.save(force_insert=is_new)
    return is_new


def is_low(left: Counts, *, post_quantum: bool) -> bool:
    """Whether a device is to bring more one-time keys."""
    return left.classic < LIMITS.prekeys_low or (post_quantum and left.post_quantum < LIMITS.prekeys_low)


def _taken(field: str, key_id: int) -> Refused:
    return Refused(
        Code.CONFLICT, f"{field}: id {key_id} names another key.", details={"field": field, "keyId": key_id}
    )


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def forget(*, device: Device) -> None:
    """A device has ended, or its private keys have: nobody gets its keys any more. Call it inside a transaction that has locked
    the account."""
    forget_all(devices=[device])


def forget_all(*, devices: Collection[Device]) -> None:
    """:func:`forget` for devices of one account."""
    ids: list[uuid.UUID] = [device.pk for device in devices]
    Prekey.objects.filter(device__in=ids).delete()
    deleted, _ = DeviceKeys.objects.filter(device__in=ids).delete()
    if deleted:
        events.devices_changed(user_id=str(next(iter(devices)).user_id))
