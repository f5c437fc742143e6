"""The fixtures ``stack`` and ``own_stack``: they start quickly, are apart from each other, and what a test kills stays dead."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from devtools.processes import children, is_alive
from devtools.stack import QUEUES
from tests.support import early
from tests.support.stack import System


def _live(base: str) -> bool:
    try:
        with urllib.request.urlopen(base + "/health/live", timeout=3) as response:
            return response.status == 200
    except OSError:
        return False


def test_a_shared_system_has_every_part(stack: System) -> None:
    assert set(stack.processes) == {
        "gateway-1",
        "gateway-2",
        "api-1",
        "worker-1",
        "fanout-1",
        "beat",
        "postgres",
        "valkey",
    }
    assert all(stack.processes.values())
    assert _live(stack.http)
    assert all(_live(gateway["http"]) for gateway in stack.gateways.values())
    assert stack.sql("SELECT count(*) FROM django_migrations") != "0"


def test_notifications_have_a_worker_of_their_own_where_apps_are_named(
    own_stack: Callable[..., System],
) -> None:
    """The twin without apps is the system above."""
    own = own_stack(
        gateways=0, fanout=False, beat=False, env={"PUSH_APPS": "android", "PUSH_ANDROID_PROVIDER": "fcm"}
    )
    assert set(own.processes) == {"worker-1", "push-1", "postgres", "valkey"}
    assert _live(own.stack.describe()["metrics"]["push-1"].removesuffix("/metrics"))
    for name, queues in (("push-1", {"push"}), ("worker-1", set(QUEUES.split(",")))):
        command = Path(f"/proc/{own.processes[name]}/cmdline").read_text().split("\0")
        assert set(command[command.index("-Q") + 1].split(",")) == queues
    own.stop_part("push-1")
    assert own.processes["push-1"] is None


def test_a_system_of_ones_own(own_stack: Callable[..., System], stack: System) -> None:
    started = time.monotonic()
    own = own_stack(gateways=2, worker=False, env={"SOME_OVERRIDE": "1"}, limits={"messages_per_minute": 7})
    assert time.monotonic() - started < (
        25 if early.WORKER else 8
    )  # about 3 s on an idle machine; it must stay small enough to have one a test
    assert set(own.processes) == {"gateway-1", "gateway-2", "postgres", "valkey"}
    assert own.http != stack.http
    assert own.database_url != stack.database_url
    assert own.env["SOME_OVERRIDE"] == "1"
    assert '"messages_per_minute": 7' in own.env["WHATSAPP_LIMITS"]

    own.kill("gateway-1")
    assert own.processes["gateway-1"] is None
    assert not _live(own.gateways["gateway-1"]["http"])
    assert _live(own.http)  # the other one has the port alone
    own.restart("gateway-1")
    assert _live(own.gateways["gateway-1"]["http"])

    offspring = children(own.processes["postgres"] or 0)
    assert offspring
    own.kill("postgres")
    assert not any(map(is_alive, offspring))
    own.restart("postgres")
    assert own.sql("SELECT 1") == "1"

    own.stop()
    assert own.stack.strays() == []
    assert _live(stack.http)
