"""The results of trials as a table, for people and for ``docs/faults.md``."""

from __future__ import annotations

import statistics
from typing import Any

HEAD = (
    "| fault | kept, seeds | ✓ | lasted | gap | recovered | quiet | grown |",
    "|---|---|---|---|---|---|---|---|",
)


def table(trials: list[dict[str, Any]]) -> str:
    """Markdown, a line for each fault in the order of its first trial. ``trials``: as ``tests/faults/trials`` notes them. Times
    in seconds, the median of the seeds and the longest; the fewest ✓; the most that a process grew, MB."""
    faults: dict[str, list[dict[str, Any]]] = {}
    for trial in trials:
        faults.setdefault(trial["fault"], []).append(trial)
    return "\n".join([*HEAD, *[_line(name, runs) for name, runs in faults.items()]])


def _line(name: str, runs: list[dict[str, Any]]) -> str:
    kept = sorted(run["seed"] for run in runs if not run["problems"])
    broken = sorted(run["seed"] for run in runs if run["problems"])
    verdict = f"{len(kept)} of {len(runs)}: {_seeds(kept)}" if kept else f"0 of {len(runs)}"
    if broken:
        verdict += f"; **broken**: {_seeds(broken)}"
    grown = max((max(run["grown_mb"].values(), default=0) for run in runs), default=0)
    times = (_times(runs, what) for what in ("lasted_s", "gap_s", "recovery_s", "quiet_s"))
    fewest = min(run["confirmed"] for run in runs)
    return f"| `{name}` | {verdict} | {fewest} | {' | '.join(times)} | {grown} |"


def _times(runs: list[dict[str, Any]], what: str) -> str:
    values = [run[what] for run in runs]
    return f"{statistics.median(values):.1f} ({max(values):.1f})"


def _seeds(seeds: list[int]) -> str:
    """``1 to 5``, or each."""
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))
