"""Celery tasks of the engine. Each may run twice or never: what it does can be derived again from durable state."""

from __future__ import annotations

import logging

import msgspec
from celery import shared_task

from delivery.drain import DrainRequest, write_backlog
from delivery.runtime import runtime
from delivery.store.sync import store
from whatsapp.infra import clock
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.codec import CODECS

log = logging.getLogger(__name__)

BATCH = 5_000


@shared_task(name="delivery.tasks.drain", expires=60)
def drain(request: dict[str, object]) -> int:
    """Write a device's backlog as encoded batches for its gateway. Returns the number of batches."""
    here = runtime()
    wanted = msgspec.convert(request, DrainRequest)
    return here.run(write_backlog(here.store, here.hot, CODECS[wanted.codec], wanted), timeout=60)


def submit_drain(request: DrainRequest) -> None:
    """Enqueue :func:`drain`. Blocks like every publish, so call it off the loop; never raises."""
    try:
        drain.apply_async((msgspec.to_builtins(request),), retry=False)
    except Exception as error:
        log.warning("the drain task could not be enqueued: %s", error)


@shared_task(name="delivery.tasks.fanout_lane", expires=60)
def fanout_lane(lane: int, token: str) -> int:
    """Work on a lane until it is empty. ``token`` is what the gateway left as its lease. Returns the number of passes."""
    here = runtime()
    return here.run(here.lanes().run(lane, token), timeout=None)


def submit_lane(lane: int, token: str) -> None:
    """Enqueue :func:`fanout_lane`. Blocks, so call it off the loop; never raises: lanes without a holder are looked for."""
    try:
        fanout_lane.apply_async((lane, token), retry=False)
    except Exception as error:
        log.warning("the task of a lane could not be enqueued: %s", error)


@shared_task(name="delivery.tasks.expire")
def expire() -> int:
    """Delete what is older than the retention, a batch at a time."""
    total = 0
    while deleted := store.expire(clock.now_ms(), LIMITS.retention_ms, BATCH):
        total += deleted
    return total


@shared_task(name="delivery.tasks.trim_outbox")
def trim_outbox() -> int:
    """Delete outbox rows and watermarks that nothing can need any more."""
    return store.trim_outbox(clock.now_ms())
