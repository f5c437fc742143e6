"""Ours beside a peer's. Runs alternate, so the i-th run of ours is held against the i-th of the peer: what drifts, hits both."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from bench.figures import Figures
from bench.report import keeps_up


class Line(NamedTuple):
    """One figure of both. ``phase`` and ``load``: where it is; ``path``: its name in a run; ``more``: whether more is better."""

    key: str
    text: str
    phase: str
    load: str  # of the peer: "life", "message", or "" where there is only one
    path: tuple[str, ...]
    more: bool


LINES = (
    Line("lives", "lives / CPU-second at saturation", "saturation", "life", ("lives_per_cpu_second",), True),
    Line("lives_to_messages", "our whole life to its bare message", "saturation", "message", ("lives_per_cpu_second",), True),
    Line("lives_at_rate", "lives / CPU-second at the rate", "rate", "life", ("lives_per_cpu_second",), True),
    Line("lives_to_messages_at_rate", "our whole life to its bare message", "rate", "message", ("lives_per_cpu_second",), True),
    Line("sent_p99", "✓ p99 ms at the rate", "rate", "life", ("latency_ms", "sent", "p99"), False),
    Line("received_p50", "received p50 ms at the rate", "rate", "life", ("latency_ms", "received", "p50"), False),
    Line("received_p99", "received p99 ms at the rate", "rate", "life", ("latency_ms", "received", "p99"), False),
    Line("delivered_p50", "delivered p50 ms at the rate", "rate", "life", ("latency_ms", "delivered", "p50"), False),
    Line("delivered_p99", "delivered p99 ms at the rate", "rate", "life", ("latency_ms", "delivered", "p99"), False),
    Line("kb_idle", "KB / idle connection", "idle", "", ("kb_per_idle_connection",), False),
    Line("connects", "connects / CPU-second", "connect", "", ("connects_per_cpu_second",), True),
    Line("reconnects", "connects again / CPU-second", "connect", "", ("reconnects_per_cpu_second",), True),
)  # fmt: skip


def of(ours: Figures, theirs: Figures) -> dict[str, Figures]:
    """Key → ``ours``, ``theirs`` (medians), ``ratio`` (median of the runs' ratios), ``spread`` of it, how to read it. What was
    not measured on both is left out. ``ours``: phase → combined figures; ``theirs``: the same, or load → those."""
    found: dict[str, Figures] = {}
    for line in LINES:
        other: Any = theirs.get(line.phase)
        if line.load and other is not None:
            other = other.get(line.load)
        mine = ours.get(line.phase)
        if mine is None or other is None:
            continue
        if figures := paired(each(mine, line.path), each(other, line.path)):
            kept = line.phase != "rate" or (keeps_up(mine["median"]) and keeps_up(other["median"]))
            found[line.key] = {
                "text": line.text,
                **figures,
                "more_is_better": line.more,
                "both_keep_up": kept,
            }
    return found


def paired(ours: Sequence[float | None], theirs: Sequence[float | None]) -> Figures:
    """Of runs that belong together. A run in which either is missing or the peer's is 0 has no ratio; {} if none has one."""
    both = [(a, b) for a, b in zip(ours, theirs, strict=False) if a is not None and b]
    if not both:
        return {}
    ratios = [a / b for a, b in both]
    return {
        "ours": round(statistics.median(a for a, _ in both), 3),
        "theirs": round(statistics.median(b for _, b in both), 3),
        "ratio": round(statistics.median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "runs": len(both),
    }


def each(figures: Figures, path: tuple[str, ...]) -> list[float | None]:
    return [_at(run, path) for run in figures["runs"]]


def _at(run: Any, path: tuple[str, ...]) -> float | None:
    for name in path:
        run = run.get(name)
        if run is None:
            return None
    return float(run)
