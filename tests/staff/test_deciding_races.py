"""What two people decide is not undone by one who comes at that very moment, nor decided by who may not any more."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction

from accounts.abuse import triggers
from accounts.models import Case, Device, Sanction
from accounts.services import abuse, cases, sanctions
from tests.accounts.conftest import account_of, sign_in
from tests.staff.cases import report
from tests.staff.conftest import Staff
from tests.support.patience import PATIENCE
from tests.support.waiting import Beside, until_it_waits_or_ends
from whatsapp.infra.clock import now_ms
from whatsapp.staff import approvals, audit, banning
from whatsapp.staff.models import Approval
from whatsapp.staff.moderation import access, decisions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey_server")]

REASON = "looked at all of it"


@pytest.fixture
def two(make_staff: Callable[..., Staff]) -> tuple[User, User]:
    return (
        make_staff(role="moderator", signed_in=False).user,
        make_staff(role="moderator", signed_in=False).user,
    )


def meanwhile(first: Callable[[], Any], second: Callable[[], Any]) -> Any:
    """``first`` has happened and is not committed when ``second`` comes, which waits for it. What ``second`` returns."""
    thread = Beside(second)
    with transaction.atomic():
        first()
        thread.start()
        until_it_waits_or_ends(thread)
        assert thread.is_alive(), f"it did not wait: {thread.answers}"
    thread.join()
    return thread.answers[0]


def the_one() -> Approval:
    (approval,) = Approval.objects.filter(state="waiting")
    return approval


def test_who_lifts_a_ban_while_two_make_it_longer_has_to_ask(two: tuple[User, User]) -> None:
    one, other = two
    ann = sign_in()
    account = account_of(ann)
    assert banning.ban(account, one, 3, REASON) is True
    assert banning.ban(account, one, 365, REASON) == banning.ASKED
    approval = the_one()
    said = meanwhile(
        lambda: approvals.decide(approval, other, True, REASON),
        lambda: banning.lift_all(account, one, REASON),
    )
    assert said == banning.ASKED
    until = account_of(ann).banned_until
    assert until is not None
    assert until > now_ms() + 300 * 86_400_000


def test_an_appeal_that_comes_at_this_moment_is_granted_by_two(two: tuple[User, User]) -> None:
    one, other = two
    ann = sign_in()
    banning.ban(account_of(ann), one, 365, REASON)
    approvals.decide(the_one(), other, True, REASON)
    sanction = Sanction.objects.get(account=ann.user_id)
    said = meanwhile(
        lambda: sanctions.ask_appeal(sanction_id=sanction.pk, text="It was my brother."),
        lambda: banning.decide_appeal(sanction, one, REASON, grant=True),
    )
    assert said == banning.ASKED
    assert account_of(ann).is_banned(now_ms())
    assert the_one().kind == banning.GRANT


@pytest.mark.parametrize("installation", [None, b"i" * 32], ids=["device", "installation"])
@pytest.mark.parametrize("act", ["lift", "shorten"])
def test_a_device_that_two_ban_at_this_moment_is_not_let_in_by_one(
    two: tuple[User, User], act: str, installation: bytes | None
) -> None:
    one, other = two
    ann = sign_in()
    Device.objects.filter(pk=ann.device_id).update(installation=installation)
    device = Device.objects.get(pk=ann.device_id)
    assert banning.ban_device(device, one, 3, REASON) is True
    assert banning.ban_device(device, one, 365, REASON) == banning.ASKED
    approval = the_one()

    def undo() -> Any:
        if act == "lift":
            return banning.lift_device(device, one, REASON)
        return banning.ban_device(device, one, 1, REASON)

    assert meanwhile(lambda: approvals.decide(approval, other, True, REASON), undo) == banning.ASKED
    until = Device.objects.get(pk=ann.device_id).banned_until
    assert until is not None
    assert until > now_ms() + 300 * 86_400_000


@pytest.mark.parametrize("change", ["role", "active", "staff", "gone"])
def test_who_may_not_decide_any_more_does_not(two: tuple[User, User], change: str) -> None:
    """Since the request began: it has asked already what its user may."""
    one, other = two
    ann = sign_in()
    banning.ban(account_of(ann), one, 365, REASON)
    assert other.has_perm(banning.SECOND)
    if change == "role":
        User.objects.get(pk=other.pk).groups.clear()
    elif change == "gone":
        User.objects.filter(pk=other.pk).delete()
    else:
        User.objects.filter(pk=other.pk).update(**{f"is_{change}": False})
    for approve in (True, False):
        with pytest.raises(approvals.Refusal):
            approvals.decide(the_one(), other, approve, REASON)
    assert not account_of(ann).is_banned(now_ms())
    assert the_one().state == "waiting"


@pytest.mark.parametrize("seen", [True, False], ids=["of before", "opened meanwhile"])
def test_a_trigger_and_a_moderator_who_meet_do_not_wait_for_each_other(
    two: tuple[User, User], monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    """A moderator decides the case of an account that a trigger brings to the end of the ladder at this moment. ``seen`` False:
    the case came behind the trigger's look for one, and the next run has its turn."""
    ann = sign_in()
    case = report(ann)
    cases.claim(case, two[0].get_username())
    top = dataclasses.replace(triggers.table().triggers[0], first=len(settings.ABUSE_STEPS) - 1)
    found = (top, abuse.next_step(top, None), {"threshold": 1.0})
    wrong, ready = list[Exception](), threading.Event()
    real = cases.open_by_trigger

    def opens(*args: Any, **fields: Any) -> Case:
        ready.set()
        until_it_waits_or_ends(decision)
        return real(*args, **fields)

    def decide() -> None:
        try:
            assert ready.wait(PATIENCE)
            decisions.decide(case, two[0], "limit", "spam")
        except Exception as error:
            wrong.append(error)
        finally:
            connection.close()

    monkeypatch.setattr(abuse, "_found", lambda *_: found)
    monkeypatch.setattr(cases, "open_by_trigger", opens)
    if not seen:
        monkeypatch.setattr(cases, "hold_open", lambda account_id: None)
    decision = threading.Thread(target=decide)
    decision.start()
    assert abuse.judge_one(account_of(ann), {}, now_ms()) is seen
    decision.join()
    assert wrong == []
    kinds = Sanction.objects.filter(account=ann.user_id).order_by("pk").values_list("kind", flat=True)
    assert list(kinds) == (["suspension", "limit"] if seen else ["limit"])
    assert Case.objects.get(pk=case.pk).outcome == "limit"


def test_who_asks_for_what_is_being_approved_does_not_wait_in_a_circle(
    two: tuple[User, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One undoes the case, whose row is locked then, while the other agrees to undo it, whose approval is."""
    one, other = two
    case = report(sign_in())
    cases.claim(case, one.get_username())
    decisions.decide(case, one, "permanent", "spam", REASON)
    audit.record(by=other, on=case, message="Looked at the evidence", action=access.LOOKED)
    approvals.decide(the_one(), other, True, REASON)
    assert not decisions.undo(case, one, REASON)
    kind, ready, said = approvals._kinds[decisions.UNDO], threading.Event(), list[Exception]()

    def undone(approval: Approval, by: User) -> None:
        ready.set()
        until_it_waits_or_ends(asking)
        kind.handler(approval, by)

    def ask() -> None:
        try:
            assert ready.wait(PATIENCE)
            decisions.undo(case, one, REASON)
        except Exception as error:
            said.append(error)
        finally:
            connection.close()

    monkeypatch.setitem(approvals._kinds, decisions.UNDO, dataclasses.replace(kind, handler=undone))
    asking = threading.Thread(target=ask)
    asking.start()
    assert approvals.decide(the_one(), other, True, REASON).state == "approved"
    asking.join()
    assert [str(error) for error in said] == ["This waits for a second person already."]
    assert Case.objects.get(pk=case.pk).state == "open"
