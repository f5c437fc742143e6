"""The pages of erasures: how far each is and what it waits for, and that a worker looks at one again when staff ask for it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from accounts import stores
from accounts.limits import DAY_MS, HOUR_MS
from accounts.models import Erasure
from accounts.services import erasure
from tests.staff.conftest import Staff
from whatsapp.infra.clock import now_ms
from whatsapp.staff.models import AuditRecord

pytestmark = pytest.mark.usefixtures("db", "valkey_server")

Make = Callable[..., Staff]
PATH = "/admin/accounts/erasure/"
REASON = "the storage is back"
NAMES = [store.name for store in stores.all_stores()]


def row(state: str, *, days: int = 40, **fields: Any) -> Erasure:
    """Of an account that ended so many days ago."""
    asked, user = now_ms() - days * DAY_MS, uuid.uuid4()
    return Erasure.objects.create(
        **{
            "user": user, "user_hash": user.bytes * 2, "state": state, "asked_at": asked, "erase_at": asked + 31 * DAY_MS,
            "due_at": asked + 90 * DAY_MS, "identifiers": b"sealed", "next_at": now_ms() + HOUR_MS, **fields,
        }
    )  # fmt: skip


def line_of(page: str, found: Erasure) -> str:
    """What the list says of one."""
    start = page.index(f"{PATH}{found.pk}/change/")
    return page[start : page.index("</tr>", start)]


def test_each_says_how_far_it_is_and_what_it_waits_for(make_staff: Make) -> None:
    staff = make_staff(role="operator")
    made = {
        "soft": row("soft", days=3),
        "erasing": row(
            "erasing",
            stores={name: 1 for name in NAMES if name != "hot"},
            error="StorageUnavailable",
            attempts=2,
        ),
        "searched for": row("verifying", stores=dict.fromkeys(NAMES, 1)),
        "held": row("held"),
        "late": row("erasing", days=91),
        "done": row("done", identifiers=None, finished_at=now_ms(), stores=dict.fromkeys(NAMES, 1)),
    }
    page = staff.page(PATH)
    said = {
        "soft": ["on its way", "day 3 of 90"],
        "erasing": [f"{len(NAMES) - 1} of {len(NAMES)} stores", "hot", "2: StorageUnavailable"],
        "searched for": ["a search of every store"],
        "held": ["a legal hold"],
        "late": ["day 91 of 90", "erasing"],
        "done": ["took 40 of 90 days", "erased"],
    }  # fmt: skip
    for state, words in said.items():
        line = line_of(page, made[state])
        assert state in line, state
        for word in words:
            assert word in line, (state, word)
    holds = f"/admin/accounts/legalhold/?q={made['held'].user}"
    assert holds not in page, "operators see no holds"
    assert holds in make_staff(role="auditor").page(PATH)
    assert str(made["done"].user) not in page, "a random id says nothing"
    late = staff.page(f"{PATH}?trouble=late")
    assert [name for name, one in made.items() if f"{PATH}{one.pk}/" in late] == ["late"]
    failing = staff.page(f"{PATH}?trouble=failing")
    assert [name for name, one in made.items() if f"{PATH}{one.pk}/" in failing] == ["erasing"]
    user, number = made["held"].user, made["late"].pk
    assert f"{PATH}{made['held'].pk}/" in staff.page(f"{PATH}?q={user}")
    assert f"{PATH}{number}/" in staff.page(f"{PATH}?q={number}")
    assert f"{PATH}{number}/" not in staff.page(f"{PATH}?q={user}")


def test_a_page_says_what_the_search_found_and_which_store_waits(make_staff: Make) -> None:
    found = row("erasing", stores={"hot": now_ms()}, error="Left: log, media", attempts=1)
    page = make_staff(role="auditor").page(f"{PATH}{found.pk}/change/")
    assert "found something in log, media" in page
    assert page.count("<dd>waits</dd>") == len(NAMES) - 1
    assert "sealed" not in page


def test_an_operator_has_one_looked_at_again_and_an_auditor_does_not(
    make_staff: Make, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    enqueued: list[tuple[str, tuple[Any, ...]]] = []
    monkeypatch.setattr("delivery.tasks.enqueue_soon", lambda task, *args: enqueued.append((task.name, args)))
    found = row("erasing", error="StorageUnavailable", attempts=9)
    path = f"{PATH}{found.pk}/retry/"
    assert make_staff(role="auditor").client.post(path, {"reason": REASON}).status_code == 403
    staff = make_staff(role="operator")
    assert staff.client.post(path, {"reason": ""}).status_code == 200, "the form again"
    assert (enqueued, erasure.is_due(found.pk)) == ([], False)
    with django_capture_on_commit_callbacks(execute=True):
        assert staff.client.post(path, {"reason": REASON}).status_code == 302
    assert erasure.is_due(found.pk)
    assert ("accounts.tasks.erase", (found.pk,)) in enqueued
    record = AuditRecord.objects.get(action="erasure.retried")
    assert (record.object_id, record.by, REASON in record.message) == (
        str(found.pk),
        staff.user.username,
        True,
    )


@pytest.mark.parametrize(
    ("state", "fields"),
    [
        ("done", {}),
        ("soft", {"days": 3}),  # what the account has sent is still to be delivered
        ("verifying", {"next_at": now_ms() + erasure.GATHER_MS + 2 * HOUR_MS}),
    ],
    ids=["done", "soft", "a search is under way"],
)
def test_nothing_is_hurried_that_must_wait(make_staff: Make, state: str, fields: dict[str, Any]) -> None:
    found = row(state, **fields)
    staff = make_staff(role="operator")
    staff.client.post(f"{PATH}{found.pk}/retry/", {"reason": REASON})
    before, found = found, Erasure.objects.get(pk=found.pk)
    assert found.next_at == before.next_at
    assert not AuditRecord.objects.filter(action="erasure.retried").exists()


@pytest.mark.parametrize("number", ["0", "x", "9" * 30, "-1"])
def test_one_that_is_not_there(superuser: Staff, number: str) -> None:
    superuser.page(f"{PATH}{number}/retry/", status=404)
    assert superuser.client.get(f"{PATH}{number}/change/").status_code in (302, 404)
    superuser.page(f"{PATH}?q={number}")
