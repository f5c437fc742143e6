"""Celery tasks of push notifications. Each may run twice or never."""

from __future__ import annotations

import uuid

from celery import shared_task

from delivery import tasks
from notifications.services import pruning, testing
from whatsapp.infra.clock import now_ms


@shared_task
def test_push(device_id: str) -> str:
    """Send a test notification to a device. Returns what came of it, "" when it has no push target."""
    result = testing.send(uuid.UUID(device_id))
    return "" if result is None else f"{result.outcome.value} {result.reason}".strip()


def test_push_soon(device_id: uuid.UUID) -> None:
    """:func:`test_push` from anywhere: does not wait for the broker."""
    tasks.enqueue_soon(test_push, str(device_id))


@shared_task
def prune() -> int:
    """Delete what has no effect any more. Returns how many rows."""
    return pruning.drop_ended() + pruning.drop_states(now_ms())
