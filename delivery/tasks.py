"""Celery tasks of the engine. Each may run twice or never: what it does can be derived again from durable state."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

import msgspec
from celery import shared_task

from delivery.drain import DrainRequest, write_backlog
from delivery.runtime import runtime
from delivery.store.sync import store
from whatsapp.infra import clock
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.retention import purged
from whatsapp.infra.threads import shown
from whatsapp.wire.versions import codec_by_id

log = logging.getLogger(__name__)

BATCH = 5_000
#: Publishes that wait for the broker; what comes above is dropped, as if the broker had lost it.
MAX_WAITING = 256


class _Publisher:
    """A thread that talks to the broker. A publish blocks, and to a broker that is frozen it blocks for ever: neither a loop,
    nor a request, nor the threads that look up names for the loop may wait for it."""

    def __init__(self) -> None:
        self.pid = os.getpid()  # a thread does not come along through a fork
        self._waiting: queue.Queue[tuple[Callable[..., None], tuple[Any, ...]]] = queue.Queue(MAX_WAITING)
        threading.Thread(target=shown(self._run), name="publisher", daemon=True).start()

    def add(self, publish: Callable[..., None], *args: Any) -> None:
        try:
            self._waiting.put_nowait((publish, args))
        except queue.Full:
            log.warning("the broker is too slow: a task was not enqueued")

    def _run(self) -> None:
        while True:
            publish, args = self._waiting.get()
            publish(*args)


_publisher: _Publisher | None = None
_lock = threading.Lock()


def _soon(publish: Callable[..., None], *args: Any) -> None:
    global _publisher
    with _lock:
        if _publisher is None or _publisher.pid != os.getpid():
            _publisher = _Publisher()
    _publisher.add(publish, *args)


def enqueue(task: Any, *args: Any) -> None:
    """Enqueue a task that is no great loss: what it does is looked for anyway. Blocks; never raises."""
    try:
        task.apply_async(args, retry=False)
    except Exception as error:
        log.warning("a task could not be enqueued: %s: %s", task.name, type(error).__name__)


def enqueue_soon(task: Any, *args: Any) -> None:
    """:func:`enqueue` from anywhere: does not wait for the broker."""
    _soon(enqueue, task, *args)


@shared_task(name="delivery.tasks.drain", expires=60)
def drain(request: dict[str, object]) -> int:
    """Write a device's backlog as encoded batches for its gateway. Returns the number of batches."""
    here = runtime()
    wanted = msgspec.convert(request, DrainRequest)
    return here.run(write_backlog(here.store, here.hot, codec_by_id(wanted.codec_id), wanted), timeout=60)


def submit_drain(request: DrainRequest) -> None:
    """Enqueue :func:`drain`. Blocks like every publish; never raises."""
    try:
        drain.apply_async((msgspec.to_builtins(request),), retry=False)
    except Exception as error:
        log.warning("the drain task could not be enqueued: %s", error)


def submit_drain_soon(request: DrainRequest) -> None:
    """:func:`submit_drain` from anywhere: does not wait for the broker."""
    _soon(submit_drain, request)


@shared_task(name="delivery.tasks.fanout_lane", expires=60)
def fanout_lane(lane: int, token: str) -> int:
    """Work on a lane until it is empty. ``token`` is what the gateway left as its lease. Returns the number of passes."""
    here = runtime()
    return here.run(here.lanes().run(lane, token), timeout=None)


def submit_lane(lane: int, token: str) -> None:
    """Enqueue :func:`fanout_lane`. Blocks; never raises: lanes without a holder are looked for."""
    try:
        fanout_lane.apply_async((lane, token), retry=False)
    except Exception as error:
        log.warning("the task of a lane could not be enqueued: %s", error)


def submit_lane_soon(lane: int, token: str) -> None:
    """:func:`submit_lane` from anywhere: does not wait for the broker."""
    _soon(submit_lane, lane, token)


@shared_task(name="delivery.tasks.expire")
def expire() -> int:
    """Delete what is older than the retention, a batch at a time."""
    total = 0
    while deleted := store.expire(clock.now_ms(), LIMITS.retention_ms, BATCH):
        total += deleted
    purged("messages", total)
    return total


@shared_task(name="delivery.tasks.vanish")
def vanish() -> int:
    """Empty messages that were not to be kept for longer, a batch at a time."""
    total = 0
    while emptied := store.vanish(clock.now_ms()):
        total += emptied
    purged("vanishing", total)
    return total


@shared_task(name="delivery.tasks.trim_outbox")
def trim_outbox() -> int:
    """Delete outbox rows and watermarks that nothing can need any more."""
    trimmed = store.trim_outbox(clock.now_ms())
    purged("outbox", trimmed)
    return trimmed
