"""What beat is to do and how it went: the schedule of django-celery-beat beside the runs that workers wrote down."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django_celery_beat.models import IntervalSchedule, PeriodicTask

from whatsapp.infra.clock import now_ms
from whatsapp.staff.models import Outcome, TaskRun
from whatsapp.staff.times import span

#: Beat looks every few seconds, and a queue may be busy: a job is overdue when nothing ran this long after it was due.
GRACE_MS: Final = 120_000
#: A run without an end for longer was lost with its worker.
LOST_MS: Final = 3_600_000
MAX_JOBS: Final = 200

_NEWEST: Final = """
SELECT run.* FROM unnest(%s::text[]) AS wanted (task)
CROSS JOIN LATERAL (SELECT * FROM staff_taskrun WHERE task = wanted.task ORDER BY id DESC LIMIT 1) run
"""


@dataclass
class Job:
    task: PeriodicTask
    run: TaskRun | None
    due_at: int | None  # ms; None: never again
    state: str  # ok | running | failed | overdue | lost | waiting | off

    @property
    def trouble(self) -> bool:
        return self.state in ("failed", "overdue", "lost")

    @property
    def schedule(self) -> str:
        chosen: Any = self.task.scheduler
        if self.task.crontab is not None:
            return str(chosen.human_readable)
        if self.task.interval is not None and self.task.interval.period == IntervalSchedule.SECONDS:
            return f"every {span(self.task.interval.every * 1000)}"
        return str(chosen)


def newest_runs(tasks: list[str]) -> dict[str, TaskRun]:
    """The last run of each task; one query, one index look-up a task."""
    return {run.task: run for run in TaskRun.objects.raw(_NEWEST, [tasks])} if tasks else {}


def all_jobs() -> list[Job]:
    """Every scheduled job; two queries. Trouble first, then by name."""
    found = list(
        PeriodicTask.objects.select_related("interval", "crontab", "solar", "clocked").order_by("name")[
            :MAX_JOBS
        ]
    )
    runs = newest_runs(sorted({task.task for task in found}))
    now = now_ms()
    jobs = [_job(task, runs.get(task.task), now) for task in found]
    return sorted(jobs, key=lambda job: (not job.trouble, job.task.name))


def _job(task: PeriodicTask, run: TaskRun | None, now: int) -> Job:
    due = _due(task, run, now) if task.enabled else None
    return Job(task, run, due, _state(task, run, due, now))


def _state(task: PeriodicTask, run: TaskRun | None, due: int | None, now: int) -> str:
    if not task.enabled:
        return "off"
    if run is not None and run.outcome == Outcome.RUNNING:
        return "running" if now - run.started_at < LOST_MS else "lost"
    if run is not None and run.outcome == Outcome.FAILED:
        return "failed"
    if due is not None and due + GRACE_MS < now:
        return "overdue"
    if run is None and task.total_run_count > 1:
        return "overdue"  # beat has sent it, and no worker has run it
    return "waiting" if run is None else "ok"


def _due(task: PeriodicTask, run: TaskRun | None, now: int) -> int | None:
    """When it is due next; in the past if it should have run already. Counted from the last run: beat writes when it sent
    something only every few minutes, and what was sent has not run yet."""
    last = (
        datetime.fromtimestamp(run.started_at / 1000, UTC)
        if run is not None
        else task.last_run_at or task.date_changed
    )
    if last is None:
        return None
    try:
        remaining: timedelta = task.schedule.remaining_estimate(last)
    except Exception:  # a schedule that cannot be computed, such as a solar one beyond the polar circle
        return None
    return now + int(remaining.total_seconds() * 1000)
