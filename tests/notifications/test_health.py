"""How apps are, as staff see it: told by the processes that send, kept by the hot node for a day."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.conf import settings as configured
from prometheus_client import generate_latest

from notifications import figures, health
from notifications.health import AppHealth, Reporter
from notifications.lane import Lane
from notifications.senders.interface import Outcome, PushApp, Result, Target
from tests.notifications.dispatching import DOWN, Recorder, push
from tests.support.patience import until
from whatsapp.infra import clock, hot_sync
from whatsapp.infra.hot_cluster import open_hot

IOS, WEB = PushApp("ios", "apns", {}), PushApp("web", "webpush", {})
TO = Target("user", "device", "ios", "token")


@pytest.fixture
def url(valkey_server: Any, settings: Any) -> str:
    settings.HOT_URL = valkey_server.url()
    settings.PUSH_APPS = {"ios": IOS, "web": WEB}
    with hot_sync.client(settings.HOT_URL) as client:
        client.delete(health._KEY)
    return settings.HOT_URL


@pytest.fixture
async def hot(url: str) -> AsyncIterator[Any]:
    hot = open_hot(url)
    await hot.start()
    await until(lambda: hot.term, "the hot node is there")
    yield hot
    await hot.stop()


def unknown(app: PushApp) -> AppHealth:
    return AppHealth(app.name, app.provider, "unknown", None, None, "", 0, 0, 0)


async def told() -> list[AppHealth]:
    return await asyncio.to_thread(health.health)


async def test_nothing_is_known_before_something_was_sent(hot: Any) -> None:
    assert await told() == [unknown(IOS), unknown(WEB)]


async def test_what_was_sent_is_shown(hot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "REPORT_S", 0.01)
    sender = Recorder({"dead": Result(Outcome.GONE, "Unregistered", 410)})
    lane = Lane(IOS, sender)
    reporter = Reporter(hot, {"ios": lane})
    began = clock.now_ms()
    await lane.send(TO, push(), None)
    await lane.send(TO._replace(token="dead"), push(), None)
    reporter.due()

    async def shown() -> Any:
        (ios, web) = await told()
        return ios.processes and (ios, web)

    ios, web = await until(shown, "the report is there")
    assert (ios.state, ios.error, ios.accepted, ios.failed) == ("closed", "Unregistered", 1, 1)
    assert began <= ios.success_at <= clock.now_ms()
    assert began <= ios.error_at <= clock.now_ms()
    assert web == unknown(WEB)


async def test_the_worst_of_several_processes_is_shown(hot: Any) -> None:
    well, ill = Lane(IOS, Recorder()), Lane(IOS, Recorder({"token": DOWN}))
    await well.send(TO, push(), None)
    for _ in range(5):
        await ill.send(TO, push(), None)
    for process, lane in (("a", well), ("b", ill)):
        reporter = Reporter(hot, {"ios": lane})
        reporter._process = process
        await reporter.report()
    (ios, _) = await told()
    assert (ios.state, ios.error, ios.accepted, ios.failed) == ("open", DOWN.reason, 1, 5)
    assert ios.processes == 2
    assert 'whatsapp_push_circuit_state{app="ios"} 2.0' in generate_latest().decode()


async def test_processes_that_ended_long_ago_are_forgotten(hot: Any) -> None:
    row = {
        "at": clock.now_ms() - health._KEPT_MS - 1,
        "state": 2,
        "success_at": 1,
        "error_at": 1,
        "error": "x",
    }
    row |= {"accepted": 1, "failed": 1}
    await hot.run([("HSET", health._KEY, "ios long-ago", json.dumps(row), "ios broken", "?")])
    assert await told() == [unknown(IOS), unknown(WEB)]
    reporter = Reporter(hot, {"ios": Lane(IOS, Recorder())})
    await reporter.report()
    with hot_sync.client(configured.HOT_URL) as client:
        assert client.hkeys(health._KEY) == [f"ios {reporter._process}".encode()]


async def test_a_hot_node_that_is_away_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "REPORT_S", 0.0)
    hot = open_hot("redis://127.0.0.1:1/0")  # never started
    reporter = Reporter(hot, {"ios": Lane(IOS, Recorder())})
    reporter.due()
    await until(lambda: reporter._task is None, "the attempt is over")


async def test_pushes_are_counted_by_app(hot: Any) -> None:
    sender = Recorder()
    sender.gate.clear()
    lane = Lane(PushApp("counted", "apns", {}, concurrency=1), sender)
    tasks = [asyncio.create_task(lane.send(TO, push(), None)) for _ in range(3)]
    await until(lambda: sender.begun, "one is under way")
    shown = generate_latest().decode()
    assert 'whatsapp_push_in_flight{app="counted"} 1.0' in shown
    assert 'whatsapp_push_waiting{app="counted"} 2.0' in shown
    sender.gate.set()
    await asyncio.gather(*tasks)
    assert sum(figures.ANSWER_SECONDS.series("counted").counts) == 3
