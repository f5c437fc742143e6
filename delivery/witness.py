"""What the log knows of a message that somebody reports: the witness for what was not encrypted, while it lasts.

A commitment proves what was encrypted (:mod:`delivery.franking`); what the server can read needs none. The row is read as the
reporter may read it, so nobody learns anything about a message of others.
"""

from __future__ import annotations

import re
from typing import Final

from delivery.franking import Place, Said, Verdict
from delivery.store.interface import Store
from delivery.store.sync import SyncStore
from delivery.store.values import Logged, Page, PageRequest
from delivery.view import item_frame
from whatsapp.wire.frames import Message

#: Ciphertext that somebody has written as text is one word of these letters, or an object.
_ARMOUR: Final = re.compile(r"[A-Za-z0-9+/=_.:-]{16,}|\{.*\}", re.DOTALL).fullmatch


async def row(store: Store, user: str, conversation: str, message_id: str) -> Logged | None:
    """The message as this user is owed it, None if there is none (any more). Raises ``Unavailable``."""
    seq = await store.find(conversation, message_id)
    if not seq:
        return None
    (page,) = await store.pages([PageRequest(conversation, user, seq - 1, 1)])
    return _at(page, seq, message_id)


def row_for(store: SyncStore, user: str, conversation: str, message_id: str) -> Logged | None:
    """:func:`row`, for services: ``delivery.store.sync.store``."""
    seq = store.find(conversation, message_id)
    if not seq:
        return None
    (page,) = store.pages([PageRequest(conversation, user, seq - 1, 1)])
    return _at(page, seq, message_id)


def _at(page: Page, seq: int, message_id: str) -> Logged | None:
    return next((one for one in page.events if (one.seq, one.message_id) == (seq, message_id)), None)


def judge(logged: Logged | None, said: Said, place: Place) -> Verdict:
    """What a reporter's copy without a commitment is worth, by the row of :func:`row`.

    Verified: the row says the same. Forged: it is somebody else's, or of another time, or answers something else, or says
    something else that reads as text. Unverifiable: it is gone, deleted, or edited since; or what it holds is for clients alone.
    """
    frame = item_frame(logged) if logged is not None else None
    if logged is None or not isinstance(frame, Message):
        return Verdict.UNVERIFIABLE
    whose = (place.conversation, place.message_id, place.sender)
    if whose != (logged.conversation, logged.message_id, logged.sender):
        return Verdict.FORGED
    content = frame.encrypted_content
    if (place.device, place.at) != (logged.device, logged.at):
        # Since an edit it may be reported as of the edit, by another device and later. Of what is deleted or has vanished nobody
        # knows any more whether it was edited before.
        edited = frame.edited or content is None
        return Verdict.UNVERIFIABLE if edited and place.at > logged.at else Verdict.FORGED
    if content is None:
        return Verdict.UNVERIFIABLE
    # An older client is not told what a message answers, and of some kinds another one.
    if said.reply_to not in ("", frame.reply_to) or said.media_url not in ("", frame.media_url):
        return Verdict.FORGED
    if content == said.content:
        return Verdict.VERIFIED if said.kind == frame.kind else Verdict.UNVERIFIABLE
    sealed = logged.envelopes is not None or frame.franking is not None
    return Verdict.FORGED if not (sealed or frame.edited) and _is_text(content) else Verdict.UNVERIFIABLE


def _is_text(content: bytes) -> bool:
    """Whether this is nothing that a client would have to open. In doubt it is not: an honest reporter is no forger."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return False
    return bool(text) and all(c.isprintable() or c in "\n\t" for c in text) and not _ARMOUR(text.strip())
