"""Metrics: what they count, that their series are bounded, and that what documents, dashboard and alerts name is there."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from devtools.paths import REPO
from tests.gateway.metrics import metric, samples, scrape
from tests.gateway.peer import Peer, talking
from tests.gateway.phone import couple, new_id, rest
from tests.observability.manage import managed
from tests.support import plain
from tests.support.patience import PATIENCE, until
from whatsapp.infra import exposition, metrics, workers
from whatsapp.wire import frames

DOCUMENT = REPO / "docs" / "subsystems" / "observability.md"
DASHBOARD = REPO / "docker" / "grafana" / "messaging.json"
ALERTS = REPO / "docker" / "prometheus" / "alerts.yml"
NAME = re.compile(r"\b(?:whatsapp|process|python)_[a-z0-9_]+\b")


# -- the families -----------------------------------------------------------------------------------------------------------


def test_series_are_bounded() -> None:
    counters = metrics.Counters("whatsapp_test_bounded", "Test.", ("a", "b"))
    histogram = metrics.Histogram("whatsapp_test_bounded_seconds", "Test.", ("a",))
    try:
        for number in range(2 * metrics.MAX_SERIES):
            counters.add(str(number), "x")
            histogram.series(str(number)).observe(1)
        assert len(counters.values) == metrics.MAX_SERIES + 1
        assert counters.values["other", "other"] == metrics.MAX_SERIES
        assert len(histogram.known) == metrics.MAX_SERIES + 1
        assert sum(histogram.known["other",].counts) == metrics.MAX_SERIES
    finally:
        metrics.families()
        metrics._families.remove(counters)
        metrics._families.remove(histogram)


def test_a_histogram_says_how_many_were_at_most_each_bound() -> None:
    histogram = metrics.Histogram("whatsapp_test_seconds", "Test.", (), (0.1, 1))
    try:
        for value, number in ((0.1, 2), (0.5, 1), (7, 4)):
            histogram.series().observe(value, number)
        found = {s.name + str(s.labels): s.value for s in histogram.collect().samples}
        assert found["whatsapp_test_seconds_bucket{'le': '0.1'}"] == 2
        assert found["whatsapp_test_seconds_bucket{'le': '1'}"] == 3
        assert found["whatsapp_test_seconds_bucket{'le': '+Inf'}"] == 7
        assert found["whatsapp_test_seconds_count{}"] == 7
        assert found["whatsapp_test_seconds_sum{}"] == pytest.approx(28.7)
    finally:
        metrics._families.remove(histogram)


async def test_one_message_in_thirteen_has_its_latency_taken_whatever_the_batches() -> None:
    class Pending:
        arrived = asyncio.get_running_loop().time()

    series = metrics.STAGES.series("queue")
    before = sum(series.counts)
    direct = f"0193c1f0-0000-8000-8000-{0:012}"
    total = 0
    for size in (1, 1, 5, 12, 13, 14, 40, 1, 300, 2, 2, 2):
        total += size
        metrics.appended([Pending] * size, [direct] * size, 0.0, 0.0, 0.0)
    assert abs(sum(series.counts) - before - total / metrics.STRIDE) <= 1


def test_kinds_of_conversations_are_read_from_their_ids() -> None:
    assert metrics.kind_of("0193c1f0-0000-8000-8000-000000000000") == "direct"
    assert metrics.kind_of("0193c1f0-0000-8400-8000-000000000000") == "group"
    for stranger in ("", "x", "0193c1f0-0000-4000-8000-000000000000", "0193c1f0-0000-8f00-8000-000000000000"):
        assert metrics.kind_of(stranger) == "other"


def test_codes_that_clients_invent_make_no_series() -> None:
    for code in range(3000, 5000, 7):
        metrics.closed(code, "client")
    assert sum(1 for _, by in metrics.CLOSES.values if by == "client") <= 6


def test_a_source_that_fails_hides_only_itself() -> None:
    def broken() -> int:
        raise RuntimeError

    metrics.source("whatsapp_test_broken", "Test.", broken)
    try:
        found = samples(exposition.generate_latest().decode())
        assert "whatsapp_test_broken" not in found
        assert any(name.startswith("whatsapp_build_info") for name in found)
    finally:
        metrics.forget("whatsapp_test_broken")


# -- ports of workers -------------------------------------------------------------------------------------------------------


async def _get(port: int, path: str) -> httpx.Response:
    return await rest(f"http://127.0.0.1:{port}", "GET", path)


async def test_the_port_says_which_part_is_missing() -> None:
    parts = {"broker": True, "sweep": True}
    port = exposition.serve("127.0.0.1", 0, lambda: parts)
    assert (await _get(port, "/health/ready")).status_code == 200
    parts["sweep"] = False
    answer = await _get(port, "/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {"status": "unavailable", "parts": parts, "missing": ["sweep"]}
    assert (await _get(port, "/health/live")).status_code == 200
    assert (await _get(port, "/other")).status_code == 404
    assert "whatsapp_build_info" in (await _get(port, "/metrics")).text
    assert exposition.serve("127.0.0.1", port, lambda: parts) == 0  # taken: logged, not fatal


def test_depths_without_a_broker_are_unknown() -> None:
    from celery import Celery

    app = Celery("test", broker="redis://127.0.0.1:1/0")
    assert workers.Depths(app, ["drain"])() == {}


# -- a whole system ---------------------------------------------------------------------------------------------------------


def _documented() -> set[str]:
    return set(NAME.findall(DOCUMENT.read_text()))


def _family(name: str) -> str:
    return re.sub(r"_(bucket|count|sum|created)$", "", name)


async def _exposed(urls: Iterable[str]) -> dict[str, Any]:
    """Every family by the name of its samples: (type, help, label names)."""
    found: dict[str, Any] = {}
    async with plain.AsyncClient(timeout=PATIENCE) as client:
        for url in urls:
            for family in text_string_to_metric_families((await client.get(url)).text):
                name = family.name + "_total" * (family.type == "counter")
                labels = {label for sample in family.samples for label in sample.labels}
                found[name] = (family.type, family.documentation, labels)
    return found


async def test_what_documents_dashboard_and_alerts_name_is_exposed(stack: Any) -> None:
    async with talking(stack) as (ann, bob, conversation):
        sent = await ann.say(conversation)
        await bob.messages(1)
        await bob.ack(conversation, sent.seq or 0)
        await ann.attempt(new_id())
        await bob.raw(b"?")
        await bob.error("bad_request")
    await managed(
        stack, "shell", "-c", "import whatsapp.celery\nfrom delivery.tasks import expire\nexpire.delay()"
    )
    ports = stack.stack.describe()["metrics"]
    assert {"gateway-1", "gateway-2", "api-1", "worker-1", "beat"} <= set(ports)
    done = 'whatsapp_celery_tasks_total{state="success",task="delivery.tasks.expire"}'

    async def ran() -> bool:
        return (await scrape(ports["worker-1"])).get(done, 0) > 0

    await until(ran, "the worker's main process shows the task", 60)
    exposed = await _exposed(ports.values())
    ours = {name for name in exposed if name.startswith("whatsapp_")}
    for name in ours:
        kind, documentation, labels = exposed[name]
        assert documentation.endswith("."), name
        assert not labels & {"user", "device", "conversation", "message", "address"}, name
        assert (kind == "counter") == name.endswith("_total"), name
    texts = {
        "dashboard": DASHBOARD.read_text(),
        "alerts": ALERTS.read_text(),
        "document": DOCUMENT.read_text(),
    }
    for where, text in texts.items():
        for name in set(NAME.findall(text)):
            assert _family(name) in exposed, (where, name)
        for name, selector in re.findall(r"(whatsapp_\w+)\{([^}]*)\}", text.replace('\\"', '"')):
            labels = set(re.findall(r'(\w+)\s*=~?\s*"', selector))
            known = exposed[_family(name)][2]
            assert not known or labels <= known, (where, name, labels - known)
    missing = {name for name in ours if name not in _documented()}
    assert not missing, f"not in {DOCUMENT.name}: {missing}"


async def test_figures_of_a_conversation(stack: Any) -> None:
    names = {
        "stored": 'whatsapp_messages_total{kind="direct",outcome="stored"}',
        "duplicate": 'whatsapp_messages_total{kind="direct",outcome="duplicate"}',
        "not_found": 'whatsapp_messages_total{kind="other",outcome="not_found"}',
        "bad": 'whatsapp_errors_total{code="bad_request"}',
        "opened": 'whatsapp_connections_opened_total{codec="protobuf",version="3.2"}',
        "open": 'whatsapp_connections{codec="protobuf",version="3.2"}',
        "bye": 'whatsapp_closes_total{by="client",code="1000"}',
        "append": 'whatsapp_message_stage_seconds_count{stage="append"}',
        "mark": 'whatsapp_message_stage_seconds_count{stage="mark"}',
        "size": 'whatsapp_batch_size_sum{name="append"}',
    }
    url = stack.gateways["gateway-1"]["metrics"]
    ann, _, conversation = await couple(stack)
    before = await scrape(url)
    async with await Peer.open(stack.gateways["gateway-1"]["ws"], ann, "protobuf") as peer:
        sent = await peer.say(conversation)
        again = peer.message(conversation, "hello", message_id=sent.message_id)
        assert (await peer.ask(again)).duplicate
        assert isinstance(await peer.attempt(new_id()), frames.Error)
        for _ in range(30):
            await peer.say(conversation)
        await peer.raw(b"\xff")
        await peer.error("bad_request")
        during = await scrape(url)
        assert during[names["open"]] == before.get(names["open"], 0) + 1
        assert during["whatsapp_sessions_open"] == before["whatsapp_sessions_open"] + 1
        assert during["whatsapp_hot_up"] == 1
        assert during['whatsapp_pool_connections{pool="engine",state="idle"}'] >= 0
        assert during["whatsapp_outbox_lag_seconds"] < 60

    async def gone() -> Any:
        found = await scrape(url)
        return found if found[names["bye"]] > before.get(names["bye"], 0) else None

    after = await until(gone, "the close was counted")
    grown = {key: after.get(name, 0) - before.get(name, 0) for key, name in names.items()}
    assert grown["stored"] == grown["mark"] == 31
    assert (grown["duplicate"], grown["not_found"], grown["bad"]) == (1, 1, 1)
    assert (grown["opened"], grown["open"], grown["bye"]) == (1, 0, 1)
    assert grown["append"] == grown["size"] == 32  # the duplicate was asked for too
    for stage in ("queue", "sent"):
        name = f'whatsapp_message_stage_seconds_count{{stage="{stage}"}}'
        assert after[name] - before.get(name, 0) >= 2
    assert await metric(stack, "gateway-2", "whatsapp_event_loop_lag_seconds_count") > 0


def test_the_dashboard_and_the_alerts_are_well_formed() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(panels) >= 15
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels:
        assert panel["title"]
        assert panel["targets"], panel["title"]
        assert all(target["expr"] for target in panel["targets"])
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert len(rules) >= 10
    document = DOCUMENT.read_text()
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert rule["alert"] in document, f"the runbook says nothing about {rule['alert']}"
