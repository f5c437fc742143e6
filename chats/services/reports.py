"""Reports: what somebody was sent and finds wrong, with their own copy of it.

Only recipients report, so whoever guesses ids learns nothing and can accuse nobody. The reported are told neither that they were
nor by whom.
"""

from __future__ import annotations

import uuid
from typing import Final, NamedTuple

from django.db import transaction

from accounts import evidence as sealed
from accounts import limits
from accounts.errors import Refused
from accounts.models import Account, Report, ReportedMessage
from accounts.services import cases
from accounts.services.blocks import block
from chats.services.evidence import Copy, judge, overall
from delivery.attachments import media_of
from delivery.roster import was_member
from delivery.store.interface import Unavailable
from delivery.store.sync import store
from delivery.store.values import Conversation
from groups import selectors as groups
from groups.services.members import leave
from media import selectors as media
from media.services import holds
from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

REPORTS: Final = metrics.Counters(
    "whatsapp_reports",
    "Reports that were stored, by what they are of, category and verdict (none: they came without messages).",
    ("kind", "category", "verdict"),
)


class New(NamedTuple):
    """What a client reports. ``user_id``: the accused; of messages, else who sent the first one that is not the reporter's."""

    kind: str
    category: str
    conversation_id: uuid.UUID
    user_id: uuid.UUID | None = None
    media_id: uuid.UUID | None = None
    note: str = ""
    messages: tuple[Copy, ...] = ()
    invite: str = ""
    block: bool = False
    leave: bool = False


class Made(NamedTuple):
    report_id: uuid.UUID
    blocked: bool
    left: bool


def report(*, account: Account, device_id: str, new: New) -> Made:
    """Store a report and note it with the case of its subject; then block and leave, as asked.

    Raises :class:`Refused`: ``bad_request`` (oneself, or fields that do not belong together), ``not_found`` (also for what the
    reporter was not sent), ``gone`` (the file), ``too_large``, ``rate_limited``; and ``Unavailable`` of the log, before anything
    is stored. Who cannot be blocked, because the list is full or the log is away, is reported all the same.
    """
    now = now_ms()
    _count(account, now)
    if sum(len(copy.content) for copy in new.messages) > LIMITS.report_bytes:
        raise Refused(
            Code.TOO_LARGE,
            f"All messages together have at most {LIMITS.report_bytes} bytes.",
            details={"limit": LIMITS.report_bytes},
        )
    accused = _accused(account, new)
    found = _conversation(account, new)
    if new.kind == Report.Kind.MEDIA:
        assert new.media_id is not None
        accused = media.sender_of(account=account, media_id=new.media_id, conversation_id=new.conversation_id)
    if accused is not None and not was_member(found, str(accused)):
        raise _unknown()
    verdicts = judge(user_id=str(account.pk), conversation=found, copies=new.messages, now=now)
    with transaction.atomic():
        if accused is not None:
            _check_there(accused)
        made = _store(account, accused, new, verdicts, now)
    REPORTS.add(made.kind, made.category, made.verdict or "none")
    blocked = new.block and _block(account, accused, device_id)
    return Made(made.pk, blocked, new.leave and _leave(account, new.conversation_id))


def _count(account: Account, now: int) -> None:
    for scope, name, window_ms in (
        ("reports_hour", "reports_per_hour", limits.HOUR_MS),
        ("reports_day", "reports_per_day", limits.DAY_MS),
    ):
        limit = limits.limit_for(account, name)
        limits.count(scope=scope, subject=str(account.pk), limit=limit, window_ms=window_ms, now=now)


def _accused(account: Account, new: New) -> uuid.UUID | None:
    """Whom it is about; None: a group, or it is not known yet. Raises :class:`Refused` (``bad_request``)."""
    if new.user_id == account.pk:
        raise Refused(Code.BAD_REQUEST, "This is you.")
    if new.kind == Report.Kind.GROUP:
        if new.block:
            raise Refused(Code.BAD_REQUEST, "block: a group cannot be blocked.")
        return None
    if new.kind == Report.Kind.MEDIA:
        if new.media_id is None:
            raise Refused(Code.BAD_REQUEST, "mediaId: is needed.")
        return None
    accused = new.user_id
    if new.kind == Report.Kind.MESSAGE:
        senders = [copy.sender_id for copy in new.messages if copy.sender_id != account.pk]
        accused = accused or next(iter(senders), None)
        if accused not in senders:
            raise Refused(Code.BAD_REQUEST, "messages: none of them is of another user, or of this one.")
    if accused is None:
        raise Refused(Code.BAD_REQUEST, "userId: is needed.")
    return accused


def _check_there(accused: uuid.UUID) -> None:
    """Also an account that has ended, until its erasure is done: who does harm ends it, and what is decided holds for its number
    (``accounts/services/late.py``). Locked as by a row that refers to it: the erasure's last step waits and sees the report, and
    a decision does not wait. Raises :class:`Refused` (``not_found``)."""
    if not Account.objects.raw("SELECT id FROM accounts_account WHERE id = %s FOR KEY SHARE", [accused]):
        raise _unknown()


def _conversation(account: Account, new: New) -> Conversation:
    """The conversation, if the reporter is or was in it, or, of a group, holds an invite. Raises :class:`Refused`."""
    name = str(new.conversation_id)
    found = store.conversations([name]).get(name)
    is_group = found is not None and found.kind == "group"
    if found is None or not was_member(found, str(account.pk)):
        if found is None or not (is_group and new.kind == Report.Kind.GROUP and _invited(new)):
            raise _unknown()
        if new.leave:
            raise Refused(Code.BAD_REQUEST, "leave: you are no member.")
    if not is_group and (new.kind == Report.Kind.GROUP or new.leave):
        raise Refused(Code.BAD_REQUEST, "conversationId: is no group.")
    return found


def _invited(new: New) -> bool:
    return bool(new.invite) and groups.open_invite(code=new.invite).group_id == new.conversation_id


def _unknown() -> Refused:
    return Refused(Code.NOT_FOUND, "There is nothing here, or nothing that you may see.")


def _store(
    account: Account,
    accused: uuid.UUID | None,
    new: New,
    verdicts: list[str],
    now: int,
) -> Report:
    files = _shown(account, new)
    by_accused = [
        verdict
        for copy, verdict in zip(new.messages, verdicts, strict=True)
        if copy.sender_id == accused or (accused is None and copy.sender_id != account.pk)
    ]
    made = Report(
        kind=new.kind,
        category=new.category,
        reporter=account.pk,
        reported=accused,
        conversation=new.conversation_id,
        media=new.media_id,
        created_at=now,
        verdict=overall(verdicts, by_accused),
    )
    made.note = sealed.seal_note(new.note, made.pk)
    made.save(force_insert=True)
    rows = [
        ReportedMessage(
            report=made,
            position=position,
            message_id=copy.message_id,
            sender=copy.sender_id,
            sent_at=copy.at,
            kind=copy.kind,
            content=sealed.seal_content(copy.content, made.pk, position),
            media=file if (file := _file(copy)) in files else None,
            verdict=verdict,
        )
        for position, (copy, verdict) in enumerate(zip(new.messages, verdicts, strict=True))
    ]
    ReportedMessage.objects.bulk_create(rows)
    case = cases.note_report(made, now)
    if files and made.verdict != ReportedMessage.Verdict.FORGED:
        holds.hold(files, case, now)  # they stay until it is decided
    return made


def _file(copy: Copy) -> uuid.UUID | None:
    found = media_of(copy.media_url)
    return uuid.UUID(found) if found else None


def _shown(account: Account, new: New) -> set[uuid.UUID]:
    """The files of a report that its reporter was sent: nobody keeps others, or has them shown, by naming them."""
    asked = {file for copy in new.messages if (file := _file(copy)) is not None}
    if new.media_id is not None:
        asked.add(new.media_id)
    shown = set()
    for media_id in asked:
        try:
            media.shown(account=account, media_id=media_id, conversation_id=new.conversation_id, emptied=True)
        except Refused:
            continue
        shown.add(media_id)
    return shown


def _block(account: Account, accused: uuid.UUID | None, device_id: str) -> bool:
    assert accused is not None
    try:
        block(owner=account, user_id=accused, device_id=device_id)
    except (Refused, Unavailable):
        return False
    return True


def _leave(account: Account, group_id: uuid.UUID) -> bool:
    try:
        leave(account=account, group_id=group_id)
    except (Refused, Unavailable):
        return False
    return True
