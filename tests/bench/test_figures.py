"""Figures of several runs: medians and spreads of numbers, series left where they are."""

from __future__ import annotations

from bench.figures import combine


def test_runs_with_series_of_different_lengths_are_combined() -> None:
    runs = [
        {"all_back_s": 9.0, "by_second_ms": {"sent": [1.0, 2.0]}, "happened": {"closed_1006": 4}},
        {"all_back_s": 7.0, "by_second_ms": {"sent": [3.0]}, "happened": {"closed_1006": 6, "timed_out": 1}},
    ]

    combined = combine(runs)

    assert combined["median"] == {
        "all_back_s": 8,
        "by_second_ms": {},
        "happened": {"closed_1006": 5, "timed_out": 1},
    }
    assert combined["spread"]["all_back_s"] == [7.0, 9.0]
    assert combined["runs"] == runs
