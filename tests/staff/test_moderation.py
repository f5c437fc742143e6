"""The pages of moderation: who sees what, what each decision does, two people at once, and care for those who look."""

from __future__ import annotations

import itertools
import json
import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import CATEGORIES, Account, Case, Report, Sanction
from accounts.services import cases, sanctions
from groups.models import Membership
from groups.services.groups import create_group
from media.models import BlockedContent, Media, State
from tests.accounts.conftest import Person, parallel, sign_in
from tests.staff.cases import WORDS, report
from tests.staff.conftest import Staff
from tests.staff.world import make_world
from whatsapp.infra.clock import now_ms
from whatsapp.staff import approvals
from whatsapp.staff.models import Approval, ReviewerDay
from whatsapp.staff.moderation import decisions, figures, measures, parties, queue, wellbeing

#: Pages ask the hot node too.
pytestmark = pytest.mark.usefixtures("db", "valkey_server")

Make = Callable[..., Staff]
MODERATE, APPROVE, VIEW = "staff.moderate", "staff.approve_ban", "staff.view_moderation"
DAY = 86_400_000


def address(case: Case, act: str = "") -> str:
    return f"/admin/moderation/cases/{case.pk}/{act + '/' if act else ''}"


def press(staff: Staff, case: Case, act: str, **fields: str) -> Any:
    answer = staff.client.post(address(case, act), fields)
    case.refresh_from_db()
    return answer


def decide(staff: Staff, case: Case, action: str, reason: str = "spam", note: str = "") -> Case:
    press(staff, case, "claim")
    press(staff, case, "decide", action=action, reason=reason, note=note)
    return case


def account_of(person: Person) -> Account:
    found: Account = Account.objects.get(pk=person.user_id)
    return found


def messages_of(staff: Staff) -> list[str]:
    return [entry.get_change_message() for entry in LogEntry.objects.filter(user=staff.user).order_by("pk")]


# -- who sees what --------------------------------------------------------------------------------------------------------


def test_evidence_is_for_who_works_on_the_case_and_each_look_is_written_down(make_staff: Make) -> None:
    case = report(sign_in(), note="It goes on and on.")
    ann, ben, lead = make_staff(MODERATE), make_staff(MODERATE), make_staff(VIEW)
    for staff in (ann, ben, lead):
        assert WORDS not in staff.page(address(case))
    press(ann, case, "claim")
    page = ann.page(address(case))
    assert WORDS in page
    assert "It goes on and on." in page
    for staff in (ben, lead):
        shown = staff.page(address(case))
        assert WORDS not in shown
        assert "It goes on and on." not in shown
    assert messages_of(ann)[-2:] == ["Claimed", "Looked at the evidence"]
    assert "Looked at the evidence" not in [*messages_of(ben), *messages_of(lead)]
    Case.objects.filter(pk=case.pk).update(claimed_at=now_ms() - 31 * 60_000)  # its time is over
    assert WORDS not in ann.page(address(case))
    press(ben, case, "claim")
    assert WORDS in ben.page(address(case))


def test_reporters_have_no_names_on_the_page(make_staff: Make) -> None:
    accused, reporters = sign_in(), [sign_in() for _ in range(3)]
    for each in reporters:
        case = report(accused, by=each)
    staff = make_staff(MODERATE)
    press(staff, case, "claim")
    page = staff.page(address(case))
    assert accused.user_id in page
    assert "Reporter 3" in page
    for each in reporters:
        assert each.user_id not in page
        assert each.phone not in page
    assert accused.phone not in page


def test_grave_evidence_stays_hidden_until_it_is_asked_for(make_staff: Make) -> None:
    case = report(sign_in(), "child_safety")
    staff = make_staff(MODERATE)
    press(staff, case, "claim")
    assert WORDS not in staff.page(address(case))
    assert "Looked at the evidence" not in messages_of(staff)
    assert WORDS in staff.page(address(case) + "?show=1")
    assert messages_of(staff)[-1] == "Looked at the evidence"
    assert wellbeing.today(staff.user).grave == 1


def test_what_people_wrote_is_text_and_never_markup(make_staff: Make) -> None:
    case = report(
        sign_in(), said=[("<script>alert(1)</script>", "verified")], note="<img src=x onerror=alert(1)>"
    )
    staff = make_staff(MODERATE)
    press(staff, case, "claim")
    page = staff.page(address(case))
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_verdicts_are_shown_and_a_forged_copy_is_named_so(make_staff: Make) -> None:
    accused = sign_in()
    report(accused, said=[("He said this.", "forged")])
    case = report(accused, said=[("He said that.", "verified"), ("And that.", "unverifiable")])
    staff = make_staff(MODERATE)
    press(staff, case, "claim")
    page = staff.page(address(case))
    for words, label in (
        ("He said this.", "forged"),
        ("He said that.", "verified"),
        ("And that.", "unverifiable"),
    ):
        before = page[: page.index(words)]
        head = before[before.rindex("mod-message-head") :]
        assert label in head, words


def test_a_picture_of_evidence_is_for_who_sees_the_evidence(make_staff: Make) -> None:
    world = make_world()
    case = report(sign_in(), said=[("Look", "verified")], media=world.photo.pk)
    ann, ben = make_staff(MODERATE), make_staff(MODERATE)
    press(ann, case, "claim")
    assert address(case, f"media/{world.photo.pk}") in ann.page(address(case))
    answer = ann.client.get(address(case, f"media/{world.photo.pk}"))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert ben.client.get(address(case, f"media/{world.photo.pk}")).status_code == 403
    other = Media.objects.exclude(pk=world.photo.pk).first()
    assert other is not None
    assert ann.client.get(address(case, f"media/{other.pk}")).status_code == 403


def test_who_may_not_moderate_does_nothing(make_staff: Make) -> None:
    accused = sign_in()
    case = report(accused)
    lead, nobody = make_staff(VIEW), make_staff("accounts.view_account")
    for staff in (lead, nobody):
        for act in ("claim", "release", "decide", "undo"):
            fields = {"action": "day", "reason": "spam", "note": "because I can"}
            assert press(staff, case, act, **fields).status_code == 403, act
        assert staff.client.post("/admin/moderation/next/").status_code == 403
    assert nobody.client.get("/admin/moderation/").status_code == 403
    assert nobody.client.get("/admin/moderation/figures/").status_code == 403
    assert case.state == Case.State.OPEN
    assert not Sanction.objects.filter(account=accused.user_id).exists()


@pytest.mark.parametrize("act", ["next", "claim", "release", "decide", "second", "undo"])
def test_nothing_is_done_by_looking(superuser: Staff, act: str) -> None:
    case = report(sign_in())
    path = "/admin/moderation/next/" if act == "next" else address(case, act)
    assert superuser.client.get(path).status_code == 405


# -- the queue ------------------------------------------------------------------------------------------------------------


def _many(number: int, seed: int) -> list[Case]:
    """Cases of every kind with few different priorities and times, so that many are alike."""
    draw, now = random.Random(seed), now_ms()
    made = []
    for _ in range(number):
        state = draw.choice([*Case.State.values, "open", "open"])
        made.append(
            Case(
                id=uuid.UUID(int=draw.getrandbits(128)), subject_kind=draw.choice(Case.Subject.values),
                subject=uuid.UUID(int=draw.getrandbits(128)), category=draw.choice(CATEGORIES), state=state,
                priority=draw.choice([0, 100, 100, 900]), opened_at=now - DAY, due_at=now + draw.choice([-5_000, -4_000, DAY]),
                claimed_by="ann" if state in ("claimed", "waiting") else "", claimed_at=now if state == "claimed" else None,
                flagged_at=draw.choice([None, now]), closed_at=now - draw.choice([1, 2]) if state == "closed" else None,
            )
        )  # fmt: skip
    return Case.objects.bulk_create(made)


_WANTED: dict[str, Callable[[Case, int], bool]] = {
    "open": lambda case, now: case.state != "closed",
    "mine": lambda case, now: case.state == "claimed",
    "overdue": lambda case, now: case.state != "closed" and case.due_at < now,
    "flagged": lambda case, now: case.state != "closed" and case.flagged_at is not None,
    "waiting": lambda case, now: case.state == "waiting",
    "closed": lambda case, now: case.state == "closed",
}
_ORDER: dict[str, Callable[[Case], tuple[int, ...]]] = {
    "overdue": lambda case: (case.due_at, case.pk.int),
    "closed": lambda case: (-(case.closed_at or 0), -case.pk.int),
}


def _urgent(case: Case) -> tuple[int, ...]:
    return (-case.priority, case.due_at, case.pk.int)


@pytest.mark.parametrize("seed", range(3))
def test_pages_show_each_case_once_in_its_order(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Against a sorted list, for every list and filter; pages and windows of a few rows."""
    monkeypatch.setattr(queue, "PAGE", 7)
    monkeypatch.setattr(queue, "WINDOW", 20)
    made, now = _many(150, seed), now_ms()
    for name, category, kind in itertools.product(queue.LISTS, ("", "spam"), ("", "user")):
        wanted = [
            case.pk
            for case in sorted(made, key=_ORDER.get(name, _urgent))
            if _WANTED[name](case, now)
            and category in ("", case.category)
            and kind in ("", case.subject_kind)
        ]
        seen, behind = [], ""
        for _ in range(100):
            page = queue.page(
                queue.Wanted.of(name=name, category=category, kind=kind, me="ann", behind=behind), now
            )
            seen += [case.pk for case in page.rows]
            if not (behind := page.more):
                break
        assert seen == wanted, (name, category, kind)


def test_each_list_is_read_from_an_index_in_its_order() -> None:
    """Nothing is sorted and nothing scanned, wherever there is a way without; of few rows the planner may prefer to."""
    _many(1_000, 1)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE accounts_case")
        for way in ("sort", "seqscan", "bitmapscan", "incremental_sort"):
            cursor.execute(f"SET LOCAL enable_{way} = off")
    place = queue.Place(100, now_ms(), uuid.UUID(int=2**127))
    for name, category, behind in itertools.product(
        ("open", "overdue", "flagged", "waiting"), ("", "spam"), (None, place)
    ):
        if category and name != "open":
            continue
        with CaptureQueriesContext(connection) as asked:
            queue.page(queue.Wanted(name=name, category=category, me="ann", behind=behind))
        for query in asked.captured_queries:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {query['sql']}")
                plan = json.dumps(cursor.fetchone()[0])
            assert "Seq Scan" not in plan, (name, query["sql"], plan)
            assert '"Sort"' not in plan, (name, query["sql"], plan)


@pytest.mark.parametrize(
    "text", ["", "x", "1.2", "1.2.3", "a.b.c", "1.-5." + "0" * 32, f"{10**40}.1." + "0" * 32]
)
def test_a_place_that_is_none_is_the_beginning(superuser: Staff, text: str) -> None:
    report(sign_in())
    assert "mod-open" in superuser.page(f"/admin/moderation/?after={text}&list=nothing&category=x&kind=y")


def test_counts_stop_at_a_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "COUNTED", 5)
    _many(60, 1)
    assert queue.counts("ann")["open"] == "5+"


def test_the_rows_alone_are_for_a_page_that_is_open(superuser: Staff) -> None:
    case = report(sign_in())
    rows = superuser.page("/admin/moderation/?fragment=1")
    assert str(case.pk) in rows
    assert "<html" not in rows


@pytest.mark.django_db(transaction=True)
def test_two_who_take_the_next_one_get_two(make_staff: Make) -> None:
    for _ in range(6):
        report(sign_in())
    staff: Iterator[Staff] = iter([make_staff(MODERATE, signed_in=False) for _ in range(6)])
    taken = parallel(6, lambda: decisions.take_next(next(staff).user, spare=False))
    assert len({case.pk for case in taken if case is not None}) == 6
    assert Case.objects.filter(state=Case.State.CLAIMED).count() == 6


def test_the_most_urgent_is_next_and_who_asked_for_it_is_spared(make_staff: Make) -> None:
    spam, grave = report(sign_in(), "spam"), report(sign_in(), "child_safety")
    staff = make_staff(MODERATE)
    assert staff.client.post("/admin/moderation/next/").headers["Location"] == address(grave)
    cases.release(grave, staff.user.username)
    staff.client.post("/admin/moderation/settings/", {"spare": "on", "break_after": "5"})
    assert staff.client.post("/admin/moderation/next/").headers["Location"] == address(spam)
    assert staff.client.post("/admin/moderation/next/").headers["Location"] == "/admin/moderation/"


def test_a_case_goes_back_when_it_is_released_and_nobody_else_can_release_it(make_staff: Make) -> None:
    case = report(sign_in())
    ann, ben = make_staff(MODERATE), make_staff(MODERATE)
    press(ann, case, "claim")
    press(ben, case, "claim")
    press(ben, case, "release")
    assert (case.state, case.claimed_by) == (Case.State.CLAIMED, ann.user.username)
    press(ann, case, "release")
    assert (case.state, case.claimed_by) == (Case.State.OPEN, "")


# -- what is decided ------------------------------------------------------------------------------------------------------


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


# -- care, and figures ----------------------------------------------------------------------------------------------------


def test_a_break_is_due_after_some_grave_cases_in_a_row(make_staff: Make) -> None:
    staff = make_staff(MODERATE)
    staff.client.post("/admin/moderation/settings/", {"break_after": "2"})
    for number in range(2):
        assert "I had a break" not in staff.page("/admin/moderation/"), number
        case = report(sign_in(), "violence")
        press(staff, case, "claim")
        staff.page(address(case) + "?show=1")
        staff.page(address(case) + "?show=1")  # the same again counts once
    assert "I had a break" in staff.page("/admin/moderation/")
    day = ReviewerDay.objects.get(user=staff.user)
    assert (day.seen, day.grave) == (2, 2)
    staff.client.post("/admin/moderation/rested/")
    assert "I had a break" not in staff.page("/admin/moderation/")


def test_time_without_looking_is_a_break_and_a_lighter_case_too(make_staff: Make) -> None:
    user, now = make_staff(MODERATE, signed_in=False).user, now_ms()
    for offset in range(3):
        row = wellbeing.saw(user, uuid.uuid4(), grave=True, now=now + offset)
    assert row.in_a_row == 3
    assert wellbeing.saw(user, uuid.uuid4(), grave=False, now=now + 4).in_a_row == 0
    wellbeing.saw(user, uuid.uuid4(), grave=True, now=now + 5)
    row = wellbeing.saw(user, uuid.uuid4(), grave=True, now=now + 5 + wellbeing.PAUSE_MS)
    assert row.in_a_row == 1


def test_evidence_is_blurred_and_grey_unless_somebody_wants_it_otherwise(make_staff: Make) -> None:
    case = report(sign_in())
    staff = make_staff(MODERATE)
    press(staff, case, "claim")
    page = staff.page(address(case))
    assert "data-blur" in page
    assert "data-gray" in page
    staff.client.post("/admin/moderation/settings/", {"blur": "on", "break_after": "5"})
    page = staff.page(address(case))
    assert "data-blur" in page
    assert " data-gray" not in page
    assert (
        staff.client.post("/admin/moderation/settings/", {"break_after": "51"}).status_code == 200
    )  # refused


def test_figures_for_who_leads(make_staff: Make) -> None:
    staff, second = make_staff(MODERATE), make_staff(APPROVE)
    for number, (action, reason) in enumerate((("dismiss", "joke"), ("day", "spam"), ("day", "spam"))):
        case = decide(staff, report(sign_in()), action, reason)
        Case.objects.filter(pk=case.pk).update(
            opened_at=case.closed_at - (number + 1) * 60_000, due_at=case.closed_at + (1 if number else -1)
        )
    case = decide(staff, report(sign_in(), "fraud"), "permanent", "fraud", "the third account")
    press(second, case, "second", verdict="reject", note="not enough")
    sanction = Sanction.objects.filter(kind="suspension").first()
    assert sanction is not None
    sanctions.ask_appeal(sanction_id=sanction.pk, text="It was not me")
    sanctions.decide_appeal(sanction=sanction, by="ann", grant=True, reason="right")
    found = figures.of()
    (row,) = found.rows
    assert (row.category, row.decided, row.late, row.upheld, row.median) == ("spam", 3, 1, 2, 120_000)
    assert (found.in_time.part, found.in_time.whole) == (2, 3)
    assert (found.agreed.part, found.agreed.whole) == (0, 1)
    assert (found.overturned.part, found.overturned.whole) == (1, 1)
    page = make_staff(VIEW).page("/admin/moderation/figures/")
    assert "67 %" in page
    assert staff.user.username not in page
