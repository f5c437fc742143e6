"""What an account that ended has uploaded goes. At once what nobody was sent; what was sent, when the messages that the account
sent have gone as well (``contents.carried_ms``), for whoever was away shall not find a message without its picture. What
somebody else sent on is theirs from then on; what somebody else has uploaded stays, were it the same bytes.

First the rows: from then on nothing of it is sent, fetched or worked on, and they say nothing of a person any more. Then what is
stored, while a row still names it. So a step may be killed anywhere, or find the storage away: the next one goes on.
"""

from __future__ import annotations

import uuid
from typing import Final

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.models import Account
from accounts.services.holds import held as legally_held
from media.models import Media, Reference, Rendition, State, Upload
from media.services import contents, uploads
from media.services.holds import open_holds
from media.storage import StorageUnavailable
from media.uploads.ending import forget
from whatsapp.infra import faults
from whatsapp.infra.clock import now_ms

#: Uploads of a step. Each has a few files, and each file costs the storage a request or two.
STEP: Final = 100
_CARRIED: Final = Exists(Reference.objects.filter(media=OuterRef("pk")))


def ended(limit: int = 500) -> list[uuid.UUID]:
    """Accounts that ended and of which something is to be deleted now, the first to end first."""
    theirs = _left().filter(owner=OuterRef("pk"))
    found = Account.objects.filter(Exists(theirs), retired_at__isnull=False).order_by("retired_at")
    return list(found.values_list("pk", flat=True)[:limit])


def step(owner_id: uuid.UUID) -> bool:
    """Delete up to :data:`STEP` uploads of an account that ended. Whether there are more to be deleted now.

    Raises :class:`StorageUnavailable`: nothing of them is shown any more, but not all is deleted.
    """
    if not Account.objects.filter(pk=owner_id, retired_at__isnull=False).exists():
        return False
    _hand_on(owner_id)
    _close(owner_id)
    faults.point("media-closed")
    for upload in Upload.objects.filter(media__owner=owner_id, media__state=State.GONE)[:STEP]:
        if not forget(upload):
            raise StorageUnavailable
        uploads.drop(upload)
    for media in contents.with_files().filter(owner=owner_id)[:STEP]:
        contents.drop(media)
    return _left().filter(owner=owner_id).exists()


def _due() -> QuerySet[Media]:
    """Uploads of accounts that ended whose time has come. What moderators have yet to look at stays until they have, and
    what a legal hold keeps until it ends."""
    over = Q(owner__retired_at__lte=now_ms() - contents.carried_ms())
    held = Exists(open_holds().filter(media=OuterRef("pk")))
    ended = Media.objects.filter(
        over | ~_CARRIED, ~held, ~legally_held("owner_id"), owner__retired_at__isnull=False
    )
    return ended.exclude(state=State.GONE)


def _hand_on(owner_id: uuid.UUID) -> None:
    """What somebody who lives has sent on is theirs: they were sent it, and their message needs it."""
    living = Account.objects.filter(pk=OuterRef("sender_id"), retired_at=None)
    others = Reference.objects.filter(Exists(living)).exclude(sender_id=owner_id)
    for media in _due().filter(Exists(others.filter(media=OuterRef("pk"))), owner=owner_id)[:STEP]:
        heir = others.filter(media=media).order_by("pk").first()
        if heir is None:
            continue
        media.owner_id, media.conversation_id = heir.sender_id, heir.conversation_id
        for key in set(Rendition.objects.filter(media=media).values_list("key", flat=True)):
            with contents.locked(key):
                contents.hand_over(key, str(owner_id), media)
        with transaction.atomic():
            Reference.objects.filter(media=media, sender_id=owner_id).delete()
            Media.objects.filter(pk=media.pk, owner=owner_id).update(
                owner=media.owner_id, conversation_id=media.conversation_id, request=None, upload_metadata=""
            )


def _close(owner_id: uuid.UUID) -> None:
    """The next uploads that are not closed yet: requests and workers that have one lose it with their next word."""
    ids = list(_due().filter(owner=owner_id).order_by("pk").values_list("pk", flat=True)[:STEP])
    # Asked again by the same statement: somebody may have been sent it meanwhile.
    still = _due().filter(pk__in=ids).values("pk")
    Media.objects.filter(pk__in=still).update(
        state=State.GONE, conversation_id=None, media_type="", size=0, sha256="", reason="", percent=0, request=None,
        upload_metadata="",
    )  # fmt: skip
    Upload.objects.filter(media__in=ids, media__state=State.GONE).update(
        holder=None, metadata="", expires_at=now_ms()
    )


def _left() -> QuerySet[Media]:
    """Uploads of which something is to be deleted now."""
    begun = Q(pk__in=Upload.objects.filter(media__state=State.GONE).values("pk"))
    return Media.objects.filter(
        Q(pk__in=_due().values("pk")) | begun | Q(pk__in=contents.with_files().values("pk"))
    )
