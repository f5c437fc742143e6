"""Rooms of ours and of the peers in turns: first which rate each peer keeps up with, then of each run ours and theirs."""

from __future__ import annotations

from collections.abc import Callable

from bench.figures import Figures, combine
from bench.peers import kept
from bench.peers.measuring import PeerBench
from bench.peers.turns import others, watched
from bench.phases import Bench
from bench.report import all_delivered

#: Of ours: members, messages/s, run.
Ours = Callable[[int, float, int], Figures]


def name_of(members: int, rate: float) -> str:
    return f"{members}_at_{rate:g}"


def room(
    bench: Bench, peers: dict[str, PeerBench], members: int, rate: float, runs: int, ours: Ours
) -> tuple[dict[float, Figures], dict[str, Figures]]:
    """Ours at ``rate`` and at each rate that a peer is measured at; and of each peer ``takes`` (0: none of the rates
    that were tried), ``trials``, and ``figures`` at that rate."""
    found: dict[str, Figures] = {}
    for name, one in peers.items():
        takes, trials = kept.find(
            rate,
            lambda rate, one=one: one.room(members, rate, 0),  # type: ignore[misc]
            lambda figures: all_delivered(members, figures),
            lambda text, name=name: bench.say(f"{name}, room of {members:,}, {text}"),  # type: ignore[misc]
        )
        found[name] = {"takes": takes, "trials": trials}
    rates = sorted({rate, *(one["takes"] for one in found.values())} - {0.0}, reverse=True)
    mine: dict[float, list[Figures]] = {each: [] for each in rates}
    theirs: dict[str, list[Figures]] = {name: [] for name in peers}
    for run in range(runs):
        for each in rates:
            mine[each].append(
                watched(others(bench, peers, ""), lambda run=run, each=each: ours(members, each, run))  # type: ignore[misc]
            )
            for name, one in peers.items():
                if found[name]["takes"] == each:
                    theirs[name].append(
                        watched(
                            others(bench, peers, name),
                            lambda one=one, run=run, each=each: one.room(members, each, run),  # type: ignore[misc]
                        )
                    )
    for name, figures in theirs.items():
        if figures:
            found[name]["figures"] = combine(figures)
    return {each: combine(figures) for each, figures in mine.items()}, found
