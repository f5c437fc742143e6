"""A group's picture.

The file is looked at, made small and stored before the group is locked: nobody waits for a picture. Under the lock it is only
said which one it is now.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Final

from django.db import connection, transaction

from accounts import limits
from accounts.errors import Refused
from accounts.models import Account
from delivery.changes import change_group
from groups import access, events
from groups.access import Seen
from groups.models import Icon
from groups.services.counting import count_change
from groups.services.icon_files import discard, take_icon
from whatsapp.infra import files, images
from whatsapp.infra.clock import now_ms
from whatsapp.infra.images import Reason
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

#: Pixels of a side; a smaller picture stays as it is. Clients show it as a round of a few centimetres.
SIDE: Final = 640
THUMB_SIDE: Final = 150

_SAID: Final = {
    Reason.UNREADABLE: (Code.UNSUPPORTED_MEDIA, "This is no picture of the type that it is said to be."),
    Reason.ANIMATED: (Code.UNSUPPORTED_MEDIA, "The picture moves; a still one is needed."),
    Reason.PIXELS: (Code.TOO_LARGE, "The picture has too many pixels."),
}


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
        limit=LIMITS.group_icons_per_hour,
        window_ms=limits.HOUR_MS,
        now=now_ms(),
    )
    full, thumb = _squares(data, media_type)
    digest = hashlib.sha256(full).hexdigest()[:32]
    icon = Icon.objects.create(group_id=group_id, digest=digest, created_at=now_ms())
    try:
        _store(icon, full, thumb)
        with transaction.atomic():
            group, me = access.enter(group_id=group_id, account=account)
            access.check_may(me, group.who_edits)
            if group.icon is not None and group.icon.digest == digest:
                transaction.on_commit(lambda: discard(icon))
                return Seen(group, me)
            take_icon(group)
            group.icon = icon
            group.save(update_fields=["icon"])
            _say(group_id, account, icon)
    except Refused:
        discard(icon)
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


def _say(group_id: uuid.UUID, account: Account, icon: Icon | None) -> None:
    change = events.info({"icon": events.icon_of(icon)}, None)
    change_group(conversation=str(group_id), sender=str(account.pk), changes=[change])


def _squares(data: bytes, media_type: str) -> tuple[bytes, bytes]:
    if not connection.in_atomic_block:
        connection.close()  # back to the pool: a decoder may take its time
    try:
        full, thumb = images.squares(data, media_type=media_type, sides=(SIDE, THUMB_SIDE))
    except images.ImageRefused as error:
        code, text = _SAID[error.reason]
        raise Refused(code, text) from None
    except images.Busy:
        raise Refused(
            Code.UNAVAILABLE, "Too many pictures are being worked on; try again.", retry_after_ms=2_000
        ) from None
    return full, thumb


def _store(icon: Icon, full: bytes, thumb: bytes) -> None:
    if not connection.in_atomic_block:
        connection.close()
    try:
        files.save(icon.names["full"], full)
        files.save(icon.names["thumb"], thumb)
    except files.FilesUnavailable:
        raise Refused(
            Code.UNAVAILABLE, "The picture could not be stored; try again.", retry_after_ms=2_000
        ) from None
