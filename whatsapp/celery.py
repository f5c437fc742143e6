"""The Celery application: ``celery -A whatsapp worker`` and ``beat``."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import celery.apps.worker
from celery import Celery
from celery.concurrency import prefork
from celery.signals import (
    after_task_publish,
    beat_init,
    celeryd_init,
    setup_logging,
    task_postrun,
    task_prerun,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from django.conf import settings
from django.utils.log import configure_logging
from structlog.contextvars import bind_contextvars, unbind_contextvars

from whatsapp.infra import broker, logs, metrics, workers

if TYPE_CHECKING:
    from delivery.sweep import SweepThread

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whatsapp.settings")
# Celery would load every page of the admin and of the API for checks whose answer it drops: a seventh of a start, 12 MB a worker.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

gc.set_threshold(50_000, 20, 20)  # as in gateways; a tenth of the start of a worker was the collector's
broker.use()
app = Celery("whatsapp")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

_PR_SET_PDEATHSIG = 1


@celeryd_init.connect
def _first_of_all(**_: Any) -> None:
    """Celery has warnings to give before it sets Django up."""
    configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)
    logs.catch_the_rest()
    celery.apps.worker.safe_say = logs.say  # what a signal handler has to say


@setup_logging.connect
def _use_django_logging(**_: Any) -> None:
    """Django's LOGGING holds; Celery would put its own handlers in."""
    logs.catch_the_rest()


@task_prerun.connect
def _name_lines(task_id: str, task: Any, **_: Any) -> None:
    bind_contextvars(task=task.name, task_id=task_id)


@task_postrun.connect
def _unname_lines(**_: Any) -> None:
    unbind_contextvars("task", "task_id")


after_task_publish.connect(workers.count_published)
_tally: workers.Tally | None = None
_sweep: SweepThread | None = None


@worker_init.connect
def _before_the_pool(**_: Any) -> None:
    global _tally
    _tally = workers.Tally()

    from delivery import whereabouts

    if wrong := whereabouts.look():
        print(wrong, file=sys.stderr)
        raise SystemExit(1)
    # What was loaded lives for ever, and the pool's children share it as long as no collector writes to it.
    gc.collect()
    gc.freeze()


@worker_process_init.connect
def _in_pool_child(**_: Any) -> None:
    # A child of a killed worker would go on for ever: nothing else ends it.
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    if _tally is not None:
        _tally.in_child()

    from delivery.runtime import runtime
    from notifications.binding import bind_worker

    bind_worker()
    runtime()
    if _pushes():
        from notifications.running import running

        running()  # shards that nobody holds are taken before the first task comes


@worker_ready.connect
def _in_worker(sender: Any, **_: Any) -> None:
    from delivery.runtime import runtime
    from delivery.sweep import SweepThread
    from notifications.binding import bind_worker

    global _sweep
    bind_worker()
    _sweep = SweepThread(settings.DATABASE_URL, settings.HOT_URL).start()
    depths = workers.Depths(app, [queue.name for queue in settings.CELERY_TASK_QUEUES])
    metrics.source("whatsapp_celery_queue_depth", "Tasks that wait in a queue.", depths, ("queue",))
    turns = _sweep.turns
    workers.serve(lambda: {"broker": bool(depths()), "sweep": turns()})
    if "maintenance" in app.amqp.queues.consume_from:
        from accounts import case_figures
        from accounts.services import holds, retention
        from whatsapp.staff import backups, job_figures

        backups.show()
        job_figures.show()
        retention.show()
        case_figures.show()
        holds.show()
    if "media" in app.amqp.queues.consume_from:
        from media import watching
        from media.pipeline.process import work_folder
        from media.tools import folders

        folders.sweep(work_folder())  # what was left by workers that nobody could bury
        watching.show()
    if "fanout" in app.amqp.queues.consume_from:
        runtime().lanes()  # those that nobody holds are taken before the first task comes
    if _pushes() and not isinstance(sender.pool, prefork.TaskPool):  # there each child has its own
        from notifications.running import running

        running()


def _pushes() -> bool:
    return bool(settings.PUSH_APPS) and "push" in app.amqp.queues.consume_from


@worker_process_shutdown.connect
def _child_ending(**_: Any) -> None:
    _leave_shards()


def _leave_shards() -> None:
    if _pushes():
        from notifications.running import leave

        leave()


@worker_shutting_down.connect
def _ending(**_: Any) -> None:
    """Lanes of a busy group have no end of their own."""
    from delivery.runtime import opened

    here = opened()
    if here is not None:
        here.leave_lanes()


@worker_shutdown.connect
def _ended(**_: Any) -> None:
    """The tasks have ended. Children of a pool end without a word, the main process looks through what is left open."""
    from delivery.runtime import opened

    if _sweep is not None:
        _sweep.stop()
    _leave_shards()
    here = opened()
    if here is not None:
        here.close()


@beat_init.connect
def _in_beat(sender: Any, **_: Any) -> None:
    workers.watch_beat(sender)
