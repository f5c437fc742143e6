"""Cases: what reports and triggers make of them, and moderators who work on them, several at once."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from accounts.models import CATEGORIES, Case, CaseTrigger, Report
from accounts.services import case_rank, cases, standing
from tests.accounts.conftest import at_once, parallel
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code

pytestmark = pytest.mark.django_db

HOUR_MS, DAY_MS = 3_600_000, 86_400_000


@pytest.fixture
def reported() -> uuid.UUID:
    return uuid.uuid4()


def report(
    reported: uuid.UUID,
    reporter: uuid.UUID | None = None,
    category: str = "spam",
    now: int = 0,
    **fields: Any,
) -> Report:
    """A report as ``POST /reports`` stores it, noted."""
    now = now or now_ms()
    with transaction.atomic():
        made = Report.objects.create(
            kind=fields.pop("kind", "user"),
            category=category,
            reporter=reporter or uuid.uuid4(),
            reported=reported,
            created_at=now,
            **fields,
        )
        cases.note_report(made, now)
    return made


def case_of(subject: uuid.UUID) -> Case:
    return Case.objects.exclude(state="closed").get(subject=subject)


def closed(reported: uuid.UUID, outcome: str) -> None:
    case = cases.claim(case_of(reported), "mia")
    cases.close(case, "mia", outcome, "looked at")


# -- what comes in --------------------------------------------------------------------------------------------------------


def test_reports_of_one_subject_are_one_case(reported: uuid.UUID) -> None:
    first, second = report(reported), report(reported, category="fraud")
    case = case_of(reported)
    assert (first.case, second.case) == (case, case)
    assert (case.report_count, case.category, case.weight) == (2, "fraud", 2 * standing.NEW)
    other = report(uuid.uuid4())
    assert other.case != case


def test_a_group_and_a_file_are_subjects_of_their_own(reported: uuid.UUID) -> None:
    group, media = uuid.uuid4(), uuid.uuid4()
    assert report(reported, kind="group", conversation=group).case == case_of(group)
    assert report(reported, kind="media", media=media).case == case_of(media)
    assert report(reported, kind="message", conversation=group).case == case_of(reported)


def test_one_person_counts_once_a_day_and_weighs_once_a_case(reported: uuid.UUID) -> None:
    reporter, now = uuid.uuid4(), now_ms()
    assert report(reported, reporter, now=now).counts
    assert not report(reported, reporter, now=now + DAY_MS - 1).counts
    assert report(reported, reporter, now=now + DAY_MS).counts
    case = case_of(reported)
    assert (case.report_count, case.weight) == (2, standing.NEW)
    assert case.reports.count() == 3  # and what it shows is kept


def test_ten_people_within_a_day_flag_it_and_nine_do_not(reported: uuid.UUID) -> None:
    now = now_ms()
    report(reported, now=now - DAY_MS)
    for _ in range(9):
        report(reported, now=now)
    assert case_of(reported).flagged_at is None  # the first of the ten is a day old
    before = case_of(reported)
    report(reported, now=now)
    case = case_of(reported)
    assert case.flagged_at == now
    assert case.priority > before.priority
    assert case.due_at == now + 8 * HOUR_MS < before.due_at


def test_nobody_flags_alone(reported: uuid.UUID) -> None:
    reporter = uuid.uuid4()
    for day in range(20):
        report(reported, reporter, now=now_ms() + day * DAY_MS)
    case = case_of(reported)
    assert (case.flagged_at, case.weight) == (None, standing.NEW)


def test_a_forged_report_is_shown_and_raises_nothing(reported: uuid.UUID) -> None:
    liar = uuid.uuid4()
    made = report(reported, liar, category="child_safety", verdict="forged")
    case = case_of(reported)
    assert made.case == case
    assert (case.priority, case.report_count, case.weight, case.category) == (0, 0, 0, "other")
    for _ in range(10):
        report(reported, category="child_safety", verdict="forged")
    assert (case_of(reported).priority, case_of(reported).flagged_at) == (0, None)
    report(reported, category="spam")
    assert (case_of(reported).category, case_of(reported).report_count) == ("spam", 1)
    # Against its reporter it counts, elsewhere too.
    assert standing.weight_of(liar, now=now_ms()) == 40
    assert report(uuid.uuid4(), liar).weight == 40


def test_a_forged_one_does_not_hide_the_true_one_of_the_same_person(reported: uuid.UUID) -> None:
    reporter = uuid.uuid4()
    report(reported, reporter, verdict="forged")
    assert report(reported, reporter).counts


def test_proven_words_raise_it(reported: uuid.UUID) -> None:
    report(reported)
    before = case_of(reported).priority
    report(reported, verdict="unverifiable")
    between = case_of(reported).priority
    report(reported, verdict="verified")
    case = case_of(reported)
    assert case.verified
    assert case.priority >= between + case_rank.VERIFIED > before


@pytest.mark.parametrize(
    ("outcome", "weight"), [("dismissed", 16), ("unproven", 100), ("limit", 183), ("warned", 183)]
)
def test_what_came_of_earlier_reports_is_what_the_next_counts(outcome: str, weight: int) -> None:
    reporter = uuid.uuid4()
    for _ in range(10):
        subject = uuid.uuid4()
        report(subject, reporter)
        closed(subject, outcome)
    assert report(uuid.uuid4(), reporter).weight == weight


def test_a_decided_case_stays_and_the_next_report_opens_another(reported: uuid.UUID) -> None:
    report(reported)
    before = case_of(reported)
    closed(reported, "dismissed")
    report(reported)
    assert case_of(reported) != before
    assert Case.objects.filter(subject=reported).count() == 2


def test_a_trigger_opens_a_case_and_adds_to_one(reported: uuid.UUID) -> None:
    case = cases.open_by_trigger(reported, "first_contacts", {"contacts": 120})
    assert (case.subject_kind, case.subject, case.weight, case.report_count) == ("user", reported, 100, 0)
    again = cases.open_by_trigger(reported, "first_contacts", {"contacts": 150}, category="fraud")
    assert (again.pk, again.weight, again.category) == (case.pk, 100, "fraud")
    cases.open_by_trigger(reported, "reply_ratio", {"replies": 1})
    assert case_of(reported).weight == 200
    assert list(CaseTrigger.objects.filter(case=case).order_by("id").values_list("trigger", "evidence")) == [
        ("first_contacts", {"contacts": 150}),
        ("reply_ratio", {"replies": 1}),
    ]


def test_every_category_has_its_gravity_and_its_time(settings: Any) -> None:
    assert set(settings.REPORT_GRAVITY) == set(settings.REPORT_DUE_MS) == set(CATEGORIES)
    for values in (settings.REPORT_GRAVITY, {c: -due for c, due in settings.REPORT_DUE_MS.items()}):
        in_order = [values[category] for category in CATEGORIES]
        assert in_order == sorted(in_order)


def test_a_crowd_that_calls_it_spam_stays_behind_one_child() -> None:
    crowd = Case(category="spam", weight=10_000_000, flagged_at=1, verified=True)
    child = Case(category="child_safety", weight=standing.NEW)
    assert case_rank.priority(crowd) < case_rank.priority(child)


# -- what moderators do ---------------------------------------------------------------------------------------------------


@pytest.fixture
def case(reported: uuid.UUID) -> Case:
    report(reported)
    return case_of(reported)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """``time(ms)`` moves the clock of cases."""
    at = [now_ms()]
    monkeypatch.setattr(cases, "now_ms", lambda: at[0])

    def move(by: int) -> None:
        at[0] += by

    return move


def test_one_claims_and_another_is_told(case: Case) -> None:
    assert cases.claim(case, "mia").state == "claimed"
    with pytest.raises(cases.Taken) as refused:
        cases.claim(case, "noa")
    assert refused.value.code == Code.CONFLICT
    for other in (cases.release, cases.renew, cases.wait_for_approval):
        with pytest.raises(cases.NotClaimed):
            other(case, "noa")
    with pytest.raises(cases.NotClaimed):
        cases.close(case, "noa", "dismissed", "")
    assert cases.release(case, "mia").claimed_by == ""
    assert cases.claim(case, "noa").claimed_by == "noa"


def test_a_claim_ends_by_itself_and_is_renewed(case: Case, time: Callable[[int], None]) -> None:
    cases.claim(case, "mia")
    time(29 * 60_000)
    cases.renew(case, "mia")
    time(29 * 60_000)
    with pytest.raises(cases.Taken):
        cases.claim(case, "noa")
    time(60_000)
    assert cases.claim(case, "noa").claimed_by == "noa"
    with pytest.raises(cases.NotClaimed):
        cases.renew(case, "mia")
    with pytest.raises(cases.NotClaimed):
        cases.close(case, "mia", "dismissed", "")


def test_who_is_late_and_alone_still_decides(case: Case, time: Callable[[int], None]) -> None:
    cases.claim(case, "mia")
    time(2 * HOUR_MS)
    assert cases.close(case, "mia", "limit", "spam").outcome == "limit"


def test_a_decided_case_is_not_worked_on(case: Case) -> None:
    cases.claim(case, "mia")
    found = cases.close(case, "mia", "dismissed", "a joke among friends")
    assert (found.state, found.closed_by, found.outcome_reason) == ("closed", "mia", "a joke among friends")
    for work in (cases.claim, cases.release, cases.renew, cases.wait_for_approval):
        with pytest.raises(cases.Closed):
            work(case, "mia")
    with pytest.raises(cases.Closed):
        cases.close(case, "mia", "limit", "")


def test_a_permanent_ban_takes_two(case: Case) -> None:
    cases.claim(case, "mia")
    with pytest.raises(cases.NeedsApproval):
        cases.close(case, "mia", "permanent", "")
    cases.wait_for_approval(case, "mia")
    with pytest.raises(cases.WrongState):
        cases.claim(case, "noa")
    with pytest.raises(cases.NeedsApproval):
        cases.close(case, "mia", "permanent", "")
    assert cases.close(case, "noa", "permanent", "agreed").closed_by == "noa"


def test_what_the_second_person_refuses_is_open_again(case: Case) -> None:
    cases.claim(case, "mia")
    with pytest.raises(cases.WrongState):
        cases.reopen(case, "noa", "")
    cases.wait_for_approval(case, "mia")
    found = cases.reopen(case, "noa", "not enough")
    assert (found.state, found.claimed_by) == ("open", "")
    assert cases.claim(case, "noa")


def test_what_comes_in_after_a_decided_case_was_opened_again_is_emptied_in_its_time(case: Case) -> None:
    cases.claim(case, "mod")
    cases.close(case, "mod", Case.Outcome.DISMISSED, "nothing")
    Case.objects.filter(pk=case.pk).update(purged_at=1)
    assert cases.reopen(case, "mod", "appeal").purged_at is None


def test_a_decided_case_is_opened_again_unless_there_is_another(case: Case, reported: uuid.UUID) -> None:
    cases.claim(case, "mia")
    cases.close(case, "mia", "dismissed", "")
    found = cases.reopen(case, "noa", "an appeal")
    assert (found.state, found.outcome, found.closed_at) == ("open", "", None)
    cases.claim(case, "mia")
    cases.close(case, "mia", "dismissed", "")
    report(reported)
    with pytest.raises(cases.WrongState):
        cases.reopen(case, "noa", "too late")
    assert Case.objects.get(pk=case.pk).state == "closed"


def test_an_outcome_that_does_not_exist_decides_nothing(case: Case) -> None:
    cases.claim(case, "mia")
    with pytest.raises(cases.Refused):
        cases.close(case, "mia", "prison", "")
    assert Case.objects.get(pk=case.pk).state == "claimed"


# -- at once --------------------------------------------------------------------------------------------------------------


def caught(call: Callable[[], Any]) -> Callable[[], str]:
    def run() -> str:
        try:
            call()
        except cases.WrongState as error:
            return type(error).__name__
        return "done"

    return run


@pytest.mark.django_db(transaction=True)
def test_of_moderators_who_claim_at_once_one_has_it(case: Case) -> None:
    names = iter(["mia", "noa", "ole", "pia", "rio", "sam"])
    results = parallel(6, caught(lambda: cases.claim(case, next(names))))
    assert sorted(results) == ["Taken"] * 5 + ["done"]


@pytest.mark.django_db(transaction=True)
def test_release_and_close_at_once_are_one_of_the_two(case: Case) -> None:
    cases.claim(case, "mia")
    results = at_once(
        caught(lambda: cases.release(case, "mia")), caught(lambda: cases.close(case, "mia", "limit", ""))
    )
    assert sorted(results) in (["NotClaimed", "done"], ["Closed", "done"])
    state = Case.objects.get(pk=case.pk).state
    assert state == ("closed" if "Closed" in results else "open")


@pytest.mark.django_db(transaction=True)
def test_reports_at_once_are_one_case_that_counts_them_all(reported: uuid.UUID) -> None:
    parallel(12, lambda: report(reported))
    case = case_of(reported)
    assert (case.report_count, case.weight) == (12, 12 * standing.NEW)
    assert case.flagged_at is not None


@pytest.mark.django_db(transaction=True)
def test_one_person_at_once_counts_once(reported: uuid.UUID) -> None:
    reporter = uuid.uuid4()
    parallel(6, lambda: report(reported, reporter))
    case = case_of(reported)
    assert (case.report_count, case.weight) == (1, standing.NEW)


@pytest.mark.django_db(transaction=True)
def test_a_report_beside_a_decision_is_in_the_old_case_or_a_new_one(case: Case, reported: uuid.UUID) -> None:
    cases.claim(case, "mia")
    at_once(lambda: cases.close(case, "mia", "dismissed", ""), lambda: report(reported))
    assert Report.objects.filter(reported=reported, case=None).count() == 0
    assert Report.objects.filter(reported=reported).count() == 2
    assert Case.objects.filter(subject=reported).exclude(state="closed").count() <= 1
