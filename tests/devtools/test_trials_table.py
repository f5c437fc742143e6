"""The table of ``./dev faults``: what broke stands out, and nothing is averaged away."""

from __future__ import annotations

from typing import Any

from devtools.trials_table import HEAD, table


def _trial(fault: str, seed: int, gap_s: float = 0.5, problems: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "fault": fault,
        "seed": seed,
        "confirmed": 100 + seed,
        "lasted_s": 20.04,
        "gap_s": gap_s,
        "recovery_s": 1.0,
        "quiet_s": 0.4,
        "grown_mb": {"gateway-1": seed, "beat": 0},
        "problems": list(problems),
    }


def test_a_line_for_each_fault_with_the_median_and_the_worst_of_its_seeds() -> None:
    trials = [_trial("kill", 1, 0.1), _trial("freeze", 1), _trial("kill", 2, 9.9), _trial("kill", 3, 0.3)]

    lines = table(trials).splitlines()

    assert lines == [
        *HEAD,
        "| `kill` | 3 of 3: 1 to 3 | 101 | 20.0 (20.0) | 0.3 (9.9) | 1.0 (1.0) | 0.4 (0.4) | 3 |",
        "| `freeze` | 1 of 1: 1 | 101 | 20.0 (20.0) | 0.5 (0.5) | 1.0 (1.0) | 0.4 (0.4) | 1 |",
    ]


def test_a_seed_that_broke_the_contract_is_named() -> None:
    trials = [_trial("kill", 1), _trial("kill", 2, problems=("C1: lost",)), _trial("kill", 3)]

    assert "| 2 of 3: 1, 3; **broken**: 2 |" in table(trials)
    assert "| 0 of 1; **broken**: 7 |" in table([_trial("kill", 7, problems=("C4: owed",))])
