"""Moderators, triggers, owners and jobs at the same few cases and accounts at once: nobody waits in a circle, each decision is
one that its maker could make then, and an account is what its sanctions say."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from accounts.errors import Refused
from accounts.limits import DAY_MS
from accounts.locks import lock_account
from accounts.models import Account, Case, Sanction
from accounts.own_stores import AccountStore
from accounts.services import cases, evidence, sanctions
from accounts.tasks import prune
from tests.accounts.conftest import Person, sign_in
from tests.staff.cases import report
from tests.staff.conftest import Staff
from whatsapp.infra.clock import now_ms
from whatsapp.staff import approvals, audit, banning, chain
from whatsapp.staff.models import Approval, AuditRecord
from whatsapp.staff.moderation import access, decisions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey_server")]

REASON = "looked at all of it"
#: Threads, and deeds of each.
THREADS, EACH = 6, 40
REFUSED = (Refused, approvals.Refusal, decisions.Impossible)
SANCTIONING = ("slow_down", "limit", "day", "week")


class Desk:
    """What is done, by whom, from any number of threads. ``people``: whose accounts; ``staff``: who decides."""

    def __init__(self, people: list[Person], staff: list[User]) -> None:
        self.people, self.staff = people, staff
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []

    def cases(self) -> list[Case]:
        return list(Case.objects.all())

    def deed(self, chance: random.Random) -> None:
        by = chance.choice(self.staff)
        name, act = chance.choice([(name, getattr(self, name)) for name in DEEDS])
        try:
            with transaction.atomic():  # as pages do
                act(chance, by)
            self.done[name] += 1
        except REFUSED:
            self.done[f"{name} refused"] += 1
        except Exception as error:
            self.wrong.append(f"{name}: {type(error).__name__}: {error}"[:600])

    # moderators

    def claim(self, chance: random.Random, by: User) -> None:
        case = cases.claim(chance.choice(self.cases()), by.get_username())
        audit.record(by=by, on=case, message="Claimed", action="case.claimed")

    def take(self, chance: random.Random, by: User) -> None:
        case = decisions.take_next(by, spare=False)
        if case is not None:
            audit.record(by=by, on=case, message="Claimed as the next one", action="case.claimed")

    def release(self, chance: random.Random, by: User) -> None:
        case = cases.release(chance.choice(self.cases()), by.get_username())
        audit.record(by=by, on=case, message="Released, undecided", action="case.released")

    def decide(self, chance: random.Random, by: User) -> None:
        mine = [one for one in self.cases() if one.claimed_by == by.get_username()]
        name = chance.choice(["dismiss", *SANCTIONING, "permanent"])
        reason = "allowed" if name == "dismiss" else "spam"
        decisions.decide(chance.choice(mine or self.cases()), by, name, reason, REASON)

    def undo(self, chance: random.Random, by: User) -> None:
        decisions.undo(chance.choice(self.cases()), by, REASON)

    def second(self, chance: random.Random, by: User) -> None:
        waiting = list(Approval.objects.filter(state="waiting"))
        if not waiting:
            return
        approval = chance.choice(waiting)
        if approval.asked_by_id == by.pk and chance.random() < 0.5:
            approvals.withdraw(approval, by, REASON)
        else:
            if approval.kind == decisions.BAN:
                audit.append(
                    by=by, on=Case.objects.get(pk=approval.subject), message="", action=access.LOOKED
                )
            approvals.decide(approval, by, chance.random() < 0.7, REASON)

    # by hand

    def ban(self, chance: random.Random, by: User) -> None:
        banning.ban(self._account(chance), by, chance.choice([1, 3, 365]), REASON)

    def lift_all(self, chance: random.Random, by: User) -> None:
        banning.lift_all(self._account(chance), by, REASON)

    def lift(self, chance: random.Random, by: User) -> None:
        if found := list(Sanction.objects.all()):
            banning.lift(chance.choice(found), by, REASON)

    def appeal(self, chance: random.Random, by: User) -> None:
        if found := list(Sanction.objects.filter(appeal="")):
            sanctions.ask_appeal(sanction_id=chance.choice(found).pk, text="It was not me.")

    def answer(self, chance: random.Random, by: User) -> None:
        if found := list(Sanction.objects.filter(appeal="asked")):
            banning.decide_appeal(chance.choice(found), by, REASON, grant=chance.random() < 0.6)

    # what comes by itself

    def reported(self, chance: random.Random, by: User) -> None:
        report(chance.choice(self.people), by=chance.choice(self.people))

    def trigger(self, chance: random.Random, by: User) -> None:
        account = self._account(chance)
        cases.hold_open(account.pk)
        lock_account(account)
        cases.open_by_trigger(account.pk, "messages", {"n": 1}, wait=False)
        sanctions.impose(
            account_id=account.pk, kind="slow_down", reason="messages", evidence={}, until=now_ms() + 30, by="automatic", step=1
        )  # fmt: skip

    def end(self, chance: random.Random, by: User) -> None:
        sanctions.end_due(now=now_ms())

    def prune(self, chance: random.Random, by: User) -> None:
        prune()

    def purge(self, chance: random.Random, by: User) -> None:
        """As if all had been closed for long."""
        evidence.purge(now_ms() + 91 * DAY_MS)

    def forget(self, chance: random.Random, by: User) -> None:
        """What an erasure does in reports, of somebody who lives on."""
        AccountStore()._forget_in_reports(self._account(chance).pk, now_ms())

    def _account(self, chance: random.Random) -> Account:
        found: Account = Account.objects.get(pk=chance.choice(self.people).user_id)
        return found


DEEDS = (
    "claim", "claim", "take", "release", "decide", "decide", "decide", "undo", "second", "second", "ban", "lift_all", "lift",
    "appeal", "answer", "reported", "reported", "trigger", "end", "prune", "purge", "forget",
)  # fmt: skip


def together(desk: Desk, seed: int) -> None:
    def run(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        try:
            for _ in range(EACH):
                desk.deed(chance)
        finally:
            connection.close()

    running = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for one in running:
        one.start()
    for one in running:
        one.join()


def follow_the_log(case: Case) -> str:
    """The state that the audit log says the case is in; fails where a deed was not possible."""
    state, holder = "open", ""
    asked = {str(one.pk): one for one in Approval.objects.filter(subject=str(case.pk))}
    rows = AuditRecord.objects.filter(object_id__in=[str(case.pk), *asked]).order_by("seq")
    for row in rows:
        told = f"{row.seq} {row.action} by {row.by}: {row.message} (is {state}, of {holder})"
        if row.action == "case.claimed":
            assert state == "open" or (state == "claimed" and holder == row.by), told
            state, holder = "claimed", row.by
        elif row.action == "case.released":
            assert (state, holder) == ("claimed", row.by), told
            state, holder = "open", ""
        elif row.action == "case.decided":
            if row.message.startswith("Decided: permanent"):
                assert state == "waiting", told
                assert holder != row.by, told
            else:
                assert (state, holder) == ("claimed", row.by), told
            state = "closed"
        elif row.action == "case.reopened":
            assert state == "closed", told
            state, holder = "open", ""
        elif row.object_id in asked and asked[row.object_id].kind == decisions.BAN:
            if row.action == "approval.asked":
                assert (state, holder) == ("claimed", row.by), told
                state = "waiting"
            elif row.action in ("approval.rejected", "approval.withdrawn"):
                assert state == "waiting", told
                state, holder = "open", ""
    return state


@pytest.mark.long
def test_all_at_once(make_staff: Callable[..., Staff]) -> None:
    people = [sign_in() for _ in range(3)]
    for one in people:
        report(one)
    desk, seed = Desk(people, [make_staff(signed_in=False).user for _ in range(3)]), random.randrange(2**32)
    together(desk, seed)
    assert desk.wrong == [], seed
    assert {name for name in DEEDS if not desk.done[name] and not desk.done[f"{name} refused"]} == set()
    # What an erasure has closed nobody has decided.
    for case in Case.objects.exclude(closed_by=sanctions.AUTOMATIC):
        assert follow_the_log(case) == case.state, (seed, case.pk)
    sanctions.end_due(now=now_ms())
    for account in Account.objects.filter(pk__in=[one.user_id for one in people]):
        held = sanctions.in_force_of(account.pk, now=now_ms())
        ends = [one.until or sanctions.FOREVER for one in held if one.kind in sanctions.BANS]
        assert account.banned_until == max(ends, default=None), (seed, account.pk)
        kinds = {one.kind for one in held}
        classes = [sanctions.CLASS_OF[kind] for kind in ("limit", "slow_down") if kind in kinds]
        assert account.limit_class == next(iter(classes), ""), (seed, account.pk)
    assert chain.verify().finding == ""
