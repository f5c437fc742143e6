"""Refresh tokens: a family for each session, a new token for each use."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import uuid
from typing import Final, NamedTuple

from django.conf import settings
from django.db import transaction

from accounts import endings, events, tokens
from accounts.appeals import banned_account
from accounts.errors import Refused, banned
from accounts.limits import DAY_MS
from accounts.models import Device, RefreshToken
from accounts.models.account import new_id
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code

_BYTES: Final = 32


class Tokens(NamedTuple):
    """What a client needs for its session. ``expires_at`` is the access token's, in ms."""

    token: str
    refresh_token: str
    expires_at: int
    user_id: str
    device_id: str


def _hash(refresh_token: str) -> bytes:
    return hashlib.sha256(refresh_token.encode()).digest()


def known_device(*, phone: str, refresh_token: str | None, lock: bool = True) -> Device | None:
    """The linked device of this number's account that once got this refresh token, valid or not: the code proves who asks."""
    if not refresh_token:
        return None
    devices = Device.objects.select_for_update(of=("self",)) if lock else Device.objects.all()
    return devices.filter(
        pk__in=RefreshToken.objects.filter(token_hash=_hash(refresh_token)).values("device_id"),
        user__phone=phone,
        unlinked_at=None,
    ).first()


def is_good(device: Device | None, refresh_token: str | None, now: int) -> bool:
    """Whether this token of the device is the one to be used next, or was when its session was revoked."""
    return RefreshToken.objects.filter(
        device=device, token_hash=_hash(refresh_token or ""), used_at=None, expires_at__gt=now
    ).exists()


def start_session(*, device: Device, now: int) -> Tokens:
    """A new family, the only one of its device; earlier tokens of the device are void, and a socket opened with one closes.

    Call it inside a transaction.
    """
    RefreshToken.objects.filter(device=device).delete()
    if 0 < device.session_from < now:
        endings.session_ended(str(device.pk))
        events.session_revoked(user_id=str(device.user_id), device_id=str(device.pk), session_from=now)
    device.session_from = now
    device.revoked_at = None
    device.last_seen_at = now
    device.save(update_fields=["session_from", "revoked_at", "last_seen_at"])
    refresh_token = secrets.token_urlsafe(_BYTES)
    _keep(refresh_token, device=device, family=new_id(), now=now)
    return _pair(refresh_token, device=device, now=now)


def _keep(refresh_token: str, *, device: Device, family: uuid.UUID, now: int) -> None:
    RefreshToken.objects.create(
        device=device,
        family=family,
        token_hash=_hash(refresh_token),
        created_at=now,
        expires_at=now + settings.REFRESH_TOKEN_MS,
    )


def _pair(refresh_token: str, *, device: Device, now: int) -> Tokens:
    user_id, device_id = str(device.user_id), str(device.pk)
    token, expires_at = tokens.issue_access(user_id=user_id, device_id=device_id, now=now)
    return Tokens(token, refresh_token, expires_at, user_id, device_id)


def _successor(refresh_token: str, idempotency_key: str) -> str:
    """The next refresh token. With a key it follows from token and key, so a repeated request finds it again though only its
    hash is stored; who has the token but not the key cannot compute it."""
    if not idempotency_key:
        return secrets.token_urlsafe(_BYTES)
    text = f"refresh:{len(refresh_token)}:{refresh_token}:{idempotency_key}"
    mac = hmac.digest(settings.SECRET_KEY.encode(), text.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def refresh(*, refresh_token: str, idempotency_key: str = "") -> Tokens:
    """The next pair of tokens. A token that was used before revokes its family and ends the session, unless the request
    repeats the one that used it (same ``idempotency_key``, within 24 h) and the answer to that one was not used either.

    Raises :class:`Refused`: ``unauthenticated`` or ``banned``.
    """
    now = now_ms()
    hashed = _hash(refresh_token)
    ended = Refused(Code.UNAUTHENTICATED, "The refresh token is not valid; verify the number again.")
    with transaction.atomic():
        # The device before its tokens, as everywhere: two orders would be a deadlock.
        device = (
            Device.objects.select_for_update(of=("self",))
            .select_related("user")
            .filter(refresh_tokens__token_hash=hashed, unlinked_at=None)
            .first()
        )
        stored = RefreshToken.objects.filter(token_hash=hashed).first() if device is not None else None
        if device is None or stored is None or stored.revoked_at is not None:
            raise ended
        if stored.used_at is None:
            if stored.expires_at <= now or device.revoked_at is not None:
                raise ended
            if device.user.is_banned(now):
                raise banned_account(device.user)
            if device.is_banned(now):
                raise banned(device.banned_until)
            stored.used_at = now
            stored.save(update_fields=["used_at"])
            device.last_seen_at = now
            device.save(update_fields=["last_seen_at"])
            successor = _successor(refresh_token, idempotency_key)
            _keep(successor, device=device, family=stored.family, now=now)
            return _pair(successor, device=device, now=now)
        if idempotency_key and stored.used_at > now - DAY_MS:
            successor = _successor(refresh_token, idempotency_key)
            unused = RefreshToken.objects.filter(
                token_hash=_hash(successor), family=stored.family, used_at=None, revoked_at=None
            )
            if unused.exists():
                return _pair(successor, device=device, now=now)
        # Used twice: one of the two holders stole it. This must commit, so the refusal is raised outside.
        revoke_session(device=device, now=now)
    raise ended


def revoke_session(*, device: Device, now: int) -> None:
    """End the device's session without unlinking it: tokens are void, its socket closes, its backlog
    waits for a new verification.

    Call it inside a transaction.
    """
    RefreshToken.objects.filter(device=device, revoked_at=None).update(revoked_at=now)
    device.revoked_at = now
    device.save(update_fields=["revoked_at"])
    endings.session_ended(str(device.pk))
    events.session_revoked(user_id=str(device.user_id), device_id=str(device.pk))
