"""The bench of push notifications: what it blames, and all of it once, small, on a whole system."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import push
from bench.generator import Generators
from bench.phases import Bench
from bench.push_provider import Provider
from bench.stack import System
from tests.support.patience import LONG


@pytest.mark.parametrize(
    ("accepted", "late", "blamed"),
    [
        ({"a": [1.0], "b": [1.0]}, {}, {}),
        ({"a": [1.0]}, {}, {"not_accepted": 1}),
        ({"a": [1.0, 2.0], "b": [1.0]}, {}, {"more_than_once": 1}),
        ({"a": [1.0], "b": [1.0]}, {"b": [9.0]}, {"more_than_once": 1}),
    ],
)
def test_what_is_missing_and_what_comes_twice_is_blamed(
    accepted: dict[str, list[float]], late: dict[str, list[float]], blamed: dict[str, int]
) -> None:
    bench = Bench(SimpleNamespace(), SimpleNamespace(), SimpleNamespace(), lambda text: None)
    run = push._Run(bench, SimpleNamespace())
    run._tokens = ["a", "b"]
    run._check(accepted, late)
    assert bench.problems == blamed


@pytest.mark.long  # CI runs test_push_burst.py, a system of the same kind
@pytest.mark.timeout(4 * LONG)
def test_a_small_one(
    own_stack: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"--people 12 --writers 3 --runs 1 --rate 50 --timeout {LONG:.0f}"
    args = push.options().parse_args(words.split())
    with Provider(tmp_path) as provider:
        system = own_stack(fanout=True, beat=True, env=provider.variables())
        bench = Bench(args, System.around(system.stack), Generators(0), lambda text: None)
        result = push.measure(bench, provider)
    assert not result["checks"]["problems"], result["checks"]
    for way in ("rate", "at_once", "group"):
        found = result["ways"][way]["median"]
        assert 0 < found["sent_to_accepted_ms"]["p50"] <= found["sent_to_accepted_ms"]["p99"]
        assert found["notifications_per_worker_cpu_second"] > 0
    assert "every notification was accepted by the provider, once" in capsys.readouterr().out
