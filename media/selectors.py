"""Reads of media. Who may see one is decided here, and nowhere else."""

from __future__ import annotations

import uuid

from accounts.errors import Refused
from accounts.models import Account
from media.models import Media, State
from whatsapp.wire.errors import Code


def own(*, account: Account, media_id: uuid.UUID) -> Media:
    """One's own upload. Raises :class:`Refused`: ``not_found``, ``gone``."""
    media = Media.objects.filter(pk=media_id, owner=account).first()
    if media is None:
        raise Refused(Code.NOT_FOUND, "There is nothing here, or nothing that you may see.")
    if media.state == State.GONE:
        raise Refused(Code.GONE, "This was deleted.")
    return media
