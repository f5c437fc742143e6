"""The queue of cases: each list in its order and from an index, and who takes a case or gives it back."""

from __future__ import annotations

import itertools
import json
import random
import uuid
from collections.abc import Callable, Iterator

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import CATEGORIES, Case
from accounts.services import cases
from tests.accounts.conftest import parallel, sign_in
from tests.staff.cases import report
from tests.staff.conftest import Staff
from tests.staff.moderating import DAY, MODERATE, Make, address, press
from whatsapp.infra.clock import now_ms
from whatsapp.staff.moderation import decisions, queue

#: Pages ask the hot node too.
pytestmark = pytest.mark.usefixtures("db", "valkey_server")


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
