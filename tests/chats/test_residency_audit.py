"""The audit of residency finds what must not be here in every table, by whatever way it came."""

from __future__ import annotations

import json
import uuid
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction

from accounts.models import Account, Device, Export, Report
from chats import tasks
from chats.services import residency
from delivery.ids import conversation_id
from delivery.store.sync import store
from delivery.store.values import Change
from groups.models import Group
from media.models import Media, Reference
from tests.accounts.conftest import assert_problem, sign_in
from tests.contract.people import new_id, send
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db

HERE, ELSEWHERE = 0, 2
#: More than the tables of the tests have: all rows are looked at.
ALL = 100_000


def hold(settings: Any, *here: int) -> None:
    settings.JURISDICTIONS = ["eu"]
    settings.REGION_OF_NUMBERS = {"*": HERE}
    settings.REGIONS_HERE = here
    settings.REGIONS = {
        str(number): {"name": f"region {number}", "jurisdiction": "eu"} for number in (HERE, ELSEWHERE)
    }


def found() -> set[tuple[str, str, int | None]]:
    return {(one.table, one.key, one.region) for one in residency.audit(ALL).violations}


@pytest.fixture
def planted(settings: Any, monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str, int | None]]:
    """One row of another region in each table, (table, key, region); from now on it must not be here."""
    monkeypatch.setattr(residency, "MOST", ALL)
    hold(settings, HERE, ELSEWHERE)
    before = found()
    now = now_ms()
    ann = Account.objects.create(region=ELSEWHERE)
    device = Device.objects.create(user=ann, name="phone", linked_at=now, last_seen_at=now)
    group = conversation_id(now, "group", ELSEWHERE)
    message = send(group, str(ann.pk), str(device.pk))
    with transaction.atomic():
        store.create_group(group, now)
        store.change(
            new_id(), group, str(ann.pk), [Change(new_id(), "member_added", joins=(str(ann.pk),))], now
        )
        store.append(new_id(), [message], now)
    Group.objects.create(id=group, name="g", member_count=1, created_at=now)
    export = Export.objects.create(account=ann, asked_at=now, expires_at=now)
    report = Report.objects.create(kind="user", category="spam", reported=ann.pk, created_at=now)
    said = Report.objects.create(kind="group", category="spam", conversation=group, created_at=now)
    media = Media.objects.create(id=uuid.uuid4(), owner=ann, created_at=now)
    sent = Media.objects.create(
        id=uuid.uuid4(), owner=Account.objects.create(), conversation_id=group, created_at=now
    )
    reference = Reference.objects.create(
        media=sent, conversation_id=group, sender_id=ann.pk, message_id=uuid.uuid4(), created_at=now
    )
    assert found() == before == set()
    hold(settings, HERE)
    rows = {
        ("accounts_account", ann.pk),
        ("accounts_device", device.pk),
        ("accounts_export", export.pk),
        ("accounts_report", report.pk),
        ("accounts_report", said.pk),
        ("media_media", media.pk),
        ("media_media", sent.pk),
        ("media_reference", reference.pk),
        ("groups_group", group),
        ("delivery_head", group),
        ("delivery_event", f"{group}:1"),
        ("delivery_event", f"{group}:2"),
        ("delivery_member", f"{group}:{ann.pk}"),
    }
    return {(table, str(key), ELSEWHERE) for table, key in rows}


def test_each_table_is_looked_at(planted: set[tuple[str, str, int | None]]) -> None:
    assert found() == planted
    assert residency.audit(ALL).looked.keys() == {table for table, *_ in planted}


def test_the_command_names_the_rows_and_fails(planted: set[tuple[str, str, int | None]]) -> None:
    out = StringIO()
    with pytest.raises(SystemExit, match="1"):
        call_command("residency_audit", "--json", "--sample", str(ALL), stdout=out)
    told = json.loads(out.getvalue())
    assert {(one["table"], one["key"], one["region"]) for one in told["violations"]} == planted
    assert sum(told["found"].values()) == len(planted)
    out = StringIO()
    with pytest.raises(SystemExit, match="1"):
        call_command("residency_audit", stdout=out)
    assert "accounts_account: " in out.getvalue()


def test_the_job_counts_without_naming(
    planted: set[tuple[str, str, int | None]], caplog: pytest.LogCaptureFixture
) -> None:
    assert sum(tasks.residency_audit().values()) == len(planted)
    assert "rows of media_media belong" in caplog.text
    ids = [key for _, key, _ in planted if len(key) >= 36]  # a number may stand anywhere
    assert ids
    assert not any(key in caplog.text for key in ids)


def test_where_all_is_right_the_command_succeeds(settings: Any) -> None:
    out = StringIO()
    call_command("residency_audit", stdout=out)
    assert out.getvalue() == "There are no regions (REGIONS): everything may be here.\n"
    hold(settings, HERE)
    sign_in()
    call_command("residency_audit", stdout=out)
    assert "accounts_account: 1 looked at, 0 that must not be here" in out.getvalue()


def test_an_id_without_a_region_is_a_violation(settings: Any) -> None:
    hold(settings, HERE)
    group = Group.objects.create(id=uuid.uuid4(), name="g", member_count=1, created_at=1)
    assert found() == {("groups_group", str(group.pk), None)}


def test_who_should_not_be_here_may_look_and_go_but_write_nothing(settings: Any) -> None:
    hold(settings, HERE)
    ann = sign_in()
    Account.objects.filter(pk=ann.user_id).update(region=ELSEWHERE)
    assert ann.api.get("/me").status_code == 200
    for answer in (
        ann.api.patch("/me", {"name": "Ann"}),
        ann.api.post("/contacts", {"phoneNumber": "+15550001"}),
    ):
        assert assert_problem(answer, "wrong_region", 421)["details"]["region"] == ELSEWHERE
    assert ann.api.post("/me/export").status_code == 202
    assert ann.api.post("/auth/logout").status_code == 204
