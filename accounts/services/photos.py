"""An account's photo."""

from __future__ import annotations

from django.db import transaction

from accounts import limits, profiles
from accounts.errors import Refused
from accounts.locks import lock_account
from accounts.models import Account, Photo
from accounts.services import pictures
from whatsapp.infra.clock import now_ms


def check_may_set(*, account: Account) -> None:
    """Count one photo. Raises :class:`Refused`: ``rate_limited``."""
    limits.count(
        scope="photos_hour",
        subject=str(account.pk),
        limit=limits.limit_for(account, "photos_per_hour"),
        window_ms=limits.HOUR_MS,
        now=now_ms(),
    )


def set_photo(*, account: Account, data: bytes, media_type: str, device_id: str = "") -> Photo:
    """Its middle as a square, and a small one. The same picture again changes nothing. Call :func:`check_may_set` before the
    upload is read.

    Raises :class:`Refused`: ``unsupported_media``, ``too_large`` (pixels), ``unavailable``, ``not_found`` (the account has
    ended).
    """
    made = pictures.make(data, media_type)
    photo = Photo.objects.create(account=account, digest=made.digest, created_at=now_ms())
    try:
        pictures.store(photo, made)
        with transaction.atomic():
            locked = lock_account(account)
            if locked.photo is not None and locked.photo.digest == photo.digest:
                transaction.on_commit(lambda: pictures.discard(photo))
                return locked.photo
            take_photo(locked)
            locked.photo = photo
            locked.save(update_fields=["photo"])
            profiles.changed(user_id=str(account.pk), device_id=device_id, what=("photo",))
    except Refused:
        pictures.discard(photo)
        raise
    # After any other error nobody knows whether it was committed; the photo stays until that shows.
    return photo


def remove_photo(*, account: Account, device_id: str = "") -> None:
    """Idempotent."""
    with transaction.atomic():
        if take_photo(lock_account(account)) is not None:
            profiles.changed(user_id=str(account.pk), device_id=device_id, what=("photo",))


def take_photo(account: Account) -> Photo | None:
    """The account, locked, has no photo any more; its files go when that is committed. Returns what it had."""
    photo = account.photo
    if photo is None:
        return None
    account.photo = None
    account.save(update_fields=["photo"])
    transaction.on_commit(lambda: pictures.discard(photo))
    return photo
