"""The broker on Sentinel: its master dies, and workers and gateways go on with the replica, by themselves."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from devtools.paths import REPO
from devtools.processes import Child, Spec
from tests.support.patience import until
from tests.support.sentinel import SentinelBroker
from whatsapp.settings import servers

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


@pytest.fixture
def worker(broker: SentinelBroker, tmp_path: Path) -> Iterator[Child]:
    child = Child(
        Spec(
            name="worker",
            argv=[
                sys.executable, "-m", "celery", "-A", "tests.support.sentinel_worker", "worker", "--pool", "solo",
                "--without-mingle", "--without-gossip",
            ],
            env={**os.environ, **broker.env, "PYTHONPATH": str(REPO)},
            cwd=REPO,
            log=tmp_path / "worker.log",
            ready=lambda child: "ready." in child.output(),
        )
    )  # fmt: skip
    child.start()
    yield child
    child.kill()


@pytest.mark.slow
async def test_tasks_are_run_before_and_after_a_failover(
    broker: SentinelBroker, worker: Child, tmp_path: Path
) -> None:
    await until(broker.ready, "the Sentinels know each other", PATIENCE_S)
    app = client(broker)

    def publish(name: str) -> str:
        app.send_task("noted.run", (str(tmp_path), name), retry=False)
        return name

    def ran(name: str) -> bool:
        return (tmp_path / f"ran-{name}").exists()

    await asyncio.to_thread(publish, "before")
    await until(lambda: ran("before"), "a task is run", PATIENCE_S)
    old = await asyncio.to_thread(broker.kill_master)
    await until(lambda: broker.master() is not old, "the replica is the master", PATIENCE_S)

    async def published() -> Any:
        try:
            return await asyncio.to_thread(publish, "after")
        except Exception:
            return None  # the old connection says so once

    await until(published, "a task is published", PATIENCE_S)
    await until(lambda: ran("after"), "the worker has found the new master", PATIENCE_S)
    assert worker.pid, "by itself"


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
