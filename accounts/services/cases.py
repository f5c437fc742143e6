"""Cases: what is reported of one subject comes together in one, and one moderator at a time decides it.

::

    open ──claim──▶ claimed ──close──▶ closed
     ▲ ◀──release──    │ ▲               │
     │     (or 30 min) └─wait_for_approval─▶ waiting ──close (a second person)──▶ closed
     └──────────────────────reopen────────────────────────┴──────────────────────┘

A subject has one case that is not closed (a unique index); what is reported after a decision opens another. Every change locks
the case's row, so of two moderators at once one is told :class:`Taken`. ``by`` is a name of the staff.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from accounts.errors import Refused
from accounts.limits import DAY_MS
from accounts.models import Case, CaseTrigger, Report, ReportedMessage, Sanction
from accounts.services import case_rank, standing
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code


class WrongState(Refused):
    """The case is not in a state in which this can be done."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.CONFLICT, message)


class Taken(WrongState):
    """Somebody else has claimed it."""


class NotClaimed(WrongState):
    """Whoever does this has to claim it first."""


class Closed(WrongState):
    """It was decided."""


class NeedsApproval(WrongState):
    """Not without a second person."""


# -- what comes in --------------------------------------------------------------------------------------------------------


def note_report(report: Report, now: int) -> Case:
    """Open a case for a report that was just stored, or add it to the open one of the same subject. In the caller's transaction.

    Writes the report's ``case``, ``weight`` and ``counts``. Of one reporter one report in 24 hours counts, and its weight once a
    case. A forged one is shown with the case and changes nothing of it. Ten different reporters within 24 hours flag it.
    """
    kind, subject = _subject(report)
    forged = report.verdict == ReportedMessage.Verdict.FORGED
    assert report.reporter is not None
    weight = 0 if forged else standing.weight_of(report.reporter, now=now)
    case = _open(kind, subject, "other" if forged else report.category, now)
    earlier = Report.objects.filter(case=case, reporter=report.reporter, counts=True).exclude(pk=report.pk)
    newest = earlier.order_by("-created_at").values_list("created_at", flat=True).first()
    report.case, report.weight = case, weight
    report.counts = not forged and (newest is None or newest <= now - DAY_MS)
    report.save(update_fields=["case", "weight", "counts"])
    if forged:
        return case
    case.weight += weight if newest is None else 0
    case.report_count += report.counts
    case.verified |= report.verdict == ReportedMessage.Verdict.VERIFIED
    _raise(case, report.category, now)
    if case.flagged_at is None and _reporters(case, now) >= settings.REPORT_FLAG_REPORTERS:
        case.flagged_at = now
        case.due_at = min(case.due_at, now + settings.REPORT_FLAGGED_DUE_MS)
    _save(case)
    return case


def open_by_trigger(
    account_id: uuid.UUID,
    trigger: str,
    evidence: dict[str, Any],
    *,
    category: str = "spam",
    now: int = 0,
    wait: bool = True,
) -> Case:
    """A trigger saw how an account is used: open its case or add to it. ``evidence``: numbers alone, JSON.

    Counts like the word of one new reporter, each trigger once a case; what it saw last is kept. ``wait`` False: of who has the
    account locked; raises :class:`Taken` when somebody is at the case, who may wait for that.
    """
    now = now or now_ms()
    with transaction.atomic():
        if not wait:
            found = _of_account(account_id)
            if found.exists() and found.select_for_update(skip_locked=True).first() is None:
                raise Taken("Somebody works on this case.")
        case = _open(Case.Subject.USER, account_id, category, now)
        _, made = CaseTrigger.objects.update_or_create(
            case=case, trigger=trigger, defaults={"evidence": evidence, "at": now}
        )
        if made:
            case.weight += standing.NEW
        _raise(case, category, now)
        _save(case)
    return case


def hold_open(account_id: uuid.UUID) -> None:
    """Lock the case of an account that is not closed, if there is one. Whoever writes to it with the account locked calls this
    before that: a decision locks the case first."""
    _of_account(account_id).select_for_update().first()


def _of_account(account_id: uuid.UUID) -> QuerySet[Case]:
    """The one that is not closed."""
    found = Case.objects.filter(subject_kind=Case.Subject.USER, subject=account_id)
    return found.exclude(state=Case.State.CLOSED)


def _subject(report: Report) -> tuple[str, uuid.UUID]:
    if report.kind == Report.Kind.GROUP:
        assert report.conversation is not None
        return Case.Subject.GROUP, report.conversation
    if report.kind == Report.Kind.MEDIA:
        assert report.media is not None
        return Case.Subject.MEDIA, report.media
    assert report.reported is not None
    return Case.Subject.USER, report.reported


def _open(kind: str, subject: uuid.UUID, category: str, now: int) -> Case:
    """The one case of the subject that is not closed, locked; made when there is none."""
    while True:
        Case.objects.bulk_create(
            [
                Case(
                    subject_kind=kind,
                    subject=subject,
                    category=category,
                    opened_at=now,
                    due_at=case_rank.due_at(category, now),
                )
            ],
            ignore_conflicts=True,
        )
        found = (
            Case.objects.select_for_update()
            .filter(subject_kind=kind, subject=subject)
            .exclude(state=Case.State.CLOSED)
            .first()
        )
        if found is not None:
            return found
        # Closed between the two: now a new one can be made.


def _raise(case: Case, category: str, now: int) -> None:
    case.category = case_rank.graver(case.category, category)
    case.due_at = min(case.due_at, case_rank.due_at(category, now))


def _save(case: Case) -> None:
    case.priority = case_rank.priority(case)
    case.save()


def _reporters(case: Case, now: int) -> int:
    """Different people whose reports of the last 24 hours count. Few rows: above the number the case is flagged already."""
    counting = Report.objects.filter(case=case, counts=True, created_at__gt=now - DAY_MS)
    return counting.values("reporter").distinct().count()


# -- what moderators do ---------------------------------------------------------------------------------------------------


def claim(case: Case, by: str) -> Case:
    """``by`` decides this one: nobody else does for the next 30 minutes. Again: 30 minutes from now.

    Raises :class:`Taken`, :class:`Closed`, :class:`WrongState` (it waits for a second person).
    """
    now = now_ms()
    with transaction.atomic():
        found = _lock(case)
        if found.state == Case.State.WAITING:
            raise WrongState("This case waits for a second person.")
        if is_claimed(found, now) and found.claimed_by != by:
            raise Taken("Somebody else works on this case.")
        found.state, found.claimed_by, found.claimed_at = Case.State.CLAIMED, by, now
        found.save(update_fields=["state", "claimed_by", "claimed_at"])
    return found


def renew(case: Case, by: str) -> Case:
    """Another 30 minutes. Raises :class:`NotClaimed` (also: the time was over and somebody else has it), :class:`Closed`."""
    with transaction.atomic():
        found = _lock_own(case, by)
        found.claimed_at = now_ms()
        found.save(update_fields=["claimed_at"])
    return found


def release(case: Case, by: str) -> Case:
    """Give it back, undecided. Raises :class:`NotClaimed`, :class:`Closed`."""
    with transaction.atomic():
        found = _lock_own(case, by)
        _free(found)
        found.save(update_fields=["state", "claimed_by", "claimed_at"])
    return found


def wait_for_approval(case: Case, by: str) -> Case:
    """``by`` has decided and a second person has to agree. Raises :class:`NotClaimed`, :class:`Closed`."""
    with transaction.atomic():
        found = _lock_own(case, by)
        found.state = Case.State.WAITING
        found.save(update_fields=["state"])
    return found


def close(case: Case, by: str, outcome: str, reason: str) -> Case:
    """Decided. ``outcome``: one of ``Case.Outcome``. Whoever has claimed it closes it; one that waits is closed by another.

    Raises :class:`NotClaimed`, :class:`Closed`, :class:`NeedsApproval` (a permanent ban, or the one who asked), and
    :class:`Refused` (``bad_request``: no such outcome).
    """
    if outcome not in Case.Outcome.values or outcome == Case.Outcome.OVERTURNED:
        raise Refused(Code.BAD_REQUEST, "There is no such outcome.")
    with transaction.atomic():
        found = _lock(case)
        if found.state == Case.State.WAITING:
            if found.claimed_by == by:
                raise NeedsApproval("Somebody else has to agree.")
        else:
            _check_own(found, by)
            if outcome == Case.Outcome.PERMANENT:
                raise NeedsApproval("A permanent ban takes a second person.")
        found.state, found.closed_at, found.closed_by = Case.State.CLOSED, now_ms(), by
        found.outcome, found.outcome_reason = outcome, reason[:500]
        found.save(update_fields=["state", "closed_at", "closed_by", "outcome", "outcome_reason"])
    return found


def reopen(case: Case, by: str, reason: str) -> Case:
    """Look at it again: the second person did not agree, or an appeal was granted. It is nobody's, and due as a new one.

    ``by`` and ``reason`` are for the caller's record. Raises :class:`WrongState`: it is open, or another case of the subject is.
    """
    now = now_ms()
    try:
        with transaction.atomic():
            found = Case.objects.select_for_update().get(pk=case.pk)
            if found.state not in (Case.State.WAITING, Case.State.CLOSED):
                raise WrongState("This case is open.")
            _free(found)
            found.closed_at, found.closed_by, found.outcome, found.outcome_reason = None, "", "", ""
            found.purged_at = None  # what comes in from now on has its own time
            found.due_at = case_rank.due_at(found.category, now)
            found.save()
    except IntegrityError:
        raise WrongState("Another case of the same subject is open.") from None
    return found


def hold_of(sanction: Sanction) -> Case | None:
    """Lock the case in which a sanction was decided, if there is one. As in :func:`hold_open`: before the account."""
    found: Case | None = Case.objects.select_for_update().filter(pk=sanction.evidence.get("case")).first()
    return found


def overturn(case: Case, sanction: Sanction, reason: str) -> bool:
    """An appeal against what was decided here was granted: that counts for nobody any more, neither against who was reported nor
    for who reported. Not when what was appealed against is not what the case ended with. Call it behind :func:`hold_of`."""
    if case.state != Case.State.CLOSED or case.outcome != sanction.kind:
        return False
    case.outcome, case.outcome_reason = Case.Outcome.OVERTURNED, reason[:500]
    case.save(update_fields=["outcome", "outcome_reason"])
    return True


def is_claimed(case: Case, now: int) -> bool:
    """Whether somebody works on it: a claim ends by itself."""
    if case.state != Case.State.CLAIMED or case.claimed_at is None:
        return False
    ends: int = case.claimed_at + settings.CASE_CLAIM_MS
    return ends > now


def _lock(case: Case) -> Case:
    found = Case.objects.select_for_update().get(pk=case.pk)
    if found.state == Case.State.CLOSED:
        raise Closed("This case was decided.")
    return found


def _lock_own(case: Case, by: str) -> Case:
    found = _lock(case)
    _check_own(found, by)
    return found


def _check_own(case: Case, by: str) -> None:
    """Its time may be over, as long as nobody else has taken it."""
    if case.state != Case.State.CLAIMED or case.claimed_by != by:
        raise NotClaimed("Claim this case first.")


def _free(case: Case) -> None:
    case.state, case.claimed_by, case.claimed_at = Case.State.OPEN, "", None
