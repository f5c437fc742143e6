"""A management step beside the servers: millions of accounts with what the pages of the staff read of them, reports with their
cases, records of what staff did; and where the bench shall look.

``python -m bench.staff_rows`` in the environment of a system. Standard input ``{"accounts", "reports", "password"}``, standard
output ``{"targets": name → text for addresses, "seconds": table → s, "rows", "database_mb", "tables_mb", "indexes_mb"}``. Of each
role there is somebody, named ``bench-<role>``, without a second factor yet.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

import django

from bench.staff_filling import fill, sizes
from whatsapp.infra.clock import now_ms

_DAY_MS: Final = 86_400_000
#: Of people; reports came in the last two.
_YEARS_MS: Final = 3 * 365 * _DAY_MS
ROLES: Final = ("staff", "moderator", "operator", "auditor")
#: Records of what staff did, for each case.
_RECORDS: Final = 3
#: So many open cases have a twentieth of all reports.
_FLOODS: Final = 50


def _make(accounts: int, reports: int, password: str) -> dict[str, Any]:
    staff = _staff(password)
    _schedules()
    _retention()
    numbers = _numbers(accounts, reports, staff)
    from bench import staff_people_sql as people
    from bench import staff_reports_sql as reported

    for name, shares in (("kinds", reported.KINDS), ("categories", reported.CATEGORIES)):
        numbers[name] = " ".join(word for word, share in shares.items() for _ in range(share))
    numbers["deeds"] = reported.DEEDS.format(**numbers)
    functions = (people.FUNCTIONS + reported.FUNCTIONS).format(**numbers)
    steps = {
        table: [statement.format(**numbers) for statement in statements]
        for table, statements in {**people.STEPS, **reported.STEPS}.items()
    }
    seconds = fill(functions, steps, lambda text: print(text, file=sys.stderr, flush=True))
    _seal()
    return {"targets": _targets(accounts), "seconds": seconds, **sizes()}


def _numbers(accounts: int, reports: int, staff: list[int]) -> dict[str, Any]:
    from django.contrib.contenttypes.models import ContentType

    from accounts.models import Account, Case

    cases = reports * 6 // 10
    if not cases <= accounts <= 10_000_000 or cases < 100:
        raise SystemExit(
            "so many accounts have no numbers (10,000,000), or there are too few of them or of reports"
        )
    return {
        "now": now_ms(), "day": f"{_DAY_MS}::bigint", "hour": "3600000::bigint", "span": _YEARS_MS, "accounts": accounts,
        "step": _YEARS_MS // accounts, "reports": reports, "cases": cases, "floods": min(_FLOODS, cases // 40),
        "report_step": _YEARS_MS * 2 // 3 // reports, "case_step": _YEARS_MS * 2 // 3 // cases, "records": cases * _RECORDS,
        "staff": f"ARRAY{staff}", "staff_count": len(staff), "account_type": ContentType.objects.get_for_model(Account).pk,
        "case_type": ContentType.objects.get_for_model(Case).pk,
    }  # fmt: skip


def _staff(password: str) -> list[int]:
    """Of each role one who signs in, and a hundred others."""
    from django.contrib.auth.models import Group, User

    made = []
    for role in ROLES:
        user = User.objects.create_user(f"bench-{role}", password=password, is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        made.append(user.pk)
    others = [
        User(username=name, is_staff=True)
        for name in ("colleague", "somebody", *(f"staff-{n}" for n in range(98)))
    ]
    return made + [user.pk for user in User.objects.bulk_create(others)]


def _schedules() -> None:
    """As beat makes them, and runs of each: as many as are kept."""
    from celery import current_app
    from django_celery_beat.models import PeriodicTask
    from django_celery_beat.schedulers import ModelEntry

    from whatsapp.staff.models import Outcome, TaskRun

    for name, entry in current_app.conf.beat_schedule.items():
        ModelEntry.from_entry(name, app=current_app, **entry)
    now = now_ms()
    TaskRun.objects.bulk_create(
        TaskRun(
            task=job.task, job=job.name, task_id=f"{job.pk}-{n}", worker="worker-1", started_at=now - (200 - n) * 60_000,
            duration_ms=12, outcome=Outcome.FAILED if n % 50 == 7 else Outcome.SUCCEEDED,
            error="OperationalError" if n % 50 == 7 else "",
        )
        for n in range(200)
        for job in PeriodicTask.objects.all()
    )  # fmt: skip


def _retention() -> None:
    from accounts.models import RetentionDay
    from whatsapp.infra import retention

    now = now_ms()
    RetentionDay.objects.bulk_create(
        RetentionDay(
            policy=policy.name, day=now // _DAY_MS - n, purged=1000, ran_at=now, overdue=0, checked_at=now
        )
        for policy in retention.policies()
        for n in range(90)
    )


def _claimed() -> Any:
    """Cases on which the moderator works, with the most reports first."""
    from django.db.models import Count

    from accounts.models import Case

    mine = Case.objects.filter(claimed_by="bench-moderator", state="claimed", subject_kind="user")
    return mine.annotate(number=Count("reports")).order_by("-number", "pk")


def _seal() -> None:
    """What was reported in two cases, so that their pages open it as they would."""
    from accounts import evidence
    from accounts.models import Report, ReportedMessage

    cases = [case.pk for case in (_claimed().first(), _claimed().last()) if case is not None]
    newest = Report.objects.filter(case__in=cases).order_by("-created_at")[:500]
    messages = list(ReportedMessage.objects.filter(report__in=list(newest)))
    for message in messages:
        text = f"the words that were reported, {message.pk} " * 6
        message.content = evidence.seal_content(text.encode(), message.report_id, message.position)
    ReportedMessage.objects.bulk_update(messages, ["content"], batch_size=500)


def _targets(accounts: int) -> dict[str, str]:
    from django.contrib.admin.models import LogEntry
    from django.contrib.contenttypes.models import ContentType

    from accounts.models import (
        Account,
        Case,
        Consent,
        Device,
        Erasure,
        LawfulRequest,
        LegalHold,
        LimitOverride,
        Report,
        Sanction,
    )  # fmt: skip
    from delivery.models import Head
    from media.models import Media
    from notifications.models import PushTarget
    from whatsapp.staff.models import AuditRecord, TaskRun

    often = Account.objects.order_by("created_at").first()
    someone = (
        Account.objects.filter(phone=f"+1555{accounts // 2:07}").first()
        or Account.objects.filter(phone__isnull=False).first()
    )
    assert often is not None
    assert someone is not None
    media = Media.objects.filter(state="ready").order_by("-pk").first()
    log = (
        LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(Account))
        .order_by("-pk")
        .first()
    )
    found: dict[str, Any] = {
        "often": often.pk, "someone": someone.pk, "phone": someone.phone,
        "device": Device.objects.filter(user=someone).first(), "flood": _claimed().first(), "case": _claimed().last(),
        "closed": Case.objects.filter(state="closed", subject=often.pk).first() or Case.objects.filter(state="closed").first(),
        "waiting": Case.objects.filter(state="waiting").first() or _claimed().first(),
        "sanction": Sanction.objects.filter(appeal="asked").first() or Sanction.objects.first(),
        "override": LimitOverride.objects.order_by("pk").first(), "consent": Consent.objects.order_by("-pk").first(),
        "erasure": Erasure.objects.exclude(state="done").order_by("-pk").first(),
        "hold": LegalHold.objects.order_by("-pk").first(), "lawful": LawfulRequest.objects.order_by("-pk").first(),
        "record": AuditRecord.objects.order_by("-pk").first(), "log": log, "job_run": TaskRun.objects.order_by("-pk").first(),
        "conversation": Head.objects.order_by("-pk").first(), "media": media, "target": PushTarget.objects.first(),
        "report": Report.objects.order_by("-created_at").first(),
    }  # fmt: skip
    targets = {name: str(getattr(value, "pk", value)) for name, value in found.items()}
    assert media is not None
    assert log is not None
    ends: dict[str, Any] = {"users": Account, "records": AuditRecord}
    last = {f"last_of_{name}": str(_last_page(model.objects.count())) for name, model in ends.items()}
    return {**targets, **last, "staff": str(log.user_id), "sha256": media.sha256, "logged": log.object_id}


def _last_page(rows: int) -> int:
    from whatsapp.staff.counting import MAX_PAGES

    return min(-(-rows // 50), MAX_PAGES)


if __name__ == "__main__":
    django.setup()
    asked = json.load(sys.stdin)
    json.dump(_make(asked["accounts"], asked["reports"], asked["password"]), sys.stdout)
