"""What a reporter's copies of messages are worth: by what their senders committed to, and by the log while it has them.

A copy without franking is compared with the log (``delivery/witness.py``), which calls it forged only where what the log holds
reads as text: were other content than ciphertext held against the reporter, a sender could make liars of all who report.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import NamedTuple

from django.conf import settings

from accounts.errors import Refused
from accounts.models import ReportedMessage
from delivery import witness
from delivery.franking import Place, Said, verify
from delivery.roster import was_member
from delivery.store.sync import store
from delivery.store.values import Conversation, Logged, PageRequest
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

#: How far clocks differ, and how much of what has expired a sweep may have left.
_SLACK_MS = 3_600_000

Verdict = ReportedMessage.Verdict


class Copy(NamedTuple):
    """A message as its reporter has it. ``content``: opened, as its sender's client wrote it."""

    message_id: uuid.UUID
    sender_id: uuid.UUID
    device_id: uuid.UUID
    at: int  # the server's time, ms
    kind: str
    content: bytes
    media_url: str = ""
    reply_to: uuid.UUID | None = None
    key: bytes | None = None
    franking: bytes | None = None
    tag: bytes | None = None


def judge(*, user_id: str, conversation: Conversation, copies: Sequence[Copy], now: int) -> list[str]:
    """A verdict for each. Raises :class:`Refused` (``not_found``): one of them was never sent there, or not to this user."""
    rows = _rows(user_id, conversation, copies, now)
    return [_judge(conversation.id, copy, row) for copy, row in zip(copies, rows, strict=True)]


def overall(verdicts: Sequence[str], about: Sequence[str]) -> str:
    """Of a whole report: one forged message makes it forged. ``about``: the verdicts of what the accused wrote."""
    if Verdict.FORGED in verdicts:
        return Verdict.FORGED
    if Verdict.VERIFIED in about:
        return Verdict.VERIFIED
    return Verdict.UNVERIFIABLE if verdicts else ""


def _rows(user_id: str, conversation: Conversation, copies: Sequence[Copy], now: int) -> list[Logged | None]:
    """Of each the row of the log; None: it has expired. Deleted and vanished ones have theirs, empty."""
    if not copies:
        return []
    if not was_member(conversation, user_id):
        raise _unknown()
    seqs = _places(conversation.id, copies, now)
    asked = [PageRequest(conversation.id, user_id, seq - 1, 1) for seq in seqs if seq]
    gone = [
        (conversation.id, user_id, str(copy.message_id))
        for copy, seq in zip(copies, seqs, strict=True)
        if not seq
    ]
    if gone and not all(store.knows(gone)):
        raise _unknown()  # nothing of the reporter's time there has expired
    pages = iter(store.pages(asked))
    rows: list[Logged | None] = []
    for seq in seqs:
        events = next(pages).events if seq else []
        if seq and (not events or events[0].seq != seq):
            raise _unknown()  # not owed to them: before or after their time, or withheld
        rows.append(events[0] if events else None)
    return rows


def _places(conversation: str, copies: Sequence[Copy], now: int) -> list[int]:
    """Of each its seq, 0: it has expired. By who is said to have sent it: somebody else may have given a message of theirs the
    same id, and whoever reports is not to be called a forger for that. Raises :class:`Refused`."""
    found = []
    firsts = store.stored([(str(copy.sender_id), str(copy.message_id)) for copy in copies])
    for copy, first in zip(copies, firsts, strict=True):
        seq = first.seq if first is not None and first.conversation == conversation else 0
        if not seq and copy.at > now - LIMITS.retention_ms + _SLACK_MS:
            seq = store.find(conversation, str(copy.message_id))
            if not seq:
                raise _unknown()  # it would still be there
        found.append(seq)
    return found


def _unknown() -> Refused:
    return Refused(Code.NOT_FOUND, "There is nothing here, or nothing that you may see.")


def _judge(conversation: str, copy: Copy, row: Logged | None) -> str:
    said = Said(copy.content, copy.kind, copy.media_url, str(copy.reply_to or ""))
    place = Place(conversation, str(copy.message_id), str(copy.sender_id), str(copy.device_id), copy.at)
    verdict = verify(settings.FRANKING_KEYS, said, place, copy.key, copy.franking, copy.tag).value
    if verdict == Verdict.UNVERIFIABLE:
        return str(witness.judge(row, said, place).value)
    return str(verdict)
