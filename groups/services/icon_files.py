"""Where the files of icons begin and end.

An icon's row is there before its files and goes after them, and its files have names that nobody else uses. So whatever is
left behind by a crash, a refusal or a storage that was away is an old row that no group shows; ``drop_unused`` finds it.
"""

from __future__ import annotations

import logging
from typing import Final

from django.db import transaction

from accounts.limits import HOUR_MS
from groups.models import Group, Icon
from whatsapp.infra import files
from whatsapp.infra.clock import now_ms

log = logging.getLogger(__name__)

#: No request lasts so long: an icon this old that no group shows will never be shown.
_UNUSED_MS: Final = HOUR_MS
_BATCH: Final = 500


def take_icon(group: Group) -> Icon | None:
    """The group, locked, has no icon any more; its files go when that is committed. Returns what it had."""
    icon = group.icon
    if icon is None:
        return None
    group.icon = None
    group.save(update_fields=["icon"])
    transaction.on_commit(lambda: discard(icon))
    return icon


def discard(icon: Icon) -> bool:
    """Delete an icon that no group shows. Whether it is gone; what is not, ``drop_unused`` tries again."""
    try:
        for name in icon.names.values():
            files.delete(name)
        Icon.objects.filter(pk=icon.pk, shown_by=None).delete()
    except Exception as error:
        # Its caller has done what it was asked for.
        log.warning("an icon stays for a while: %s", type(error).__name__)
        return False
    return True


def drop_unused() -> int:
    """Delete the icons that no group has come to show, or that could not be deleted in time. Returns how many."""
    old = Icon.objects.filter(shown_by=None, created_at__lt=now_ms() - _UNUSED_MS).order_by("created_at")
    return sum(discard(icon) for icon in old[:_BATCH])
