"""What the archive of backups says it has is shown, measured, and counted when it is too old."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction

from accounts.services import retention
from devtools import archiver, backup
from tests.staff.conftest import Staff
from whatsapp.infra.clock import now_ms
from whatsapp.infra.retention import DAY_MS, HOUR_MS
from whatsapp.staff import backups
from whatsapp.staff.models import Backups

pytestmark = pytest.mark.usefixtures("db", "valkey_server")

MINUTE_MS = 60_000


def told(
    *,
    looked: int = MINUTE_MS,
    newest: int = HOUR_MS,
    oldest: int = 6 * DAY_MS,
    number: int = 7,
    sealed: bool = True,
) -> None:
    """Ages in ms."""
    now = now_ms()
    Backups.objects.all().delete()
    Backups.objects.create(
        looked_at=now - looked, newest_at=now - newest, oldest_at=now - oldest, number=number, sealed=sealed
    )


def shown(page: str) -> str:
    """The part of the first page, without its tags."""
    found = re.search(r"<strong[^>]*>Backups</strong>.*?</dl>", page, re.DOTALL)
    assert found is not None
    return " ".join(re.sub(r"<[^>]+>", " ", found[0]).split())


def test_where_no_archive_ever_ran_nothing_is_late(superuser: Staff) -> None:
    assert shown(superuser.page("/admin/")) == "Backups none archive none has told what it has"
    assert backups.ages(now_ms()) == {}
    assert retention.check(now_ms()).get("backups", 0) == 0


@pytest.mark.parametrize(
    ("ages", "state"),
    [
        ({}, "up"),
        ({"looked": 2 * HOUR_MS}, "late"),
        ({"newest": 31 * HOUR_MS}, "late"),
        ({"sealed": False}, "up"),
        ({"looked": -MINUTE_MS}, "up"),  # another clock
        ({"looked": -400 * DAY_MS}, "late"),
        ({"newest": -400 * DAY_MS}, "late"),
    ],
    ids=[
        "fresh",
        "stopped",
        "no base backup",
        "not sealed",
        "a minute ahead",
        "stopped, ahead",
        "base ahead",
    ],
)
def test_the_first_page_says_how_old_it_is(superuser: Staff, ages: dict[str, int], state: str) -> None:
    told(**ages)  # type: ignore[arg-type]
    words = shown(superuser.page("/admin/"))
    assert words.startswith(f"Backups {state} complete ")
    assert words.endswith(f"kept 7 sealed {'yes' if ages.get('sealed', True) else 'no'}")
    assert "oldest base 6 d ago" in words
    assert " -" not in words


def test_the_metric_is_the_age_of_what_was_said() -> None:
    told(looked=2 * HOUR_MS, newest=3 * DAY_MS)
    ages = backups.ages(now_ms())
    assert ages.keys() == {("archive",), ("base",)}
    assert 7_200 <= ages["archive",] < 7_300
    assert 259_200 <= ages["base",] < 259_300


def test_what_a_clock_that_went_back_has_left_is_not_new() -> None:
    """The alerts ask for more than so many seconds."""
    told(looked=-400 * DAY_MS, newest=-400 * DAY_MS)
    assert min(backups.ages(now_ms()).values()) > 399 * 86_400


@pytest.mark.parametrize(
    ("oldest", "number", "sealed", "overdue"),
    [
        (14 * DAY_MS + HOUR_MS, 2, True, 0),  # it has three hours
        (14 * DAY_MS + 4 * HOUR_MS, 2, True, 1),
        (40 * DAY_MS, 1, True, 0),  # the newest is kept however old it is
        (40 * DAY_MS, 2, False, 0),  # their number ends them, not their age
    ],
)
def test_what_its_age_should_have_ended_is_overdue(
    oldest: int, number: int, sealed: bool, overdue: int
) -> None:
    """Also when the archive has stopped, which is how that comes."""
    told(
        looked=oldest - 13 * DAY_MS, newest=oldest - 13 * DAY_MS, oldest=oldest, number=number, sealed=sealed
    )
    assert retention.check(now_ms()).get("backups", 0) == overdue


def test_the_policy_is_what_the_archive_does() -> None:
    """Which the system does not know by itself: it has nothing of the tools of a machine."""
    assert backups.KEPT_MS == backup.KEEP_S * 1000
    assert backups.BASE_MS > archiver.BASE_EVERY_S * 1000
    assert backups.SILENT_MS > archiver.FILES_EVERY_S * 1000


def test_it_is_one_row_and_may_be_forgotten() -> None:
    told()
    with pytest.raises(IntegrityError), transaction.atomic():
        Backups.objects.create(id=2, looked_at=0, newest_at=0, oldest_at=0, number=0, sealed=False)
    said = StringIO()
    call_command("backups", stdout=said)
    assert said.getvalue().startswith("Backups: up\n  complete: 1 min")
    call_command("backups", "--forget", stdout=said)
    assert said.getvalue().endswith("Backups: none\n  archive: none has told what it has\n")
    assert not Backups.objects.exists()
