"""Housekeeping of the admin. Importing this module makes a worker write its runs down."""

from __future__ import annotations

from celery import shared_task

from whatsapp.infra.clock import now_ms
from whatsapp.infra.retention import purge, purged
from whatsapp.staff import approvals, chain, recorder
from whatsapp.staff.models import TaskRun


@shared_task
def prune() -> None:
    """Delete expired staff sessions, and all but the newest runs of each task."""
    purge("staff-prune", now_ms())
    before = TaskRun.objects.count()
    for task in TaskRun.objects.order_by().values_list("task", flat=True).distinct():
        recorder.trim(task)
    purged("task_runs", max(before - TaskRun.objects.count(), 0))


@shared_task
def expire_approvals() -> None:
    """End what waited for a second person in vain."""
    while approvals.expire():
        pass


@shared_task
def audit_check() -> None:
    """Look at the newest part of the audit log, and keep its head."""
    chain.check(whole=False)
    chain.anchor()


@shared_task
def audit_check_all() -> None:
    """Look at all of the audit log."""
    chain.check(whole=True)
