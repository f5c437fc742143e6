"""Reads of media. Who may see one is decided here, and nowhere else."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Final

from django.db.models import QuerySet, Window
from django.db.models.functions import RowNumber

from accounts.errors import Refused
from accounts.models import Account
from delivery.roster import was_member
from delivery.store.sync import store
from media.attaching import LOOKED_THROUGH, OF_ONE_SENDER
from media.models import Media, Reference, Rendition, State
from media.tools.reasons import Reason
from whatsapp.wire.errors import Code

#: What is shown of each kind when nothing else is asked for: the first of these that there is.
_SHOWN: Final = ("full", "1080p", "720p", "voice")


def own(*, account: Account, media_id: uuid.UUID) -> Media:
    """One's own upload. Raises :class:`Refused`: ``not_found``, ``gone``."""
    media = Media.objects.filter(pk=media_id, owner=account).first()
    if media is None:
        raise Refused(Code.NOT_FOUND, "There is nothing here, or nothing that you may see.")
    if media.state == State.GONE:
        raise Refused(Code.GONE, "This was deleted.")
    return media


def shown(
    *, account: Account, media_id: uuid.UUID, conversation_id: uuid.UUID | None = None, emptied: bool = False
) -> Media:
    """One's own upload, or what one was sent and may still read. ``conversation_id``: where; without it the last messages with it
    are looked through. ``emptied``: also what one was sent by a message that was deleted or has vanished since, for whoever does
    harm deletes first: to be reported, not to be fetched. Raises as :func:`own`."""
    media = Media.objects.filter(pk=media_id).first()
    if media is not None and media.owner_id != account.pk:
        found = Reference.objects.filter(media=media)
        if conversation_id is not None:
            found = found.filter(conversation_id=conversation_id)
        if _was_sent(account, _latest(found), emptied=emptied) is None:
            media = None
    if media is None:
        raise Refused(Code.NOT_FOUND, "There is nothing here, or nothing that you may see.")
    if media.state == State.GONE:
        raise Refused(Code.GONE, "This was deleted.")
    return media


def sender_of(*, account: Account, media_id: uuid.UUID, conversation_id: uuid.UUID) -> uuid.UUID:
    """Who sent it to the user there, also by a message that is empty by now. Raises as :func:`own`, ``not_found`` also of what
    the user alone sent there."""
    media = Media.objects.filter(pk=media_id).first()
    sent = Reference.objects.filter(media=media_id, conversation_id=conversation_id)
    found = _was_sent(account, _latest(sent.exclude(sender_id=account.pk)), emptied=True)
    if media is None or found is None:
        raise Refused(Code.NOT_FOUND, "There is nothing here, or nothing that you may see.")
    if media.state == State.GONE:
        raise Refused(Code.GONE, "This was deleted.")
    return found.sender_id


def _latest(references: QuerySet[Reference]) -> list[Reference]:
    """The last ones that are looked through."""
    nth = Window(RowNumber(), partition_by="sender_id", order_by="-pk")
    few = references.annotate(nth=nth).filter(nth__lte=OF_ONE_SENDER)
    return list(few.order_by("-pk")[:LOOKED_THROUGH])


def _was_sent(
    account: Account, references: Sequence[Reference], *, emptied: bool = False
) -> Reference | None:
    """The first of these messages that is owed to the user, and still carries what it carried, or, if ``emptied``, did so."""
    user = str(account.pk)
    lists = store.conversations(list({str(each.conversation_id) for each in references}))
    for each in references:
        conversation, message = str(each.conversation_id), str(each.message_id)
        known = lists.get(conversation)
        if known is None or not was_member(known, user):
            continue
        seq = store.find(conversation, message)
        events = store.history(conversation, user, seq - 1, 0, 1).events if seq else []
        if events and events[0].seq == seq and (emptied or events[0].content is not None):
            return each
    return None


def rendition(
    *, account: Account, media_id: uuid.UUID, name: str = "", conversation_id: uuid.UUID | None = None
) -> Rendition:
    """A file of a media that is ready, "" for the whole. Raises :class:`Refused`: ``not_found``, ``gone``, ``unavailable`` (not
    ready yet), ``unsupported_media`` (it was refused)."""
    media = shown(account=account, media_id=media_id, conversation_id=conversation_id)
    if media.state == State.REFUSED:
        if media.reason == Reason.BLOCKED and media.ready_at is not None:
            raise Refused(Code.GONE, "This was taken away.")
        raise Refused(
            Code.UNSUPPORTED_MEDIA, f"This was refused: {media.reason}.", details={"reason": media.reason}
        )
    found = {each.name: each for each in Rendition.objects.filter(media=media)}
    # A picture of a video is there before the video is.
    chosen = found.get(name) if name else next((found[each] for each in _SHOWN if each in found), None)
    if chosen is not None and (media.state == State.READY or name in ("thumb", "poster")):
        return chosen
    if media.state != State.READY:
        raise Refused(Code.UNAVAILABLE, "This is not ready yet.", retry_after_ms=2_000)
    raise Refused(Code.NOT_FOUND, "There is no such form of it.")


def thumbnails(media_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """Those that have a small picture."""
    return set(Rendition.objects.filter(media__in=media_ids, name="thumb").values_list("media_id", flat=True))


def waits(key: str) -> bool:
    """Whether the object of this key under ``incoming/`` is still needed: its upload goes on, or the work on it does."""
    try:
        media_id = uuid.UUID(key.rpartition("/")[2].partition(".")[0])
    except ValueError:
        return False
    states = (State.UPLOADING, State.STORED, State.PROCESSING)
    return Media.objects.filter(pk=media_id, state__in=states).exists()


def referred(key: str) -> bool:
    """Whether a file that was not deleted is the object of this key: a message may carry it while it has its row. Rows go
    with the last message (``services/contents.py``)."""
    return Rendition.objects.filter(key=key).exists()
