"""A change of a group that Django code made is told to its lane without holding up the loop or the request for long."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from delivery import changes, tasks
from delivery.lanes import Entry, queue_key
from delivery.store.values import Logged
from tests.faults.engine import World
from tests.gateway.phone import new_id
from tests.support.patience import until


def entry() -> Entry:
    nobody = "00000000-0000-0000-0000-000000000000"
    conversation = new_id()[:-2] + "00"  # lane 0
    event = Logged(conversation, 1, 0, new_id(), nobody, new_id(), "info", b"", 1, 1, 0, b"\x80")
    return Entry(new_id(), 1, "", [event])


async def test_a_broker_that_hangs_stalls_no_sockets(
    world: World, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a gateway async_to_sync runs on the loop that serves the sockets."""
    settings.HOT_URL = world.hot_url
    submitted: list[tuple[int, str]] = []

    def hangs(lane: int, token: str) -> None:
        time.sleep(1.0)
        submitted.append((lane, token))

    monkeypatch.setattr(tasks, "submit_lane", hangs)
    gaps = [0.0]

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.01)
            gaps.append(loop.time() - before)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await sync_to_async(changes._tell, thread_sensitive=False)(entry())
    took = time.monotonic() - began
    await asyncio.sleep(0.05)
    watching.cancel()
    assert max(gaps) < 0.5, "the loop stood still"
    assert took < 0.8, "the request waited for the broker"
    assert world.redis.xlen(queue_key(0)) == 1
    await until(lambda: len(submitted) == 1, "the task is on its way")


async def test_a_hot_node_that_answers_nothing_holds_no_request(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "ANSWER_TIMEOUT_S", 0.5, raising=False)
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    settings.HOT_URL = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    tell = sync_to_async(changes._tell, thread_sensitive=False)
    told = asyncio.create_task(tell(entry()))
    done, _ = await asyncio.wait([told], timeout=5)
    server.close()
    assert done, "the request waits for ever"


async def test_c7_what_waits_for_a_broker_that_hangs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    submitted: list[int] = []

    def hangs(lane: int, token: str) -> None:
        released.wait(10)
        submitted.append(lane)

    monkeypatch.setattr(tasks, "submit_lane", hangs)
    for lane in range(1_000):
        tasks.submit_lane_soon(lane, "token")
    released.set()
    await until(lambda: 255 in submitted, "the first ones get through")
    assert len(submitted) < 300
