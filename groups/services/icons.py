"""A group's picture. Under the lock of the group it is only said which one it is now."""

from __future__ import annotations

import uuid

from django.db import transaction

from accounts import limits
from accounts.errors import Refused
from accounts.models import Account
from accounts.services import pictures
from delivery.changes import change_group
from groups import access, events
from groups.access import Seen
from groups.models import Group, Icon
from groups.services.counting import count_change
from whatsapp.infra.clock import now_ms


def check_may_edit(*, account: Account, group_id: uuid.UUID) -> None:
    """Raises :class:`Refused`: ``not_found``, ``forbidden``."""
    seen = access.view(group_id=group_id, account=account)
    access.check_may(seen.me, seen.group.who_edits)


def set_icon(*, account: Account, group_id: uuid.UUID, data: bytes, media_type: str) -> Seen:
    """Give a group a picture (who may: ``whoEdits``): its middle as a square, and a small one. The same picture again makes no
    event.

    Raises :class:`Refused`: ``not_found``, ``forbidden``, ``rate_limited``, ``unsupported_media``, ``too_large`` (pixels),
    ``unavailable``.
    """
    check_may_edit(account=account, group_id=group_id)
    count_change(account)
    limits.count(
        scope="group_icons_hour",
        subject=str(account.pk),
        limit=limits.limit_for(account, "group_icons_per_hour"),
        window_ms=limits.HOUR_MS,
        now=now_ms(),
    )
    made = pictures.make(data, media_type)
    icon = Icon.objects.create(group_id=group_id, digest=made.digest, created_at=now_ms())
    try:
        pictures.store(icon, made)
        with transaction.atomic():
            group, me = access.enter(group_id=group_id, account=account)
            access.check_may(me, group.who_edits)
            if group.icon is not None and group.icon.digest == icon.digest:
                transaction.on_commit(lambda: pictures.discard(icon))
                return Seen(group, me)
            take_icon(group)
            group.icon = icon
            group.save(update_fields=["icon"])
            _say(group_id, account, icon)
    except Refused:
        pictures.discard(icon)
        raise
    # After any other error nobody knows whether it was committed; the icon stays until that shows.
    return Seen(group, me)


def remove_icon(*, account: Account, group_id: uuid.UUID) -> None:
    """Take a group's picture away (who may: ``whoEdits``). Idempotent.

    Raises :class:`Refused`: ``not_found``, ``forbidden``, ``rate_limited``.
    """
    access.view(group_id=group_id, account=account)
    count_change(account)
    with transaction.atomic():
        group, me = access.enter(group_id=group_id, account=account)
        access.check_may(me, group.who_edits)
        if take_icon(group) is not None:
            _say(group_id, account, None)


def take_icon(group: Group) -> Icon | None:
    """The group, locked, has no icon any more; its files go when that is committed. Returns what it had."""
    icon = group.icon
    if icon is None:
        return None
    group.icon = None
    group.save(update_fields=["icon"])
    transaction.on_commit(lambda: pictures.discard(icon))
    return icon


def _say(group_id: uuid.UUID, account: Account, icon: Icon | None) -> None:
    change = events.info({"icon": events.icon_of(icon)}, None)
    change_group(conversation=str(group_id), sender=str(account.pk), changes=[change])
