"""Scheduled jobs in trouble, as a metric of the workers, which see it also when beat is dead."""

from __future__ import annotations

from collections import Counter

from django.db import connections

from whatsapp.infra import metrics
from whatsapp.staff.job_state import all_jobs

_STATES = ("failed", "overdue", "lost")


def show() -> None:
    """As a metric of this process. Every worker says the same."""
    current = metrics.seldom(_current, 60)
    metrics.source(
        "whatsapp_jobs_in_trouble",
        "Scheduled jobs whose last run failed, that did not run when they were due, or whose run ended with its worker.",
        current,
        ("task", "state"),
    )


def in_trouble() -> dict[tuple[str, str], int]:
    """(task, state) → jobs. A state that nobody is in is 0 for all tasks together, so that the series is always there."""
    found = Counter((job.task.task, job.state) for job in all_jobs() if job.trouble)
    return {**{("", state): 0 for state in _STATES}, **found}


def _current() -> dict[tuple[str, str], int]:
    try:
        return in_trouble()
    finally:
        connections.close_all()  # of this thread, which ends with the scrape
