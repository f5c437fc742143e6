"""The bench of push notifications: what it blames."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bench import push
from bench.phases import Bench


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
