"""Runs of Celery tasks, written down by the worker's processes through Celery's own signals.

Bounded twice: a process writes at most one run of a task a second (failures always), and of each task the newest ``KEEP`` stay.
A run must not fail because it cannot be written down: every error here is logged and forgotten. Of an exception only the
class is kept; its text may hold personal data.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final, NamedTuple

from celery.signals import task_postrun, task_prerun
from django.db import connection

from whatsapp.infra.clock import now_ms
from whatsapp.staff.models import Outcome, TaskRun

log = logging.getLogger(__name__)

KEEP: Final = 200
EVERY_S: Final = 1.0
_TRIM_EACH: Final = 20  # runs written

_TRIM: Final = """
DELETE FROM staff_taskrun WHERE task = %s AND id <= (
    SELECT id FROM staff_taskrun WHERE task = %s ORDER BY id DESC OFFSET %s LIMIT 1
)
"""


class _Started(NamedTuple):
    clock: float  # monotonic, s
    at: int  # ms
    row: int | None  # None: not written down, too soon after the one before


_running: dict[str, _Started] = {}
_written: dict[str, float] = {}


@task_prerun.connect
def _prerun(task_id: str = "", task: Any = None, **_: Any) -> None:
    now, at = time.monotonic(), now_ms()
    row = None
    if now - _written.get(task.name, -EVERY_S) >= EVERY_S:
        try:
            row = _row(task, task_id, at).pk
            _written[task.name] = now
        except Exception as error:
            log.warning("the start of a run of %s was not written down: %s", task.name, type(error).__name__)
            connection.close()
    _running[task_id] = _Started(now, at, row)


@task_postrun.connect
def _postrun(task_id: str = "", task: Any = None, state: str = "", retval: Any = None, **_: Any) -> None:
    started = _running.pop(task_id, None)
    if started is None:
        return
    failed = state not in ("SUCCESS", "IGNORED", "RETRY")
    if started.row is None and not failed:
        return
    error = type(retval).__name__ if failed and isinstance(retval, BaseException) else ""
    try:
        row = started.row if started.row is not None else _row(task, task_id, started.at).pk
        TaskRun.objects.filter(pk=row).update(
            duration_ms=int((time.monotonic() - started.clock) * 1000),
            outcome=Outcome.FAILED if failed else Outcome.SUCCEEDED,
            error=error[:200],
        )
        if row % _TRIM_EACH == 0:
            trim(task.name)
    except Exception as problem:
        log.warning("the end of a run of %s was not written down: %s", task.name, type(problem).__name__)
        connection.close()


def _row(task: Any, task_id: str, at: int) -> TaskRun:
    request = task.request
    properties = getattr(request, "properties", None) or {}
    job = getattr(request, "periodic_task_name", None) or properties.get("periodic_task_name") or ""
    return TaskRun.objects.create(
        task=task.name[:200],
        job=str(job)[:200],
        task_id=task_id[:64],
        worker=str(getattr(request, "hostname", "") or "")[:200],
        started_at=at,
    )


def trim(task: str) -> None:
    """Forget all but the newest ``KEEP`` runs of a task."""
    with connection.cursor() as cursor:
        cursor.execute(_TRIM, [task, task, KEEP])
