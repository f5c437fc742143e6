"""The benches of groups on a whole system, small: every figure is there, and a missing mark makes a bad run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench import fanout, flood, lane_tasks, marks, viral
from bench.generator import Generators
from bench.phases import Bench
from bench.stack import System
from bench.viral_people import People, make
from delivery.inbox import dirty_key

Make = Callable[..., Bench]


@pytest.fixture
def bench(stack: Any) -> Iterator[Make]:
    """``bench(module, "--option", …)``: what the module measures with, on the running system."""
    generators: list[Generators] = []

    def on(module: Any, *words: str) -> Bench:
        generators.append(Generators(2))
        args = module.options().parse_args(words)
        return Bench(args, System.around(stack.stack), generators[-1], lambda text: None)

    yield on
    for some in generators:
        some.close()


@pytest.mark.long
def test_tasks(bench: Make) -> None:
    here = bench(fanout, "--seconds", "4", "--warm-up", "2")
    found = lane_tasks.measure(here, lanes=4)
    assert found["idle"]["tasks"] > 0
    assert found["kept"]["tasks"] == 0
    assert found["kept"]["passes"] > 0
    assert found["idle"]["cpu_us_per_message"]["celery_threads"] > 0
    assert found["idle"]["cpu_us_per_message"]["publisher_threads"] > 0
    assert not set(here.problems) - {"lanes_kept_their_tasks"}  # too short to count on it
    assert "a task adds" in lane_tasks.told(found)


def test_a_flood(bench: Make, capsys: pytest.CaptureFixture[str]) -> None:
    here = bench(
        flood, "--flood", "5", "--members", "30", "--others", "1", "--same", "1", "--quiet-members", "3", "--pairs", "1",
        "--rate", "20", "--seconds", "1.5", "--calm", "1",
    )  # fmt: skip
    result = flood.measure(here)
    assert not result["checks"]["problems"]
    figures = result["floods"]["5_closed"]
    assert figures["sent_per_second"] > 0
    assert figures["lanes"]["flooded"].keys() == {"entries", "lag_ms"}
    for kind in ("other", "same", "pair"):
        assert figures["beside"][kind].keys() >= {"before", "during", "after", "ratio"}
    assert "quiet groups, the same lane" in capsys.readouterr().out


@pytest.mark.long
def test_viral(bench: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    here = bench(
        viral, "--recipients", "100", "--group", "41", "--senders", "2", "--within", "0.5", "--online", "10", "--late", "2",
        "--pairs", "1", "--quiet", "2", "--quiet-members", "3", "--rate", "20", "--calm", "0.5",
    )  # fmt: skip
    made: list[People] = []
    monkeypatch.setattr(viral, "make", lambda *of: made.append(make(*of)) or made[0])  # type: ignore[func-returns-value]
    result = viral.measure(here)
    assert not result["checks"]["problems"]
    figures = result["viral"]
    assert (figures["groups"], figures["messages"]) == (3, 3 * result["load"]["times"])
    assert figures["marks_checked"] == 90
    assert figures["deliveries"] == 10 * result["load"]["times"]
    assert len(figures["each_sent_ms"]) == figures["messages"]
    for kind in ("other", "same", "pair"):
        assert figures["beside"][kind].keys() >= {"before", "during", "after"}
    assert "every mark there" in capsys.readouterr().out

    # The same with one mark less. Who came later has read it by now and keeps none.
    (people,) = made
    people.online[0].extend(people.late)
    conversation, _, user, device = next(
        row
        for row in marks.owed(here.system.stack.urls["DATABASE_URL"], people.groups)
        if row[3] not in people.connected
    )
    here.system.valkey("ZREM", dirty_key(user, device), conversation)
    monkeypatch.setattr(viral, "_MARKS_LATE_S", 0.0)
    assert viral._check_marks(here, people) == 88
    assert here.problems == {"marks_missing": 1}
