"""What is due is deleted and counted; what is left although it was due is found, whoever forgot it."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command

from accounts import retention as kept
from accounts.models import Case, KeptAnswer, LimitHit, Report, ReportedMessage, RetentionDay
from accounts.services import evidence
from accounts.services import retention as record
from accounts.tasks import prune, retention_check
from notifications.models import PushState, PushTarget
from notifications.tasks import prune as prune_push
from tests.accounts.conftest import sign_in
from whatsapp.infra import metrics, retention
from whatsapp.infra.clock import now_ms
from whatsapp.infra.retention import DAY_MS, HOUR_MS

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey_server")]


def _hit(at: int) -> LimitHit:
    return LimitHit.objects.create(scope="test", subject=uuid.uuid4().bytes * 2, at=at)


def _answer(at: int) -> KeptAnswer:
    return KeptAnswer.objects.create(
        id=uuid.uuid4().bytes * 2, request=b"r" * 32, status=200, answer=b"", created_at=at
    )


def test_a_purge_says_how_much_it_was() -> None:
    now = now_ms()
    before = record.told(now).get("limit_hits", record.Told(0, None, None, None, None)).purged
    for age in (DAY_MS + 1, 2 * DAY_MS, DAY_MS - HOUR_MS):
        _hit(now - age)
    old = LimitHit.objects.filter(at__lte=now_ms() - DAY_MS).count()
    prune()
    told = record.told(now_ms())["limit_hits"]
    assert (told.purged - before, told.overdue) == (old, None)
    assert (told.ran_at or 0) >= now
    assert LimitHit.objects.filter(scope="test").count() == 1


def test_a_job_that_does_not_run_is_seen_and_one_that_does_is_not() -> None:
    now = now_ms()
    prune()
    _answer(now - DAY_MS - 4 * HOUR_MS)
    _answer(now - DAY_MS - HOUR_MS)  # the job has three hours
    assert retention_check()["kept_answers"] == 1
    assert record.told(now_ms())["kept_answers"].overdue == 1
    prune()
    assert "kept_answers" not in retention_check()
    told = record.told(now_ms())["kept_answers"]
    assert (told.overdue, told.purged >= 2) == (0, True)


def test_one_store_that_is_away_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(now: int) -> int:
        raise ConnectionError

    def broken(now: int) -> Any:
        return LimitHit.objects.extra(where=["no_such_column > 0"])

    policies = {
        "a_away": retention.Policy("a_away", "", (), "", "", "erasure", overdue=away),
        "b_broken": retention.Policy("b_broken", "", (), "", "", "erasure", broken),
    }
    monkeypatch.setattr(retention, "_policies", {**policies, **retention._policies})
    _answer(now_ms() - 2 * DAY_MS)
    found = record.check(now_ms())
    assert found["kept_answers"] == 1
    assert not {"a_away", "b_broken"} & set(found)
    assert "messages" in found, "the store of the messages was asked"


def test_counting_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = now_ms()
    for _ in range(4):
        _hit(now - 3 * DAY_MS)
    monkeypatch.setattr(retention, "MOST", 3)
    assert record.check(now)["limit_hits"] == 3


@pytest.mark.parametrize(
    "policy", [p for p in retention.policies() if p.due or p.overdue], ids=lambda p: p.name
)
def test_every_policy_can_be_counted(policy: retention.Policy) -> None:
    """On this database; what it finds is nobody's business here."""
    assert policy.left(now_ms()) in range(retention.MOST + 1)


def test_a_check_writes_one_row_a_day(clock: Any) -> None:
    record.check(now_ms())
    record.check(now_ms())
    today = RetentionDay.objects.filter(policy="codes", day=now_ms() // DAY_MS)
    assert today.count() == 1
    record.check(now_ms() + DAY_MS)
    assert RetentionDay.objects.filter(policy="codes").count() >= 2
    clock((kept.DAYS_KEPT + 1) * DAY_MS)
    prune()
    days = set(RetentionDay.objects.filter(policy="codes").values_list("day", flat=True))
    assert now_ms() // DAY_MS not in days
    assert now_ms() // DAY_MS + 1 in days


def test_figures_are_shown() -> None:
    _answer(now_ms() - 2 * DAY_MS)
    record.check(now_ms())
    current = {name: one.overdue for name, one in record.told(now_ms(), 7).items()}
    assert current["kept_answers"] == 1
    before = _counted("kept_answers")
    prune()
    assert _counted("kept_answers") - before == 1


def _counted(policy: str) -> float:
    (family,) = [one for one in metrics.families() if one.name == "whatsapp_retention_purged"]
    values: Any = family
    return float(values.values.get((policy,), 0))


def test_push_states_are_found_whoever_forgot_them() -> None:
    ann = sign_in()
    now = now_ms()
    target = PushTarget.objects.create(
        device_id=ann.device_id, app="ios", token="t", token_hash=uuid.uuid4().bytes * 2, set_at=now
    )
    PushState.objects.create(target=target, conversation=uuid.uuid4(), seq=1, told_at=now - 40 * DAY_MS)
    assert retention_check()["push_states"] == 1
    prune_push()
    assert "push_states" not in retention_check()


# -- what people reported --------------------------------------------------------------------------------------------------


def _case(closed_at: int | None) -> Case:
    now = now_ms()
    case = Case.objects.create(
        subject_kind="user", subject=uuid.uuid4(), category="spam", opened_at=now, due_at=now,
        state="closed" if closed_at else "open", closed_at=closed_at,
    )  # fmt: skip
    at = (closed_at or now) - DAY_MS
    report = Report.objects.create(
        kind="message", category="spam", note="sealed", case=case, created_at=at, reporter=uuid.uuid4()
    )
    ReportedMessage.objects.create(
        report=report, position=0, message_id=uuid.uuid4(), sender=uuid.uuid4(), sent_at=at, content=b"sealed",
        verdict="verified",
    )  # fmt: skip
    return case


def test_evidence_goes_90_days_after_the_decision_and_the_rest_after_a_year(clock: Any) -> None:
    case, young, never = _case(now_ms()), _case(now_ms() + 80 * DAY_MS), _case(None)
    clock(91 * DAY_MS)
    evidence.purge(now_ms() + 89 * DAY_MS)
    assert ReportedMessage.objects.filter(report__case=case, content=b"sealed").exists(), "not yet"
    prune()
    (message,) = ReportedMessage.objects.filter(report__case=case)
    assert (bytes(message.content), message.verdict, message.report.note) == (b"", "verified", "")
    case.refresh_from_db()
    assert case.purged_at is not None
    for other in (young, never):
        (message,) = ReportedMessage.objects.filter(report__case=other)
        assert (bytes(message.content), message.report.note) == (b"sealed", "sealed")
    reports = list(Report.objects.filter(case=case))
    clock(275 * DAY_MS)
    prune()
    assert not Case.objects.filter(pk=case.pk).exists()
    assert not Report.objects.filter(pk__in=[report.pk for report in reports]).exists()
    assert Case.objects.filter(pk__in=(young.pk, never.pk)).count() == 2
    assert Report.objects.filter(case__in=(young, never)).count() == 2


def test_evidence_that_stays_is_overdue(clock: Any) -> None:
    _case(now_ms())
    clock(91 * DAY_MS)
    assert retention_check()["evidence"] >= 1
    prune()
    assert "evidence" not in retention_check()


def test_beat_checks() -> None:
    (entry,) = [
        e for e in settings.CELERY_BEAT_SCHEDULE.values() if e["task"] == "accounts.tasks.retention_check"
    ]
    assert entry["options"]["expires"] <= 3600


def test_the_command_says_what_is_overdue(capsys: pytest.CaptureFixture[str]) -> None:
    _answer(now_ms() - 2 * DAY_MS)
    with pytest.raises(SystemExit):
        call_command("retention", "--json")
    assert json.loads(capsys.readouterr().out)["kept_answers"]["overdue"] == 1
    prune()
    try:
        call_command("retention")
    except SystemExit:
        pass  # of what other tests have left
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("kept_answers")]
    assert line.endswith("overdue 0")
