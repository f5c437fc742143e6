"""A process at the wrong store is told so: when it starts, and while it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

from delivery import whereabouts
from delivery.store.moving import COMPARED, COPYING, FENCED, FINAL, MOVED, RETURNING
from delivery.whereabouts import judge, look_when_seen
from tests.contract.people import new_id
from whatsapp.infra.bus import Bus, alive_key

STATES = ("", COPYING, FENCED, COMPARED, MOVED, RETURNING, FINAL)


@pytest.mark.parametrize(
    ("store", "events", "right"),
    [
        ("postgres", True, {"", COPYING, FENCED, COMPARED}),
        ("postgres", False, {"", COPYING, FENCED, COMPARED}),
        ("cassandra", True, {MOVED, FINAL}),
        ("cassandra", False, {"", MOVED, FINAL}),
    ],
)
def test_which_store_is_right_in_which_state(store: str, events: bool, right: set[str]) -> None:
    assert {state for state in STATES if not judge(store, state, events)} == right


async def test_a_process_is_seen_before_it_looks(
    valkey_url: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LOG_STORE = "cassandra"
    process = new_id()
    bus = Bus(valkey_url, process)
    seen: list[bool] = []

    class Pool:
        @asynccontextmanager
        async def connection(self) -> AsyncIterator[Any]:
            with redis.Redis.from_url(valkey_url) as hot:
                seen.append(bool(hot.exists(alive_key(process))))
            yield self

        async def execute(self, _: str) -> Any:
            return self

        async def fetchone(self) -> tuple[str, bool]:
            return RETURNING, False

    await bus.start()
    assert "on its way back" in await look_when_seen(bus, Pool())  # type: ignore[arg-type]
    await bus.stop()
    assert seen == [True]


async def test_a_hot_node_that_is_away_holds_no_start_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whereabouts, "SEEN_S", 0.1)
    bus = Bus("redis://127.0.0.1:1/0", new_id())
    await bus.start()
    assert not await bus.shown(whereabouts.SEEN_S)
    await bus.stop()


def test_it_is_said_what_to_do() -> None:
    assert "start with LOG_STORE=cassandra" in judge("postgres", MOVED, True)
    assert "start with LOG_STORE=postgres, or move it" in judge("cassandra", COPYING, False)
    assert "wait for manage.py move_log" in judge("cassandra", FENCED, True)
