"""Celery tasks of push notifications. Each may run twice or never: shards that nobody holds are looked for."""

from __future__ import annotations

import uuid

from celery import shared_task

from delivery import tasks
from notifications.running import running
from notifications.services import pruning, testing
from whatsapp.infra.clock import now_ms
from whatsapp.infra.retention import purged


@shared_task(name="notifications.tasks.push", expires=60)
def push(shard: int, token: str) -> bool:
    """Take a shard of those who are due. ``token`` is what was left as its lease. The task ends at once: its process works on the
    shard until nobody is due, and holds no place of the pool meanwhile."""
    return running().take(shard, token)


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
    targets, states = pruning.drop_ended(), pruning.drop_states(now_ms())
    purged("push_targets", targets)
    purged("push_states", states)
    return targets + states
