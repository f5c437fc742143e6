"""Sanctions: what is done about an account because of how it was used, by a trigger or by staff. Each has a reason, evidence in
numbers and an end, can be appealed against once, and be taken back.

=============  ============================================  ===========================
kind           effect                                        how
=============  ============================================  ===========================
slow_down      fewer messages a minute                       class ``slowed``
limit          no first contacts, new groups or invitations  class ``restricted``
suspension     banned until a time                           ``bans.py``
permanent      banned for good                               ``bans.py``
=============  ============================================  ===========================

Of several that are in force the strictest counts, and the end of one leaves the others. Every change locks the account's row and
works the effect out anew from all rows, so it may run twice and at once. Sockets that are open follow within a second.

Whoever calls on behalf of staff writes the audit log (``whatsapp/staff/audit.py``).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from django.db import transaction
from django.db.models import Q

from accounts import appeal_address, events
from accounts.errors import Refused
from accounts.limits import DAY_MS
from accounts.models import Account, CarriedSanction, LeftNumber, Sanction
from accounts.services import bans
from accounts.services.limit_overrides import set_class
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

AUTOMATIC: Final = "automatic"
#: ``banned_until`` of who is banned for good: the end of the year 9999, which clients can show as a date.
FOREVER: Final = 253_402_300_799_000
APPEAL_MOST: Final = 2_000  # characters

Kind = Sanction.Kind
BANS: Final = frozenset((Kind.SUSPENSION, Kind.PERMANENT))
CLASS_OF: Final = {Kind.SLOW_DOWN: "slowed", Kind.LIMIT: "restricted"}
#: Sanctions whose ends one run of :func:`end_due` sees to.
_AT_ONCE: Final = 500
#: What becomes of a sanction of an account that has ended, and what is called when one has still to go to numbers that its
#: account has left; bound by whoever knows who has them.
_follow: Follow | None = None
_follow_soon: Callable[[], None] | None = None
_is_code = re.compile(r"[a-z0-9_.:-]{1,64}", re.ASCII).fullmatch


class Follow(Protocol):
    def __call__(self, *, account: Account, sanction: Sanction, now: int) -> None: ...


def bind_follow(follow: Follow, soon: Callable[[], None]) -> None:
    global _follow, _follow_soon
    _follow, _follow_soon = follow, soon


def impose(
    *,
    account_id: uuid.UUID,
    kind: str,
    reason: str,
    evidence: Mapping[str, Any],
    until: int | None,
    by: str,
    step: int | None = None,
    unless_since: int | None = None,
    carried_from: uuid.UUID | None = None,
) -> Sanction:
    """A new sanction, in force at once.

    ``reason``: a code, at most 64 of ``a-z0-9_.:-``. ``evidence``: numbers, and codes or ids of that kind; never text of people.
    ``until`` (ms): required of a suspension, None of a permanent ban, and None of the others is for good. ``by``: of staff, or
    ``automatic``. ``step``: of the ladder of triggers. ``unless_since`` (ms): only if no trigger has imposed one then or
    later, so that two who look at once do it once. ``carried_from``: of an account that had the number before (``carried.py``).

    That of an account that has ended, or has moved from another number lately, holds for who has that number now, or gets it
    (``late.py``).

    Raises :class:`Refused`: ``not_found`` (no such account), ``bad_request``, ``conflict`` (``unless_since``).
    """
    now = now_ms()
    _check(kind, reason, evidence, until, now)
    with transaction.atomic():
        account = _lock(account_id)
        if unless_since is not None and _automatic_since(account_id, unless_since):
            raise Refused(Code.CONFLICT, "Somebody has done that already.")
        sanction = Sanction.objects.create(
            account=account,
            kind=kind,
            reason=reason,
            evidence=dict(evidence),
            imposed_at=now,
            imposed_by=by,
            until=until,
            step=step,
            carried_from=carried_from,
            follows=carried_from is None and _has_left_numbers(account, now),
        )
        _settle(account, now, new=sanction)
        if account.retired_at is not None and _follow is not None:
            _follow(account=account, sanction=sanction, now=now)
        if sanction.follows and _follow_soon is not None:
            transaction.on_commit(_follow_soon)
    return sanction


def lift(*, sanction: Sanction, by: str, reason: str) -> bool:
    """Take it back, also when its time is over: then it counts for nothing any more. So does what of it has gone to another
    account with the number, or waits to. False when that was done before."""
    now = now_ms()
    with transaction.atomic():
        account = _lock(sanction.account_id)
        found = Sanction.objects.select_for_update().get(pk=sanction.pk)
        if found.lifted_at is not None:
            return False
        found.lifted_at, found.lifted_by, found.lift_reason = now, by, reason[:500]
        found.save(update_fields=["lifted_at", "lifted_by", "lift_reason"])
        _settle(account, now)
        # In this order: who has just taken it over has made what is read next.
        CarriedSanction.objects.filter(sanction=found.pk).delete()
        for carried in Sanction.objects.filter(carried_from=found.pk, lifted_at=None):
            lift(sanction=carried, by=by, reason=reason)
    return True


def lift_bans(*, account_id: uuid.UUID, by: str, reason: str) -> bool:
    """Let an account in again, whatever it was banned for. False when it was not banned."""
    now = now_ms()
    with transaction.atomic():
        account = _lock(account_id)
        in_force = [one for one in in_force_of(account_id, now=now) if one.kind in BANS]
        if not in_force and not account.is_banned(now):
            return False
        for one in in_force:
            lift(sanction=one, by=by, reason=reason)
        account.refresh_from_db(fields=["banned_until"])
        if account.banned_until is not None:  # by somebody who knew of no sanctions
            bans.lift(account=account)
    return True


def end_due(*, now: int) -> int:
    """Take back the effects of sanctions whose time is over: classes go back to what they were. Returns how many accounts."""
    due = Sanction.objects.filter(ended_at=None, until__lte=now).order_by("until")
    accounts = list(dict.fromkeys(due.values_list("account_id", flat=True)[:_AT_ONCE]))
    for account_id in accounts:
        with transaction.atomic():
            account = Account.objects.select_for_update(no_key=True).filter(pk=account_id).first()
            if account is not None:
                _settle(account, now)
    return len(accounts)


def in_force_of(account_id: uuid.UUID, *, now: int) -> list[Sanction]:
    """All that are in force, the newest first."""
    found = Sanction.objects.filter(Q(until=None) | Q(until__gt=now), account=account_id, lifted_at=None)
    return list(found.order_by("-imposed_at", "-pk"))


# -- appeals ----------------------------------------------------------------------------------------------------------------


def ask_appeal(*, sanction_id: uuid.UUID, text: str) -> Sanction:
    """Its owner asks to look at it again, once, while it is in force.

    Raises :class:`Refused`: ``not_found``, ``gone`` (it is not in force any more), ``conflict`` (asked before), ``bad_request``
    (no text, or more than 2,000 characters).
    """
    said = text.strip()
    if not said or len(said) > APPEAL_MOST or "\0" in said:
        raise Refused(
            Code.BAD_REQUEST, f"An appeal is 1 to {APPEAL_MOST} characters.", details={"field": "text"}
        )
    now = now_ms()
    with transaction.atomic():
        found = Sanction.objects.select_for_update().filter(pk=sanction_id).first()
        if found is None:
            raise Refused(Code.NOT_FOUND, "There is no such sanction.")
        if found.appeal != Sanction.Appeal.NONE:
            raise Refused(Code.CONFLICT, "You have appealed against this already.")
        if not found.in_force(now):
            raise Refused(Code.GONE, "This is not in force any more.")
        found.appeal, found.appeal_at, found.appeal_text = Sanction.Appeal.ASKED, now, said
        found.save(update_fields=["appeal", "appeal_at", "appeal_text"])
    return found


def decide_appeal(*, sanction: Sanction, by: str, grant: bool, reason: str) -> Sanction:
    """Answer an appeal; when it is granted the sanction is lifted. Raises :class:`Refused` (``conflict``): none is open."""
    with transaction.atomic():
        _lock(sanction.account_id)
        found = Sanction.objects.select_for_update().get(pk=sanction.pk)
        if found.appeal != Sanction.Appeal.ASKED:
            raise Refused(Code.CONFLICT, "No appeal against this is open.")
        found.appeal = Sanction.Appeal.GRANTED if grant else Sanction.Appeal.UPHELD
        found.save(update_fields=["appeal"])
        if grant:
            lift(sanction=found, by=by, reason=reason)
            found.refresh_from_db()
    return found


# -- effects ----------------------------------------------------------------------------------------------------------------


def _settle(account: Account, now: int, new: Sanction | None = None) -> None:
    """Make the account what its sanctions say. It is locked; ``new`` has just been stored and had no effect yet."""
    known = list(Sanction.objects.filter(account=account, ended_at=None).order_by("imposed_at", "pk"))
    earlier = [one for one in known if new is None or one.pk != new.pk]
    left = [one for one in known if one.in_force(now)]
    _settle_ban(account, now, earlier, left)
    before = _settle_class(account, earlier, left, new)
    if new is not None:
        new.class_before = before
        new.save(update_fields=["class_before"])
    over = [one.pk for one in known if one not in left]
    if over:
        Sanction.objects.filter(pk__in=over).update(ended_at=now)


def _settle_ban(account: Account, now: int, earlier: Sequence[Sanction], left: Sequence[Sanction]) -> None:
    explained = _end_of(earlier)[0]
    until, sanction = _end_of(left)
    if account.is_banned(now) and account.banned_until > max(explained, until):
        return  # by somebody who knew of no sanctions, and for longer than these
    if until > now:
        if account.banned_until != until:
            bans.ban(account=account, until=until, sanction=sanction)
    elif account.banned_until is not None:
        bans.lift(account=account)


def _end_of(sanctions: Sequence[Sanction]) -> tuple[int, str]:
    """When the last ban of these ends, and which one it is; 0 without one."""
    ends = [
        (one.until if one.until is not None else FOREVER, str(one.pk))
        for one in sanctions
        if one.kind in BANS
    ]
    return max(ends, default=(0, ""))


def _settle_class(
    account: Account, earlier: Sequence[Sanction], left: Sequence[Sanction], new: Sanction | None
) -> str:
    """Returns the class that the account has without any sanction."""
    held = [one for one in earlier if one.kind in CLASS_OF]
    ours = bool(held) and account.limit_class in CLASS_OF.values()
    before: str = held[-1].class_before if ours else account.limit_class
    wanted = _class_of(left)
    if not wanted:
        wanted = before
    elif not ours and (new is None or new.kind not in CLASS_OF):
        return before  # somebody has given it another class meanwhile: that stays
    changed = account.limit_class != wanted
    if changed:
        try:
            set_class(
                account=account, limit_class=wanted, by=new.imposed_by if new is not None else AUTOMATIC
            )
        except Refused:  # the class of before is gone
            set_class(account=account, limit_class="", by=AUTOMATIC)
    if changed or (new is not None and new.kind in CLASS_OF):  # it may last longer now
        told = limited(left) or {"kind": None, "until": None, "appealUrl": ""}
        events.notice(user_id=str(account.pk), kind="limited", data=told)
    return before


def limited(sanctions: Sequence[Sanction]) -> dict[str, Any] | None:
    """What an account is told of the strictest of those in force that let it do less: {``kind``: ``limit`` or ``slow_down``,
    ``until``: ms, None for good, ``appealUrl``}. None without one."""
    for kind in (Kind.LIMIT, Kind.SLOW_DOWN):
        if found := [one for one in sanctions if one.kind == kind]:
            last = max(found, key=lambda one: FOREVER if one.until is None else one.until)
            return {"kind": str(kind), "until": last.until, "appealUrl": appeal_address.url(str(last.pk))}
    return None


def _class_of(sanctions: Sequence[Sanction]) -> str:
    kinds = {one.kind for one in sanctions}
    return next((CLASS_OF[kind] for kind in (Kind.LIMIT, Kind.SLOW_DOWN) if kind in kinds), "")


def _lock(account_id: uuid.UUID) -> Account:
    account = Account.objects.select_for_update(no_key=True).filter(pk=account_id).first()
    if account is None:
        raise Refused(Code.NOT_FOUND, "There is no such user.")
    return account


def _has_left_numbers(account: Account, now: int) -> bool:
    """The account is locked: it leaves none meanwhile."""
    since = now - LIMITS.recycled_after_days * DAY_MS
    return LeftNumber.objects.filter(account=account, left_at__gt=since).exists()


def _automatic_since(account_id: uuid.UUID, since: int) -> bool:
    return Sanction.objects.filter(account=account_id, imposed_by=AUTOMATIC, imposed_at__gte=since).exists()


def _check(kind: str, reason: str, evidence: Mapping[str, Any], until: int | None, now: int) -> None:
    if kind not in Kind.values:
        raise Refused(Code.BAD_REQUEST, "There is no such sanction.", details={"field": "kind"})
    if not _is_code(reason):
        raise Refused(Code.BAD_REQUEST, "The reason is a code.", details={"field": "reason"})
    wrong = until is None if kind == Kind.SUSPENSION else until is not None and kind == Kind.PERMANENT
    if wrong or (until is not None and not now < until <= FOREVER):
        raise Refused(Code.BAD_REQUEST, "That is no end of it.", details={"field": "until"})
    for name, value in evidence.items():
        sound = type(value) in (int, float, bool) or (type(value) is str and _is_code(value))
        if len(evidence) > 50 or not _is_code(name) or not sound:
            raise Refused(Code.BAD_REQUEST, "Evidence is numbers and codes.", details={"field": "evidence"})
