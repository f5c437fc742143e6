"""What a plan keeps in memory, however much was written to those whom it is about."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.contract.harness import PostgresHarness
from tests.notifications.world import World, world_of

MIB = 1 << 20
MEMBERS, GROUPS, MESSAGES, BYTES = 16, 12, 8, 60_000


@pytest.fixture
async def world(
    postgres_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch, django_db_blocker: Any
) -> AsyncIterator[World]:
    harness = PostgresHarness(postgres_url)
    with django_db_blocker.unblock():
        async with harness, world_of(harness.store, postgres_url, valkey_url, monkeypatch) as world:
            yield world


async def test_a_plan_does_not_hold_everything_that_was_written(world: World) -> None:
    """What was said once in a group is read for each of its members: a few messages would fill the memory of a worker."""
    ann, members = await world.account(), [await world.person() for _ in range(MEMBERS)]
    for _ in range(GROUPS):
        group = await world.group(ann, *(one.user for one in members))
        for _ in range(MESSAGES):
            await world.say(group, ann, body=b"x" * BYTES)
    users = [one.user for one in members]
    tracemalloc.start()
    try:
        plan = await world.plan(*users)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(plan.pushes) == MEMBERS * GROUPS
    assert all(push.badge == GROUPS * MESSAGES for _, push, *_ in plan.pushes)
    read = MEMBERS * GROUPS * MESSAGES * BYTES
    assert read > 80 * MIB
    assert peak < 40 * MIB
