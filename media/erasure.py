"""What an account that ended has uploaded goes, for those who were sent it too. What somebody else has uploaded stays, were it
the same bytes.

First the rows: from then on nothing of it is sent, fetched or worked on, and they say nothing of a person any more. Then what is
stored, while a row still names it. So a step may be killed anywhere, or find the storage away: the next one goes on.
"""

from __future__ import annotations

import uuid
from typing import Final

from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.models import Account
from media.models import Media, State, Upload
from media.services import contents, uploads
from media.storage import StorageUnavailable
from media.uploads.ending import forget
from whatsapp.infra import faults
from whatsapp.infra.clock import now_ms

#: Uploads of a step. Each has a few files, and each file costs the storage a request or two.
STEP: Final = 100


def ended(limit: int = 500) -> list[uuid.UUID]:
    """Accounts that ended and of which something is left to be deleted, the first to end first."""
    theirs = _left().filter(owner=OuterRef("pk"))
    found = Account.objects.filter(Exists(theirs), retired_at__isnull=False).order_by("retired_at")
    return list(found.values_list("pk", flat=True)[:limit])


def step(owner_id: uuid.UUID) -> bool:
    """Delete up to :data:`STEP` uploads of an account that ended. Whether there are more.

    Raises :class:`StorageUnavailable`: nothing of them is shown any more, but not all is deleted.
    """
    if not Account.objects.filter(pk=owner_id, retired_at__isnull=False).exists():
        return False
    _close(owner_id)
    faults.point("media-closed")
    for upload in Upload.objects.filter(media__owner=owner_id, media__state=State.GONE)[:STEP]:
        if not forget(upload):
            raise StorageUnavailable
        uploads.drop(upload)
    for media in contents.with_files().filter(owner=owner_id)[:STEP]:
        contents.drop(media)
    return _left().filter(owner=owner_id).exists()


def _close(owner_id: uuid.UUID) -> None:
    """The next uploads that are not closed yet: requests and workers that have one lose it with their next word."""
    chosen = Media.objects.filter(owner=owner_id).exclude(state=State.GONE).order_by("pk")
    ids = list(chosen.values_list("pk", flat=True)[:STEP])
    Media.objects.filter(pk__in=ids).update(
        state=State.GONE, conversation_id=None, media_type="", size=0, sha256="", reason="", percent=0, request=None
    )  # fmt: skip
    Upload.objects.filter(media__in=ids).update(holder=None, metadata="", expires_at=now_ms())


def _left() -> QuerySet[Media]:
    """Uploads of which something is to be deleted now."""
    open_ones = ~Q(state=State.GONE) | Exists(Upload.objects.filter(media=OuterRef("pk")))
    return Media.objects.filter(open_ones | Q(pk__in=contents.with_files().values("pk")))
