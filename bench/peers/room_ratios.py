"""Ours beside a peer's, in rooms: at the rate that the peer keeps up with, and each at the most that it was measured at."""

from __future__ import annotations

from bench.figures import Figures
from bench.peers.ratios import Line, each, paired
from bench.report import all_delivered

LINES = (
    Line("deliveries", "deliveries / CPU-second", "", "", ("deliveries_per_cpu_second",), True),
    Line("last_p50", "to the last member p50 ms", "", "", ("latency_ms", "last", "p50"), False),
    Line("last_p99", "to the last member p99 ms", "", "", ("latency_ms", "last", "p99"), False),
)
#: Batches make ours cheaper the more there is to do; what a peer takes at most is less.
AT_MOST = Line("deliveries_at_most", "the same, ours at the room's own rate", *LINES[0][2:])


def of(ours: dict[str, Figures], theirs: dict[str, Figures]) -> dict[str, dict[str, Figures]]:
    """Room → key → a ratio as :func:`bench.peers.ratios.paired` gives it, with ``text``, ``more_is_better`` and ``rate``, the
    peer's messages/s. ``ours``: room_at_rate → combined figures; ``theirs``: room → ``takes``, ``figures``. A peer that keeps up
    with nothing has no ratio."""
    found: dict[str, dict[str, Figures]] = {}
    for room, one in theirs.items():
        if "figures" not in one:
            continue
        members = room.partition("_at_")[0]
        same = f"{members}_at_{one['takes']:g}"
        kept = all_delivered(int(members), one["figures"]["median"])
        lines = [(line, same) for line in LINES] + ([(AT_MOST, room)] if same != room else [])
        found[room] = {
            line.key: {
                "text": line.text, **figures, "more_is_better": line.more, "both_keep_up": kept, "rate": one["takes"],
            }
            for line, where in lines
            if (figures := paired(each(ours[where], line.path), each(one["figures"], line.path)))
        }  # fmt: skip
    return found
