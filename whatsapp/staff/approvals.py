"""What one member of staff asks for and another one decides: a ban for good, the end of a legal hold, an export for an authority.

Each kind is registered once, at start (``AppConfig.ready``), with what is done when it is approved. The handler runs in the
transaction of the decision, under the lock of the row: either all of it has happened, once, or the approval still waits. Never
does the one who asked decide; a superuser is no exception.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q, TextField
from django.db.models.functions import Cast

from whatsapp.infra.clock import now_ms
from whatsapp.staff import audit
from whatsapp.staff.models import Approval

State = Approval.State

#: How long somebody may take to decide.
LIFETIME_MS: Final = 86_400_000
_EXPIRED_AT_ONCE: Final = 100
_WAITS: Final = "This waits for a second person already."


class Refusal(Exception):
    """It cannot be asked or decided now; nothing has changed. Its text is for staff. A handler may raise it too."""


class Named(NamedTuple):
    """Somebody or something that an approval is about, for people: "User", its id, and its page (``whatsapp.staff.links``)."""

    name: str
    text: str
    page: str = ""
    pk: str = ""


#: Of approvals of one kind: primary key → what each is about, the narrowest first. Of what is gone nothing.
About = Callable[[Sequence[Approval]], Mapping[uuid.UUID, list[Named]]]


@dataclass(frozen=True)
class Kind:
    """``handler(approval, by)``: carry it out; ``by`` is who approves. ``permission``: of who decides. ``asks``: of who asks, ''
    where nobody does so by it. ``title``: what is asked, for people. ``about(approvals)``: whom and what they are about, of many
    at once, for the list. ``details(approval)``: more rows of (name, text), for the page of one. ``refused(approval)``: called,
    in the same transaction, when it was rejected, withdrawn, or expired. ``unseen(approval, by)``: what ``by`` has to look at
    before they approve it, in words; '' when they have."""

    name: str
    handler: Callable[[Approval, User], None]
    permission: str
    asks: str
    title: str
    about: About
    details: Callable[[Approval], list[tuple[str, str]]]
    refused: Callable[[Approval], None]
    unseen: Callable[[Approval, User], str]


_kinds: Final[dict[str, Kind]] = {}


def register(
    kind: str,
    handler: Callable[[Approval, User], None],
    permission: str,
    *,
    asks: str = "",
    title: str = "",
    about: About = lambda approvals: {},
    details: Callable[[Approval], list[tuple[str, str]]] = lambda approval: [],
    refused: Callable[[Approval], None] = lambda approval: None,
    unseen: Callable[[Approval, User], str] = lambda approval, by: "",
) -> None:
    """See :class:`Kind`. Raises ``ValueError`` when the kind is taken by another handler."""
    made = Kind(kind, handler, permission, asks, title or kind, about, details, refused, unseen)
    if _kinds.setdefault(kind, made).handler is not handler:
        raise ValueError(f"there is a kind of approval {kind!r} already")


def kind_of(approval: Approval) -> Kind | None:
    """None: of a kind that this version does not know."""
    return _kinds.get(approval.kind)


def about(found: Sequence[Approval]) -> dict[uuid.UUID, list[Named]]:
    """What each is about. Of who is erased, and of kinds that this version does not know, nothing."""
    said: dict[uuid.UUID, list[Named]] = {}
    for kind in _kinds.values():
        if mine := [each for each in found if each.kind == kind.name and each.subject]:
            said.update(kind.about(mine))
    return said


def user_named(pk: Any) -> Named:
    return Named("User", str(pk), "accounts_account_change", str(pk))


def kinds_for(user: User) -> list[str]:
    """Names of the kinds that this member of staff may decide."""
    return [kind.name for kind in _kinds.values() if user.has_perm(kind.permission)]


def may_ask(user: User) -> bool:
    """Whether there is a kind that this member of staff may ask for."""
    return any(kind.asks and user.has_perm(kind.asks) for kind in _kinds.values())


def ask(
    kind: str,
    subject: str,
    payload: dict[str, Any],
    by: User,
    reason: str,
    *,
    lifetime_ms: int = LIFETIME_MS,
) -> Approval:
    """Ask for a second person. Whether ``by`` may ask is the caller's check.

    Raises :class:`Refusal` when the same is waiting already, ``KeyError`` for a kind that nobody has registered.
    """
    known, now = _kinds[kind], now_ms()
    with transaction.atomic():
        for late in _waiting(kind=kind, subject=subject, expires_at__lte=now):
            _end(late, State.EXPIRED, now=now)
        # Looked for, and not left to the index alone: that waits for who decides it at this moment, who may wait for our caller.
        if Approval.objects.filter(kind=kind, subject=subject, state=State.WAITING).exists():
            raise Refusal(_WAITS)
        approval = Approval(
            kind=kind, subject=subject, payload=payload, reason=reason[:500], asked_by=by, asked_name=by.get_username(),
            asked_at=now, expires_at=now + lifetime_ms,
        )  # fmt: skip
        try:
            with transaction.atomic():
                approval.save(force_insert=True)
        except IntegrityError:
            raise Refusal(_WAITS) from None
        audit.record(by=by, on=approval, action="approval.asked", message=f"{known.title}: {reason}")
    return approval


def decide(approval: Approval, by: User, approve: bool, reason: str) -> Approval:
    """Approve and carry out, or reject. Returns the row as it is now.

    Raises :class:`Refusal`: decided or expired meanwhile, asked by the very person, without permission, of an unknown kind,
    approved by who has not looked at what it is about, or the handler refuses.
    """
    now = now_ms()
    with transaction.atomic():
        found = Approval.objects.select_for_update().get(pk=approval.pk)
        kind = kind_of(found)
        if found.state != State.WAITING:
            raise Refusal(f"This is {found.state} already.")
        if found.expires_at <= now:
            raise Refusal("This has expired. Ask again.")
        if kind is None:
            raise Refusal("This version does not know what is asked.")
        if found.asked_by_id == by.pk:
            raise Refusal("You asked for this: somebody else decides.")
        # As they are now: what a request knows of its user is from its beginning, and it may have waited for the row since.
        deciding = User.objects.filter(pk=by.pk).first()
        if deciding is None or not (
            deciding.is_active and deciding.is_staff and deciding.has_perm(kind.permission)
        ):
            raise Refusal("Your account may not decide this.")
        if approve and (unseen := kind.unseen(found, by)):
            raise Refusal(unseen)
        _end(found, State.APPROVED if approve else State.REJECTED, by=by, reason=reason, now=now)
        if approve:
            kind.handler(found, by)
        message = f"{kind.title}: {reason}"
        audit.record(by=by, on=found, action=f"approval.{found.state}", message=message)
    return found


def withdraw(approval: Approval, by: User, reason: str) -> Approval:
    """Take back what one asked for oneself. Raises :class:`Refusal`."""
    with transaction.atomic():
        found = Approval.objects.select_for_update().get(pk=approval.pk)
        if found.state != State.WAITING:
            raise Refusal(f"This is {found.state} already.")
        if found.asked_by_id != by.pk:
            raise Refusal("Only who asked for it can withdraw it.")
        _end(found, State.WITHDRAWN, by=by, reason=reason, now=now_ms())
        audit.record(by=by, on=found, action="approval.withdrawn", message=f"Withdrawn: {reason}")
    return found


def is_waiting(names: Collection[str]) -> bool:
    """Whether something that names one of these is still to be decided."""
    asked = Q(subject__in=names)
    for name in names:
        asked |= Q(text__icontains=name)
    waiting = Approval.objects.filter(state=State.WAITING)
    return waiting.annotate(text=Cast("payload", TextField())).filter(asked).exists()


def expire() -> int:
    """End what nobody decided in time, some of it; how many."""
    now = now_ms()
    with transaction.atomic():
        late = list(_waiting(expires_at__lte=now)[:_EXPIRED_AT_ONCE])
        for approval in late:
            _end(approval, State.EXPIRED, now=now)
    return len(late)


def _waiting(**which: Any) -> Any:
    """Locked; what another one decides right now is left to it."""
    return (
        Approval.objects.select_for_update(skip_locked=True)
        .filter(state=State.WAITING, **which)
        .order_by("pk")
    )


def _end(approval: Approval, state: str, *, now: int, by: User | None = None, reason: str = "") -> None:
    approval.state, approval.decided_at, approval.decision = state, now, reason[:500]
    approval.decided_name = by.get_username() if by else ""
    approval.save(update_fields=["state", "decided_at", "decision", "decided_name"])
    kind = kind_of(approval)
    if state != State.APPROVED and kind is not None:
        kind.refused(approval)
