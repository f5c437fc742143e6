"""``manage.py health`` names what is missing. (`/health/ready` of a gateway: test_logs; of a worker: test_metrics.)"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.gateway.phone import rest
from tests.observability.manage import manage
from tests.support.cassandra import on_cassandra
from tests.support.patience import until

_LOG = {"log": True} if on_cassandra() else {}


async def test_all_parts_answer(stack: Any) -> None:
    async def well() -> Any:
        done = await asyncio.to_thread(manage, stack, "health", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    found = await until(well, "everything answers", 60)  # a worker may be busy for a moment
    assert found == {
        "parts": {"database": True, "hot": True, **_LOG, "broker": True, "worker": True, "sweep": True},
        "missing": [],
    }
    for name, url in stack.stack.describe()["metrics"].items():
        base = url.removesuffix("/metrics")
        assert (await rest(base, "GET", "/health/live")).status_code == 200, name

        async def ready(base: str = base) -> bool:
            return (await rest(base, "GET", "/health/ready")).status_code == 200

        await until(ready, f"{name} is ready", 30)


def test_what_is_missing_is_named(stack: Any) -> None:
    nowhere = {"HOT_URL": "redis://127.0.0.1:1/0", "BROKER_URL": "redis://127.0.0.1:1/1"}
    done = manage(stack, "health", env=nowhere)
    assert done.returncode == 1
    lines = dict(line.split() for line in done.stdout.splitlines())
    assert lines == {
        "database": "ok",
        "hot": "MISSING",
        **dict.fromkeys(_LOG, "ok"),
        "broker": "MISSING",
        "worker": "MISSING",
        "sweep": "MISSING",
    }
