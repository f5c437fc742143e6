"""What is done about an account whose numbers pass a threshold: the next step of the ladder, by itself but for the last one.

Run by beat. Candidates are those whose counts came near a threshold (``accounts/abuse/``), and who was reported lately. May run
twice at once: a sanction that was imposed since the numbers were read is not imposed again.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.db import transaction

from accounts.abuse import counted
from accounts.abuse.triggers import REPORTS, Counts, Trigger, table
from accounts.errors import Refused
from accounts.limits import DAY_MS
from accounts.locks import lock_account
from accounts.models import Account, Report, Sanction
from accounts.services import cases, sanctions, standing
from accounts.services.sanctions import AUTOMATIC, CLASS_OF
from whatsapp.infra.clock import now_ms
from whatsapp.infra.metrics import Counters
from whatsapp.wire.errors import Code

log = logging.getLogger(__name__)

#: Accounts that one run looks at; the next one goes on.
AT_ONCE: Final = 500
#: Who was reported so lately is looked at: some runs, so that one that failed is made up for.
_REPORTED_MS: Final = 300_000
#: Of so many reporters of one account the word is weighed, the newest first.
_REPORTERS: Final = 100

SANCTIONS: Final = Counters(
    "whatsapp_abuse_sanctions", "Sanctions that triggers imposed, by trigger and kind.", ("trigger", "kind")
)
JUDGED: Final = Counters("whatsapp_abuse_judged", "Accounts whose numbers were looked at.", ())


class Step(NamedTuple):
    """``number``: of ``ABUSE_STEPS``. ``ms``: for how long; None of the one that is a person's to decide."""

    number: int
    kind: str
    ms: int | None


def judge() -> int:
    """Look at all candidates. Returns how many were sanctioned."""
    if not settings.ABUSE:
        return 0
    users = list(dict.fromkeys([*counted.take_candidates(AT_ONCE), *_reported(now_ms())]))[: 2 * AT_ONCE]
    if not users:
        return 0
    now = now_ms()
    read = counted.read(users, now) or {}
    accounts = Account.objects.filter(pk__in=users, retired_at=None)
    done = 0
    for account in accounts:
        JUDGED.add()
        try:
            done += judge_one(account, read.get(str(account.pk), {}), now)
        except Exception:
            log.exception("an account could not be judged")  # the others have their turn
    return done


def judge_one(account: Account, read: Counts, now: int) -> bool:
    """Whether it was sanctioned, by these counts and by reports. ``now``: when the counts were read."""
    if account.is_banned(now) or _found(account, read, now) is None:
        return False
    try:
        with transaction.atomic():
            cases.hold_open(account.pk)
            account = lock_account(account)
            # Again behind the lock: another may have been at it when these counts were read, and has forgotten them since.
            read = (counted.read([str(account.pk)], now) or {}).get(str(account.pk), {})
            found = None if account.is_banned(now_ms()) else _found(account, read, now)
            if found is None:
                return False
            trigger, step, evidence = found
            if step.ms is None:
                # One may have come since: whoever decides it waits for the account by now. Then it is for the next run.
                case = cases.open_by_trigger(account.pk, trigger.name, evidence, now=now, wait=False)
                evidence["case"] = str(case.pk)
                step = _until_decided(step)
            sanctions.impose(
                account_id=account.pk,
                kind=step.kind,
                reason=trigger.name,
                evidence=evidence,
                until=now_ms() + (step.ms or 0),
                by=AUTOMATIC,
                step=step.number,
                unless_since=now,
            )
            # Before the commit and behind the lock: nothing is counted for two sanctions, whoever dies or looks at once.
            if read and not counted.forget(str(account.pk), now):
                raise Refused(Code.UNAVAILABLE, "Valkey is away.")
    except Refused:
        return False  # done meanwhile, the account has ended, or later
    SANCTIONS.add(trigger.name, step.kind)
    log.info("an account was sanctioned", extra={"trigger": trigger.name, "kind": step.kind})
    return True


def _found(account: Account, read: Counts, now: int) -> tuple[Trigger, Step, dict[str, Any]] | None:
    """What is to be done, and why; None: nothing."""
    last = _last(account.pk, now)
    counts = {**read, (REPORTS, 24): _reporters(account.pk, last, now)}
    factor = factor_of(account, now)
    fired = [one for one in table().triggers if one.fires(counts, factor)]
    if not fired:
        return None
    trigger = max(fired, key=lambda one: one.first)  # of equals the first in the table
    step = next_step(trigger, last)
    return trigger, step, _evidence(trigger, counts, factor, step)


def factor_of(account: Account, now: int) -> float:
    """By what an account's thresholds are multiplied."""
    class_ = account.limit_class
    if class_ in CLASS_OF.values():
        held = Sanction.objects.filter(account=account, kind__in=list(CLASS_OF), ended_at=None)
        class_ = held.order_by("-imposed_at").values_list("class_before", flat=True).first() or ""
    age = now - account.created_at
    by_age = 1.0
    if age < settings.ABUSE_NEW_MS:
        by_age = settings.ABUSE_NEW_FACTOR
    elif age > settings.ABUSE_OLD_MS:
        by_age = settings.ABUSE_OLD_FACTOR
    by_class: float = settings.ABUSE_CLASS_FACTORS.get(class_, 1.0)
    return by_age * by_class


def next_step(trigger: Trigger, last: Sanction | None) -> Step:
    """The trigger's first, or one above the last that was imposed in time."""
    number = trigger.first
    if last is not None and last.step is not None:
        number = max(number, last.step + 1)
    number = min(number, len(settings.ABUSE_STEPS) - 1)
    kind, ms = settings.ABUSE_STEPS[number]
    if kind == Sanction.Kind.PERMANENT:
        ms = None
    return Step(number, kind, ms)


def _until_decided(step: Step) -> Step:
    """What is in force while a person decides: the gravest that ends."""
    kind, ms = next(
        (kind, ms)
        for kind, ms in reversed(settings.ABUSE_STEPS)
        if kind != Sanction.Kind.PERMANENT and ms is not None
    )
    return Step(step.number, kind, ms)


def _last(account_id: uuid.UUID, now: int) -> Sanction | None:
    """The last one by a trigger that was not taken back and is not forgotten."""
    found = Sanction.objects.filter(
        account=account_id,
        imposed_by=AUTOMATIC,
        lifted_at=None,
        imposed_at__gt=now - settings.ABUSE_MEMORY_MS,
    )
    return found.order_by("-imposed_at", "-pk").first()


def _reported(now: int) -> Sequence[str]:
    """Who was reported in the last minutes by enough people for some trigger to matter."""
    if not any(one.signal == REPORTS for one in table().triggers):
        return ()
    found = Report.objects.filter(created_at__gt=now - _REPORTED_MS, reported__isnull=False, counts=True)
    newest = found.order_by("-created_at").values_list("reported", flat=True)[: 20 * AT_ONCE]
    return [str(user) for user in dict.fromkeys(newest)][:AT_ONCE]


def _reporters(account_id: uuid.UUID, last: Sanction | None, now: int) -> float:
    """Different people whose reports of the last day count, each as much as their word does (``standing.voice_of``), without
    those that it was sanctioned after. Friends who write to somebody and report that one are no five people."""
    since = max(now - DAY_MS, last.imposed_at if last is not None else 0)
    found = Report.objects.filter(
        reported=account_id, counts=True, created_at__gt=since, reporter__isnull=False
    )
    people = found.order_by("-created_at").values_list("reporter", flat=True)[: 2 * _REPORTERS]
    return sum(standing.voice_of(one, now=now) for one in list(dict.fromkeys(people))[:_REPORTERS])


def _evidence(trigger: Trigger, counts: Counts, factor: float, step: Step) -> dict[str, Any]:
    seen: Mapping[str, Any] = {
        f"{signal}.{hours}h": round(value, 1) for (signal, hours), value in sorted(counts.items()) if value
    }
    return {"threshold": round(trigger.threshold * factor, 1), "factor": factor, "step": step.number, **seen}
