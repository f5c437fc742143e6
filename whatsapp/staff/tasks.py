"""Housekeeping of the admin. Importing this module makes a worker write its runs down."""

from __future__ import annotations

from celery import shared_task
from django.contrib.sessions.models import Session
from django.utils import timezone

from whatsapp.staff import approvals, recorder
from whatsapp.staff.models import TaskRun


@shared_task
def prune() -> None:
    """Delete expired staff sessions, and all but the newest runs of each task."""
    Session.objects.filter(expire_date__lt=timezone.now()).delete()
    for task in TaskRun.objects.order_by().values_list("task", flat=True).distinct():
        recorder.trim(task)


@shared_task
def expire_approvals() -> None:
    """End what waited for a second person in vain."""
    while approvals.expire():
        pass
