"""How long what staff do is kept: rows of the table in ``whatsapp/infra/retention.py``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.contrib.sessions.models import Session

from whatsapp.infra import retention
from whatsapp.infra.retention import Policy
from whatsapp.staff import backups
from whatsapp.staff.models import ReviewerDay


def _sessions(now: int) -> Any:
    return Session.objects.filter(expire_date__lt=datetime.fromtimestamp(now / 1000, UTC))


def _reviewer_days(now: int) -> Any:
    first = datetime.fromtimestamp(now / 1000, UTC).date() - timedelta(days=90)
    return ReviewerDay.objects.filter(day__lt=first)


POLICIES: Final = (
    Policy(
        "backups",
        "Everything, as it was at the time of each",
        ("files.backups",),
        "what was lost or mistyped comes back",
        "14 days, of files of media 7 days more than the file, when they are sealed; else base backups 7 days, files for good",
        "operator: ./dev up --backups DIR --backup-keys KEYS, whose archive destroys the keys (docs/backup.md)",
        overdue=backups.overdue,
    ),
    Policy(
        "staff_sessions",
        "Who of the staff is signed in",
        ("sessions.Session",),
        "a browser stays signed in",
        "until the session ends",
        "staff-prune",
        _sessions,
    ),
    Policy(
        "task_runs",
        "When a task ran, for how long, and the class of its error",
        ("staff.TaskRun",),
        "operators see that jobs run",
        "the newest 200 of each task",
        "staff-prune",
    ),
    Policy(
        "staff_users",
        "Names, hashed passwords and second factors of staff",
        ("auth.User", "auth.Group", "staff.Authenticator", "staff.BackupCode"),
        "staff sign in",
        "while they work here",
        "operator: a superuser deletes, or deactivates, who leaves",
    ),
    Policy(
        "reviewers",
        "How each moderator wants to see evidence, and how many grave cases in a row they have seen",
        ("staff.Reviewer",),
        "nobody is shown more than they can bear",
        "while they work here",
        "operator: goes with the member of staff",
    ),
    Policy(
        "reviewer_days",
        "How many cases each moderator has looked at and decided on each day",
        ("staff.ReviewerDay",),
        "they see for themselves how much it was",
        "90 days",
        "staff-prune",
        _reviewer_days,
    ),
    Policy(
        "audit",
        "What staff did, asked for and approved, to what, when and why; never contents",
        ("admin.LogEntry", "staff.Approval", "staff.AuditRecord", "staff.AuditAnchor", "staff.AuditCheck"),
        "every action can be accounted for",
        "for good, or until an operator makes a checkpoint, which leaves the last year at least",
        "operator: manage.py audit_checkpoint",
    ),
)


def register() -> None:
    retention.register(POLICIES)
    retention.impersonal("how old backups are and how many there are", "staff.Backups")
    retention.impersonal(
        "names of tables and permissions, and when jobs run",
        "auth.Permission",
        "contenttypes.ContentType",
        "django_celery_beat.SolarSchedule",
        "django_celery_beat.IntervalSchedule",
        "django_celery_beat.ClockedSchedule",
        "django_celery_beat.CrontabSchedule",
        "django_celery_beat.PeriodicTasks",
        "django_celery_beat.PeriodicTask",
    )
