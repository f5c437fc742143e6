"""The broker on Sentinel: its master dies, and workers and gateways go on with the replica, by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests.gateway.peer import until
from tests.support.sentinel import SentinelBroker
from tests.support.stack import System
from whatsapp.settings import servers

pytestmark = pytest.mark.needs_system

PATIENCE_S = 60.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[SentinelBroker]:
    with SentinelBroker(tmp_path) as broker:
        yield broker


def client(broker: SentinelBroker) -> Celery:
    """As the project's own application is configured."""
    app = Celery("test", broker=broker.url, set_as_current=False)
    app.conf.broker_transport_options = servers.broker_options(broker.url, broker.env)
    app.conf.task_ignore_result = True
    return app


@pytest.mark.slow
async def test_tasks_are_run_before_and_after_a_failover(broker: SentinelBroker) -> None:
    await until(broker.ready, "the Sentinels know each other", PATIENCE_S)
    app = client(broker)
    with System(gateways=1, worker=True, env=broker.env) as system:

        def run(name: str) -> bool:
            return f"[{name}] succeeded" in system.log("worker-1")

        def publish(name: str) -> str:
            app.send_task("delivery.tasks.trim_outbox", queue="maintenance", task_id=name, retry=False)
            return name

        first = await asyncio.to_thread(publish, "before")
        await until(lambda: run(first), "a task is run", PATIENCE_S)
        old = await asyncio.to_thread(broker.kill_master)
        await until(lambda: broker.master() is not old, "the replica is the master", PATIENCE_S)

        async def published() -> Any:
            try:
                return await asyncio.to_thread(publish, "after")
            except Exception:
                return None  # the old connection says so once

        second = await until(published, "a task is published", PATIENCE_S)
        await until(lambda: run(second), "the worker has found the new master", PATIENCE_S)
        assert system.processes["worker-1"], "by itself"
        assert system.processes["gateway-1"]


async def test_twin_a_url_of_the_master_alone_is_lost_with_it(broker: SentinelBroker) -> None:
    """Without Sentinel in its URL nobody tells a publisher where the master is now."""
    await until(broker.ready, "the Sentinels know each other", PATIENCE_S)
    app = Celery("twin", broker=broker.master().url(), set_as_current=False)
    options = {"socket_timeout": 1, "socket_connect_timeout": 1}
    app.conf.broker_transport_options = options
    old = await asyncio.to_thread(broker.kill_master)
    await until(lambda: broker.master() is not old, "the replica is the master", PATIENCE_S)
    with pytest.raises(Exception, match=r"(?i)connect|refused"):
        await asyncio.to_thread(lambda: app.send_task("delivery.tasks.trim_outbox", retry=False))
    found = client(broker)
    await asyncio.to_thread(lambda: found.send_task("delivery.tasks.trim_outbox", retry=False))
