"""An appeal is looked at by somebody who did not decide what it is against; one that is granted overturns the decision."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from accounts.models import Case, Sanction
from accounts.services import cases, sanctions, standing
from tests.accounts.conftest import Person, sign_in
from tests.staff.cases import report
from tests.staff.conftest import Staff
from whatsapp.infra.clock import now_ms
from whatsapp.staff import approvals, fresh_eyes
from whatsapp.staff.models import Approval, AuditRecord
from whatsapp.staff.moderation import decisions, figures, parties

pytestmark = pytest.mark.usefixtures("db", "valkey_server")

Make = Callable[..., Staff]
REASON = "looked at all of it"


def page_of(sanction: Sanction, act: str = "change") -> str:
    return f"/admin/accounts/sanction/{sanction.pk}/{act}/"


def answer(staff: Staff, sanction: Sanction, act: str) -> str:
    """What becomes of the appeal."""
    assert staff.client.post(page_of(sanction, act), {"reason": REASON}).status_code == 302
    sanction.refresh_from_db()
    return sanction.appeal


def decided(staff: Staff, accused: Person, action: str = "limit") -> tuple[Case, Sanction]:
    """A case that was decided by ``staff``, and appealed against."""
    case = cases.claim(report(accused), staff.user.get_username())
    case = decisions.decide(case, staff.user, action, "spam", "again and again")
    return case, appealed(accused)


def appealed(accused: Person) -> Sanction:
    (sanction,) = Sanction.objects.filter(account=accused.user_id, lifted_at=None)
    return sanctions.ask_appeal(sanction_id=sanction.pk, text="It was not me.")


@pytest.mark.parametrize("act", ["grant", "uphold"])
def test_who_decided_it_is_told_that_somebody_else_looks_at_it(make_staff: Make, act: str) -> None:
    ann, ben = make_staff(role="moderator"), make_staff(role="moderator")
    _, sanction = decided(ann, sign_in())
    told = ann.client.get(page_of(sanction, act), follow=True)
    assert told.redirect_chain, "before the reason is written"
    assert fresh_eyes.OWN in told.content.decode()
    assert answer(ann, sanction, act) == "asked"
    assert sanction.lifted_at is None
    assert answer(ben, sanction, act) == {"grant": "granted", "uphold": "upheld"}[act]


def test_where_there_is_nobody_else_who_decided_it_looks_at_it(make_staff: Make) -> None:
    """Others may look at sanctions, or may not come in any more."""
    ann = make_staff(role="moderator")
    make_staff(role="auditor"), make_staff(role="staff"), make_staff(role="operator")
    User.objects.filter(pk=make_staff(role="moderator").user.pk).update(is_active=False)
    User.objects.filter(pk=make_staff(role="moderator").user.pk).update(is_staff=False)
    _, sanction = decided(ann, sign_in())
    assert answer(ann, sanction, "uphold") == "upheld"


def test_both_of_two_have_decided_it(make_staff: Make) -> None:
    """A ban for good, of a case and by hand: neither who asked nor who agreed; and its end takes two again."""
    ann, ben, cat, dan = (make_staff(role="moderator") for _ in range(4))
    accused, other = sign_in(), sign_in()
    case = cases.claim(report(accused), ann.user.get_username())
    decisions.decide(case, ann.user, "permanent", "spam", "again and again")
    ben.page(f"/admin/moderation/cases/{case.pk}/")
    approvals.decide(Approval.objects.get(subject=str(case.pk)), ben.user, True, "I agree")
    path = f"/admin/accounts/account/{other.user_id}/ban/"
    assert ann.client.post(path, {"days": 365, "reason": REASON}).status_code == 302
    approvals.decide(Approval.objects.get(subject=other.user_id), ben.user, True, "I agree")
    for sanction in (appealed(accused), appealed(other)):
        for own in (ann, ben):
            answer(own, sanction, "grant")
            assert not Approval.objects.filter(subject=str(sanction.pk)).exists()
        answer(cat, sanction, "grant")
        waiting = Approval.objects.get(subject=str(sanction.pk))
        approvals.decide(waiting, dan.user, True, "I agree")
        sanction.refresh_from_db()
        assert sanction.appeal == "granted"
    case.refresh_from_db()
    assert case.outcome == "overturned"


def test_where_two_alone_moderate_they_decide_appeals_against_what_both_have_decided(
    make_staff: Make,
) -> None:
    ann, ben = make_staff(role="moderator"), make_staff(role="moderator")
    accused = sign_in()
    path = f"/admin/accounts/account/{accused.user_id}/ban/"
    assert ann.client.post(path, {"days": 365, "reason": REASON}).status_code == 302
    approvals.decide(Approval.objects.get(subject=accused.user_id), ben.user, True, "I agree")
    sanction = appealed(accused)
    assert answer(ann, sanction, "grant") == "asked"
    approvals.decide(Approval.objects.get(subject=str(sanction.pk)), ben.user, True, "I agree")
    sanction.refresh_from_db()
    assert sanction.appeal == "granted"


def test_a_granted_appeal_overturns_the_decision(make_staff: Make) -> None:
    """It counts for nobody: neither against who was reported, nor for who reported, nor among what was upheld."""
    ann, ben = make_staff(role="moderator"), make_staff(role="moderator")
    accused = sign_in()
    case, sanction = decided(ann, accused)
    reporter = case_reporter(case)
    assert standing.weight_of(reporter, now=now_ms()) > standing.NEW
    assert upheld() == 1
    assert answer(ben, sanction, "grant") == "granted"
    case.refresh_from_db()
    assert (case.state, case.outcome) == ("closed", "overturned")
    assert case.closed_by == ann.user.get_username(), "who decided it is known still"
    assert standing.weight_of(reporter, now=now_ms()) == standing.NEW
    assert upheld() == 0
    again = report(accused)
    assert parties.history(parties.accused_of(again), again).upheld == 0  # type: ignore[arg-type]
    said = AuditRecord.objects.filter(action="case.overturned").values_list("message", flat=True)
    assert list(said) == [f"Overturned by an appeal: {REASON}"]
    page = ben.page(f"/admin/moderation/cases/{case.pk}/")
    assert "Overturned" in page


def test_one_that_is_turned_down_leaves_the_decision(make_staff: Make) -> None:
    ann, ben = make_staff(role="moderator"), make_staff(role="moderator")
    case, sanction = decided(ann, sign_in())
    assert answer(ben, sanction, "uphold") == "upheld"
    case.refresh_from_db()
    assert case.outcome == "limit"
    assert standing.weight_of(case_reporter(case), now=now_ms()) > standing.NEW


def test_only_what_the_case_ended_with_is_overturned(make_staff: Make) -> None:
    """A trigger suspends somebody until a person has decided: an appeal against that says nothing of the case."""
    ann, ben = make_staff(role="moderator"), make_staff(role="moderator")
    accused = sign_in()
    case = report(accused)
    interim: dict[str, Any] = {
        "kind": "suspension",
        "reason": "strangers_day",
        "evidence": {"case": str(case.pk)},
    }
    sanctions.impose(
        account_id=uuid.UUID(accused.user_id), until=now_ms() + 86_400_000, by="automatic", step=3, **interim
    )
    assert answer(ben, appealed(accused), "grant") == "granted"
    case.refresh_from_db()
    assert (case.state, case.outcome) == ("open", "")
    decisions.decide(cases.claim(case, ann.user.get_username()), ann.user, "limit", "spam")
    case.refresh_from_db()
    assert case.outcome == "limit"


def test_nobody_closes_a_case_as_overturned() -> None:
    case = cases.claim(report(sign_in()), "mod")
    with pytest.raises(Exception, match="no such outcome"):
        cases.close(case, "mod", "overturned", "because")


def case_reporter(case: Case) -> uuid.UUID:
    found = case.reports.get().reporter
    assert found is not None
    return found


def upheld() -> int:
    return sum(row.upheld for row in figures.of().rows)
