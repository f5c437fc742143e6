"""What each decision of a moderator does, what takes a second person, and how a decision is undone."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import Case, Report, Sanction
from accounts.services import sanctions
from groups.models import Membership
from groups.services.groups import create_group
from media.models import BlockedContent, State
from tests.accounts.conftest import account_of, clock, sign_in  # noqa: F401 - a fixture
from tests.staff.cases import WORDS, report
from tests.staff.moderating import (
    APPROVE,
    DAY,
    MODERATE,
    Make,
    address,
    decide,
    messages_of,
    press,
)
from tests.staff.world import make_world
from whatsapp.infra.clock import now_ms
from whatsapp.staff import approvals
from whatsapp.staff.models import Approval
from whatsapp.staff.moderation import measures, parties

#: Pages ask the hot node too.
pytestmark = pytest.mark.usefixtures("db", "valkey_server")


@pytest.mark.parametrize(
    ("action", "kind", "outcome", "days"),
    [
        ("slow_down", "slow_down", "slow_down", 7),
        ("limit", "limit", "limit", 7),
        ("day", "suspension", "suspension", 1),
        ("week", "suspension", "suspension", 7),
    ],
)
def test_an_action_sanctions_closes_and_is_written_down(
    make_staff: Make, action: str, kind: str, outcome: str, days: int, django_capture_on_commit_callbacks: Any
) -> None:
    accused = sign_in()
    case = report(accused)
    staff, before = make_staff(MODERATE), dict(measures.DECISIONS.values)
    with django_capture_on_commit_callbacks(execute=True):
        decide(staff, case, action, "fraud", "as seen before")
    assert (case.state, case.outcome, case.closed_by) == (Case.State.CLOSED, outcome, staff.user.username)
    assert case.outcome_reason == "fraud: as seen before"
    (sanction,) = Sanction.objects.filter(account=accused.user_id)
    assert (sanction.kind, sanction.reason, sanction.imposed_by) == (kind, "fraud", staff.user.username)
    assert sanction.evidence["case"] == str(case.pk)
    assert sanction.until is not None
    assert abs(sanction.until - now_ms() - days * DAY) < 60_000
    account = account_of(accused)
    if kind == "suspension":
        assert account.banned_until == sanction.until
    else:
        assert account.limit_class == {"slow_down": "slowed", "limit": "restricted"}[kind]
    assert f"Decided: {action} (fraud: as seen before)" in messages_of(staff)
    series = ("spam", outcome, "in_time")
    assert measures.DECISIONS.values[series] == before.get(series, 0) + 1


@pytest.mark.parametrize(
    ("action", "reason", "outcome"), [("dismiss", "dispute", "dismissed"), ("unproven", "gone", "unproven")]
)
def test_nothing_is_done_to_whom_nothing_was_found_against(
    make_staff: Make, action: str, reason: str, outcome: str
) -> None:
    accused = sign_in()
    case = decide(make_staff(MODERATE), report(accused), action, reason)
    assert case.outcome == outcome
    assert not Sanction.objects.filter(account=accused.user_id).exists()


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("day", "dispute"),
        ("dismiss", "spam"),
        ("day", ""),
        ("", "spam"),
        ("x", "spam"),
        ("block_media", "spam"),
        ("close_group", "spam"),
    ],
)
def test_what_cannot_be_decided_changes_nothing(make_staff: Make, action: str, reason: str) -> None:
    accused = sign_in()
    case = decide(make_staff(MODERATE), report(accused), action, reason)
    assert case.state == Case.State.CLAIMED
    assert not Sanction.objects.filter(account=accused.user_id).exists()


def test_only_who_claimed_it_decides(make_staff: Make) -> None:
    accused = sign_in()
    case = report(accused)
    ann, ben = make_staff(MODERATE), make_staff(MODERATE)
    press(ben, case, "decide", action="day", reason="spam")
    press(ann, case, "claim")
    press(ben, case, "decide", action="day", reason="spam")
    assert case.state == Case.State.CLAIMED
    assert not Sanction.objects.filter(account=accused.user_id).exists()


def test_the_next_case_follows_unless_somebody_wants_none(make_staff: Make) -> None:
    first, second = report(sign_in(), "hate"), report(sign_in(), "spam")
    staff = make_staff(MODERATE)
    press(staff, first, "claim")
    answer = press(staff, first, "decide", action="dismiss", reason="joke")
    assert answer.headers["Location"] == address(second)
    staff.client.post("/admin/moderation/settings/", {"break_after": "5"})
    answer = press(staff, second, "decide", action="dismiss", reason="joke")
    assert answer.headers["Location"] == "/admin/moderation/"


def test_a_ban_for_good_takes_a_second_person(make_staff: Make) -> None:
    accused = sign_in()
    case = report(accused, "fraud")
    ann, ben = make_staff(MODERATE, APPROVE), make_staff(APPROVE)
    decide(ann, case, "permanent", "fraud")
    assert case.state == Case.State.CLAIMED  # without words for the second person
    decide(ann, case, "permanent", "fraud", "the third account")
    assert case.state == Case.State.WAITING
    assert not Sanction.objects.filter(account=accused.user_id).exists()
    press(ann, case, "second", verdict="approve", note="I say so myself")
    assert case.state == Case.State.WAITING
    assert WORDS in ben.page(address(case))  # the second one sees everything
    assert "the third account" in ben.page(address(case))
    press(ben, case, "second", verdict="approve", note="no doubt")
    assert (case.state, case.outcome) == (Case.State.CLOSED, Case.Outcome.PERMANENT)
    (sanction,) = Sanction.objects.filter(account=accused.user_id)
    assert (sanction.kind, sanction.until) == ("permanent", None)
    assert account_of(accused).is_banned(now_ms() + 3_650 * DAY)


@pytest.mark.parametrize("category", ["fraud", "violence"])
def test_who_agrees_to_a_ban_has_looked_at_the_evidence_since_it_was_asked_for(
    make_staff: Make,
    clock: Callable[[int], None],  # noqa: F811
    category: str,
) -> None:
    """Evidence of what is grave is hidden at first: opening the page is not to look at it."""
    case = report(sign_in(), category)
    ann, ben = make_staff(MODERATE), make_staff(MODERATE, APPROVE)
    press(ben, case, "claim")
    ben.page(address(case) + "?show")
    press(ben, case, "release")
    decide(ann, case, "permanent", category, "the third account")
    asked = f"/admin/approvals/{Approval.objects.get(subject=str(case.pk)).pk}/"
    assert 'name="approve"' not in ben.page(asked)
    clock(-DAY)  # of another process: what counts is the order
    ben.client.post(asked, {"approve": "", "reason": "I trust her"})
    press(ben, case, "second", verdict="approve", note="I trust her")
    assert case.state == Case.State.WAITING
    behind = Report.objects.get(case=case).pk  # there is none before it: a page that shows nothing
    assert 'value="approve"' not in ben.page(address(case) + f"?show&before={behind}")
    page = ben.page(address(case))
    assert ('value="approve"' in page) is (category == "fraud")
    assert 'value="approve"' in ben.page(address(case) + "?show")
    assert 'name="approve"' in ben.page(asked)
    ben.client.post(asked, {"approve": "", "reason": "I see the same"})
    case.refresh_from_db()
    assert case.outcome == Case.Outcome.PERMANENT


@pytest.mark.parametrize("verdict", ["reject", "withdraw", "expire"])
def test_what_is_not_approved_is_in_the_queue_again(make_staff: Make, verdict: str) -> None:
    accused = sign_in()
    case = report(accused, "fraud")
    ann, ben = make_staff(MODERATE), make_staff(APPROVE)
    decide(ann, case, "permanent", "fraud", "the third account")
    if verdict == "expire":
        Approval.objects.filter(subject=str(case.pk)).update(expires_at=now_ms() - 1)
        assert approvals.expire() == 1
        case.refresh_from_db()
    else:
        press(ben if verdict == "reject" else ann, case, "second", verdict=verdict, note="not enough")
    assert (case.state, case.claimed_by) == (Case.State.OPEN, "")
    assert not Sanction.objects.filter(account=accused.user_id).exists()


def test_undoing_opens_the_case_and_lifts_what_it_imposed_and_nothing_else(make_staff: Make) -> None:
    accused = sign_in()
    other = sanctions.impose(
        account_id=uuid.UUID(accused.user_id),
        kind="slow_down",
        reason="spam",
        evidence={},
        until=now_ms() + DAY,
        by="automatic",
    )
    staff = make_staff(MODERATE)
    case = decide(staff, report(accused), "week")
    assert account_of(accused).is_banned(now_ms())
    press(staff, case, "undo", note="")
    assert case.state == Case.State.CLOSED  # without a reason
    press(staff, case, "undo", note="wrong person")
    assert (case.state, case.outcome) == (Case.State.OPEN, "")
    assert not account_of(accused).is_banned(now_ms())
    other.refresh_from_db()
    assert other.lifted_at is None
    lifted = Sanction.objects.get(account=accused.user_id, kind="suspension")
    assert (lifted.lifted_by, lifted.lift_reason) == (staff.user.username, "wrong person")


def test_a_file_is_blocked_by_its_content(make_staff: Make) -> None:
    world = make_world()
    case = decide(
        make_staff(MODERATE), report(world.photo.pk, "hate", kind="media", said=()), "block_media", "hate"
    )
    assert case.outcome == Case.Outcome.CONTENT_BLOCKED
    assert BlockedContent.objects.filter(pk=world.photo.sha256).exists()
    world.photo.refresh_from_db()
    assert world.photo.state == State.REFUSED


def test_who_sent_a_file_is_accused_and_not_who_uploaded_it(make_staff: Make) -> None:
    world, sender, other = make_world(), sign_in(), sign_in()
    case = report(world.photo.pk, "hate", kind="media", said=())
    Report.objects.filter(case=case).update(reported=sender.user_id)
    found = parties.accused_of(case)
    assert found is not None
    assert str(found.pk) == sender.user_id != str(world.photo.owner_id)
    report(world.photo.pk, "hate", kind="media", said=())
    Report.objects.filter(case=case, reported=None).update(reported=other.user_id)
    assert parties.accused_of(case) is None, "of several no one is picked"


def test_a_group_is_closed_for_everybody(make_staff: Make) -> None:
    creator, member = sign_in(), sign_in()
    group = create_group(account=account_of(creator), name="Anything", members=[uuid.UUID(member.user_id)])
    case = decide(
        make_staff(MODERATE), report(group.pk, "hate", kind="group", said=()), "close_group", "hate"
    )
    assert case.outcome == Case.Outcome.GROUP_CLOSED
    group.refresh_from_db()
    assert group.dissolved_at is not None
    assert not Membership.objects.filter(group=group, left_at=None).exists()
