"""What a moderator may decide, and everything that one decision changes, in one transaction: the sanction, the case, the log.

A ban for good is asked for here and carried out by a second person (``whatsapp.staff.approvals``); the case waits meanwhile.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q

from accounts.errors import Refused
from accounts.models import CATEGORIES, Account, Case, Sanction
from accounts.services import cases, sanctions
from groups.services.groups import close_group
from media import tasks as media_tasks
from media.models import Media
from media.services import blocking
from whatsapp.infra.clock import now_ms
from whatsapp.staff import approvals, audit, banning
from whatsapp.staff.models import Approval
from whatsapp.staff.moderation import access, measures, parties, wellbeing

#: The kind of approval that a ban for good waits for; its subject is the case.
BAN: Final = "moderation.permanent_ban"
#: The kind that undoing such a one waits for, about the case too.
UNDO: Final = "moderation.undo"

_DAY_MS: Final = 86_400_000
#: What the staff call each category, for people.
TITLES: Final[Mapping[str, str]] = {name: name.replace("_", " ").capitalize() for name in CATEGORIES}
#: Why nothing is done.
DISMISSALS: Final[Mapping[str, str]] = {
    "allowed": "Allowed by the rules",
    "dispute": "A dispute between two people",
    "joke": "Not meant as it reads",
    "forged": "The evidence is forged",
    "campaign": "Reported by arrangement",
}
UNDECIDABLE: Final[Mapping[str, str]] = {
    "no_evidence": "Nothing to judge by",
    "unverifiable": "What there is proves nothing",
    "gone": "What was reported is gone",
}
#: For whom a ban for good asks what was seen, in words.
MIN_WORDS: Final = 5


class Impossible(Exception):
    """It cannot be done; nothing has changed. Its text is for staff."""


@dataclass(frozen=True)
class Action:
    """``key``: of the keyboard. ``outcome``: of ``Case.Outcome``. ``sanction``:
    of ``Sanction.Kind``, for ``for_ms`` (None: for good). ``on``: which subjects it is for."""

    name: str
    key: str
    title: str
    hint: str
    outcome: str
    on: tuple[str, ...]
    reasons: Mapping[str, str]
    sanction: str | None = None
    for_ms: int | None = None
    second_person: bool = False


_EVERYTHING: Final = tuple(Case.Subject.values)
_PEOPLE: Final = (str(Case.Subject.USER), str(Case.Subject.MEDIA))

#: In the order of the keys.
ACTIONS: Final = (
    Action(
        "dismiss", "1", "No violation", "Counts against who reported it", Case.Outcome.DISMISSED, _EVERYTHING, DISMISSALS
    ),
    Action("unproven", "2", "Cannot tell", "Counts for nobody", Case.Outcome.UNPROVEN, _EVERYTHING, UNDECIDABLE),
    Action(
        "slow_down", "3", "Slow down", "Fewer messages a minute, for a week", Case.Outcome.SLOW_DOWN, _PEOPLE, TITLES,
        Sanction.Kind.SLOW_DOWN, 7 * _DAY_MS,
    ),
    Action(
        "limit", "4", "Limit", "No first contacts, groups and invitations, for a week", Case.Outcome.LIMIT, _PEOPLE, TITLES,
        Sanction.Kind.LIMIT, 7 * _DAY_MS,
    ),
    Action(
        "day", "5", "Suspend 24 h", "Signed out for a day", Case.Outcome.SUSPENSION, _PEOPLE, TITLES,
        Sanction.Kind.SUSPENSION, _DAY_MS,
    ),
    Action(
        "week", "6", "Suspend 7 d", "Signed out for a week", Case.Outcome.SUSPENSION, _PEOPLE, TITLES,
        Sanction.Kind.SUSPENSION, 7 * _DAY_MS,
    ),
    Action(
        "permanent", "7", "Ban for good…", "A second person has to agree", Case.Outcome.PERMANENT, _PEOPLE, TITLES,
        Sanction.Kind.PERMANENT, None, second_person=True,
    ),
    Action(
        "block_media", "8", "Block the file", "The same bytes are refused from anybody; this cannot be undone",
        Case.Outcome.CONTENT_BLOCKED, (str(Case.Subject.MEDIA),), TITLES,
    ),
    Action(
        "close_group", "8", "Close the group", "Everybody leaves; this cannot be undone", Case.Outcome.GROUP_CLOSED,
        (str(Case.Subject.GROUP),), TITLES,
    ),
)  # fmt: skip
BY_NAME: Final = {action.name: action for action in ACTIONS}


def possible(case: Case, accused: Account | None) -> list[Action]:
    """What can be decided about this subject; a sanction needs somebody whom it hits."""
    return [
        action
        for action in ACTIONS
        if case.subject_kind in action.on and (action.sanction is None or accused is not None)
    ]


def decide(case: Case, by: User, name: str, reason: str, note: str = "") -> Case:
    """Carry out an action. ``reason``: one of its codes. ``note``: words for the log and the second person, '' for none.

    Raises :class:`Impossible`, and ``Refused`` of ``accounts/services/cases.py`` (somebody else has it, it was decided).
    """
    action = BY_NAME.get(name)
    accused = parties.accused_of(case)
    if action is None or action not in possible(case, accused):
        raise Impossible("This cannot be decided about this subject.")
    if reason not in action.reasons:
        raise Impossible("Choose one of the reasons.")
    if action.second_person and len(note) < MIN_WORDS:
        raise Impossible("Say in a few words what the second person should look at.")
    with transaction.atomic():
        locked = cases.renew(case, by.get_username())  # holds its lock: nobody else decides meanwhile
        if action.second_person:
            _ask(locked, accused, by, reason, note)
            done = cases.wait_for_approval(locked, by.get_username())
        else:
            _carry_out(locked, accused, action, by, reason)
            done = cases.close(locked, by.get_username(), action.outcome, _words(reason, note))
            audit.record(
                by=by,
                on=done,
                message=f"Decided: {action.name} ({_words(reason, note)})",
                action="case.decided",
            )
            transaction.on_commit(lambda: measures.decided(done))
        wellbeing.decided(by)
    return done


def _words(reason: str, note: str) -> str:
    return f"{reason}: {note}" if note else reason


def _carry_out(case: Case, accused: Account | None, action: Action, by: User, reason: str) -> None:
    if action.sanction is not None:
        assert accused is not None
        assert action.for_ms is not None
        sanctions.impose(
            account_id=accused.pk,
            kind=action.sanction,
            reason=reason,
            evidence=evidence_of(case),
            until=now_ms() + action.for_ms,
            by=by.get_username(),
        )
    elif action.outcome == Case.Outcome.CONTENT_BLOCKED:
        media = Media.objects.filter(pk=case.subject).first()
        if media is None or not media.sha256 or media.ready_at is None:
            raise Impossible("The content is not known: the file never became ready, or is deleted.")
        blocking.block(sha256=media.sha256, reason=f"case {case.pk}: {reason}", staff=by)
        transaction.on_commit(media_tasks.drop_blocked_soon)
    elif action.outcome == Case.Outcome.GROUP_CLOSED and not close_group(group_id=case.subject):
        raise Impossible("This group is closed already.")


def evidence_of(case: Case) -> dict[str, Any]:
    """What a sanction keeps of its case: numbers."""
    return {"case": str(case.pk), "reports": case.report_count, "verified": case.verified}


# -- the second person ----------------------------------------------------------------------------------------------------


def _ask(case: Case, accused: Account | None, by: User, reason: str, note: str) -> None:
    assert accused is not None
    payload = {"account": str(accused.pk), "reason": reason, "note": note}
    try:
        approvals.ask(BAN, str(case.pk), payload, by, _words(reason, note))
    except approvals.Refusal as refusal:
        raise Impossible(str(refusal)) from None


def approval_of(case: Case) -> Approval | None:
    """What waits for a second person about this case."""
    found: Approval | None = Approval.objects.filter(
        kind=BAN, subject=str(case.pk), state=Approval.State.WAITING
    ).first()
    return found


def undo_asked(case: Case) -> Approval | None:
    """What waits for a second person before this case is undone."""
    waiting = Approval.objects.filter(kind=UNDO, subject=str(case.pk), state=Approval.State.WAITING)
    found: Approval | None = waiting.filter(expires_at__gt=now_ms()).first()
    return found


def register() -> None:
    """Called once, at start."""
    approvals.register(
        BAN,
        _approved,
        "staff.approve_ban",
        asks=access.MODERATE,
        title="Ban for good",
        about=_about,
        refused=_refused,
        unseen=unseen,
    )
    approvals.register(
        UNDO,
        _undone,
        "staff.approve_ban",
        asks=access.MODERATE,
        title="Undo a ban for good",
        about=_about,
        details=_undo_details,
    )


def unseen(approval: Approval, by: User) -> str:
    """Who agrees to a ban has looked at its evidence since it was asked for: what has to be done, or ''."""
    case = Case.objects.filter(pk=approval.subject).first()
    if case is None or audit.has_done(by, case, access.LOOKED, since=approval):
        return ""
    return "Look at the evidence on the page of the case before you approve this."


def _approved(approval: Approval, by: User) -> None:
    case = Case.objects.filter(pk=approval.subject).first()
    if case is None:
        raise approvals.Refusal("The case is gone.")
    payload = approval.payload
    account = uuid.UUID(payload["account"])
    if not Account.objects.filter(pk=account).exists():
        raise approvals.Refusal("The account is gone.")
    try:
        # The case first, as in every decision: two that meet wait for each other in one order.
        done = cases.close(case, by.get_username(), Case.Outcome.PERMANENT, approval.reason)
        sanctions.impose(
            account_id=account,
            kind=Sanction.Kind.PERMANENT,
            reason=payload["reason"],
            evidence={**evidence_of(done), "approval": str(approval.pk)},
            until=None,
            by=by.get_username(),
        )
    except Refused as refused:
        raise approvals.Refusal(str(refused)) from None
    audit.record(by=by, on=done, message=f"Decided: permanent ({approval.reason})", action="case.decided")
    transaction.on_commit(lambda: measures.decided(done))


def _refused(approval: Approval) -> None:
    """Rejected, withdrawn, or nobody decided in time: the case is in the queue again."""
    case = Case.objects.filter(pk=approval.subject, state=Case.State.WAITING).first()
    if case is not None:
        cases.reopen(case, approval.decided_name or "automatic", approval.decision or approval.state)


def _about(found: Sequence[Approval]) -> dict[uuid.UUID, list[approvals.Named]]:
    """The case, by what it is about, and whose it is."""
    known = Case.objects.in_bulk([uuid.UUID(each.subject) for each in found])
    said: dict[uuid.UUID, list[approvals.Named]] = {}
    for each in found:
        if case := known.get(uuid.UUID(each.subject)):
            title = TITLES.get(case.category, case.category)
            said[each.pk] = [approvals.Named("Case", title, "moderation_case", str(case.pk))]
            account = each.payload.get("account") or (
                case.subject if case.subject_kind == Case.Subject.USER else ""
            )
            if account:
                said[each.pk].append(approvals.user_named(account))
    return said


def _undo_details(approval: Approval) -> list[tuple[str, str]]:
    del approval
    return [("What happens", "Its sanctions are lifted, and it is in the queue again.")]


# -- undoing ------------------------------------------------------------------------------------------------------------------


def imposed_by(case: Case, accused: Account | None) -> list[Sanction]:
    """Sanctions of this case that are in force."""
    if accused is None:
        return []
    known = sanctions.in_force_of(accused.pk, now=now_ms())
    return [sanction for sanction in known if sanction.evidence.get("case") == str(case.pk)]


def undo(case: Case, by: User, reason: str) -> bool:
    """Open a decided case again, and lift what it has imposed. What was blocked or closed stays so.

    False: two have decided it, so a second person is asked now, and nothing has changed yet.
    Raises :class:`Impossible`, and ``Refused`` when another case of the subject is open.
    """
    if len(reason) < MIN_WORDS:
        raise Impossible("Say why, in a few words.")
    with transaction.atomic():
        locked = Case.objects.select_for_update().get(pk=case.pk)
        if locked.state != Case.State.CLOSED:
            raise Impossible("This case is not decided.")
        accused = parties.accused_of(locked)
        if locked.subject_kind == Case.Subject.USER and accused is None:
            raise Impossible("The account was erased: there is nothing left to decide.")
        if any(map(banning.of_two, imposed_by(locked, accused))):
            try:
                approvals.ask(UNDO, str(locked.pk), {}, by, reason)
            except approvals.Refusal as refusal:
                raise Impossible(str(refusal)) from None
            return False
        _undo(locked, by, reason)
    return True


def _undo(locked: Case, by: User, reason: str) -> None:
    lifted = imposed_by(locked, parties.accused_of(locked))
    for sanction in lifted:
        sanctions.lift(sanction=sanction, by=by.get_username(), reason=reason)
    was = locked.outcome
    done = cases.reopen(locked, by.get_username(), reason)
    audit.record(
        by=by, on=done, message=f"Reopened ({was}), {len(lifted)} sanctions lifted: {reason}", action="case.reopened"
    )  # fmt: skip


def _undone(approval: Approval, by: User) -> None:
    locked = Case.objects.select_for_update().filter(pk=approval.subject, state=Case.State.CLOSED).first()
    if locked is None:
        raise approvals.Refusal("This case is not decided any more.")
    try:
        _undo(locked, by, approval.reason)
    except Refused as refused:
        raise approvals.Refusal(str(refused)) from None


# -- taking one ---------------------------------------------------------------------------------------------------------------


def take_next(by: User, *, spare: bool) -> Case | None:
    """Claim the most urgent case that nobody works on; None when there is none. ``spare``: none of the grave categories.

    Two who ask at once get two cases: a row that somebody locks is skipped.
    """
    free = Q(state=Case.State.OPEN) | Q(
        state=Case.State.CLAIMED, claimed_at__lte=now_ms() - settings.CASE_CLAIM_MS
    )
    rows = Case.objects.exclude(state=Case.State.CLOSED).filter(free).order_by("-priority", "due_at", "id")
    if spare:
        rows = rows.exclude(category__in=wellbeing.GRAVE)
    with transaction.atomic():
        found = rows.select_for_update(skip_locked=True).first()
        return cases.claim(found, by.get_username()) if found is not None else None
