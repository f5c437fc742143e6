"""Reads."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from django.db.models import QuerySet

from accounts.errors import Refused
from accounts.models import Account, Block, Contact, Device, Photo
from accounts.visibility import visible
from whatsapp.infra import replica
from whatsapp.wire.errors import Code


def linked_devices(*, account: Account) -> QuerySet[Device]:
    return Device.objects.filter(user=account, unlinked_at=None).order_by("linked_at", "pk")


def removed_devices(*, account: Account, since: int, limit: int) -> list[Device]:
    """Those that were unlinked after ``since`` (ms), the latest first."""
    return list(
        Device.objects.filter(user=account, unlinked_at__gt=since).order_by("-unlinked_at", "pk")[:limit]
    )


def account_by_id(*, user_id: uuid.UUID) -> Account:
    """Raises :class:`Refused` (``not_found``), also for an account whose number went to somebody else."""
    account = Account.objects.filter(pk=user_id, retired_at=None).first()
    if account is None:
        raise Refused(Code.NOT_FOUND, "There is no such user.")
    return account


def photo(*, user_id: uuid.UUID, viewer: Account) -> Photo:
    """Raises :class:`Refused` (``not_found``): there is none, or none that the viewer may see."""
    found = Photo.objects.filter(shown_by=user_id, shown_by__retired_at=None).first()
    if found is None or not visible([(str(user_id), str(viewer.pk))])[0].photo:
        raise Refused(Code.NOT_FOUND, "There is no such picture.")
    return found


def contacts(*, account: Account, since: int, after: str, limit: int) -> list[Contact]:
    """Contacts by user id from behind ``after``: all there are, or what changed after ``since`` (ms), removed ones too."""
    found = Contact.objects.filter(owner=account).select_related("user__photo").order_by("user_id")
    found = found.filter(updated_at__gt=since) if since else found.filter(removed=False)
    if after:
        found = found.filter(user_id__gt=after)
    with replica.reads():
        return list(found[:limit])


def blocks(*, account: Account, after: str, limit: int) -> list[Block]:
    """Whom the account has blocked, by user id from behind ``after``."""
    found = Block.objects.filter(owner=account).order_by("user_id")
    return list((found.filter(user_id__gt=after) if after else found)[:limit])


def unlinked_devices(*, user_ids: Sequence[str]) -> list[tuple[str, str, int, int]]:
    """Devices of these users that were unlinked: (user, device, linked at, unlinked at)."""
    rows = Device.objects.filter(user__in=user_ids, unlinked_at__isnull=False).order_by("linked_at")
    return [
        (str(user), str(device), linked, unlinked)
        for user, device, linked, unlinked in rows.values_list("user", "id", "linked_at", "unlinked_at")
    ]
