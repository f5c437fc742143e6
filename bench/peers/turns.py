"""Ours and the peers' in turns: of each run first ours, then each peer's, so that what changes on the machine hits all of them.

All systems run all the time; what the others use meanwhile is in ``others_busy_cores``.
"""

from __future__ import annotations

from collections.abc import Callable

from bench import phases
from bench.cpu import Meter
from bench.figures import Figures, combine
from bench.peers import kept
from bench.peers.measuring import PeerBench
from bench.phases import Bench, Idle
from bench.report import keeps_up

Ours = Callable[[int], Figures]
Theirs = Callable[[PeerBench, int, bool], Figures]


def lives(
    bench: Bench, peers: dict[str, PeerBench], runs: int, ours: Ours, theirs: Theirs
) -> tuple[Figures, dict[str, dict[str, Figures]]]:
    """Ours, and peer → load (``life``, ``message``) → theirs; each combined over the runs."""
    mine: list[Figures] = []
    found: dict[str, dict[str, list[Figures]]] = {name: {"life": [], "message": []} for name in peers}
    for run in range(runs):
        mine.append(watched(others(bench, peers, ""), lambda run=run: ours(run)))  # type: ignore[misc]
        for name, one in peers.items():
            for load, receipts in (("life", True), ("message", False)):
                found[name][load].append(
                    watched(
                        others(bench, peers, name),
                        lambda one=one, run=run, receipts=receipts: theirs(one, run, receipts),  # type: ignore[misc]
                    )
                )
    return combine(mine), {
        name: {load: combine(figures) for load, figures in loads.items()} for name, loads in found.items()
    }


def slower(
    bench: Bench, one: PeerBench, runs: int, rate: float
) -> tuple[Figures, Figures | None, dict[str, Figures]]:
    """For a peer that does not keep up with ``rate``: ``takes``, what it does keep up with (0: nothing that was tried), and the
    ``trials`` on the way; then ours and its loads at that rate."""
    takes, trials = kept.find(
        rate / 2,
        lambda rate: one.open_rate(rate, 0, True),
        keeps_up,
        lambda text: bench.say(f"{one.peer.name}, {text}"),
    )
    found: Figures = {"takes": takes, "trials": trials}
    if not takes:
        return found, None, {}
    mine, of_peers = lives(
        bench, {one.peer.name: one}, runs,
        lambda run: phases.open_rate(bench, takes, run),
        lambda one, run, receipts: one.open_rate(takes, run, receipts),
    )  # fmt: skip
    return found, mine, of_peers[one.peer.name]


def idle(
    bench: Bench, peers: dict[str, PeerBench], runs: int, people: Idle
) -> tuple[Figures, dict[str, Figures]]:
    """Connecting and idle connections: ours, and peer → theirs; each combined over the runs."""
    mine: list[Figures] = []
    found: dict[str, list[Figures]] = {name: [] for name in peers}
    for _ in range(runs):
        mine.append(phases.idle(bench, people))
        for name, one in peers.items():
            found[name].append(one.idle(len(people.counted)))
    return combine(mine), {name: combine(figures) for name, figures in found.items()}


def others(bench: Bench, peers: dict[str, PeerBench], but: str) -> list[Meter]:
    """Meters of the systems that wait; ``but`` "" is ours."""
    meters = [one.peer.meter() for name, one in peers.items() if name != but]
    return meters if not but else [*meters, bench.system.meter()]


def watched(others: list[Meter], measure: Callable[[], Figures]) -> Figures:
    before = [meter.read() for meter in others]
    figures = measure()
    busy = 0.0
    for meter, earlier in zip(others, before, strict=True):
        now = meter.read()
        busy += sum(now.since(earlier).values()) / (now.at - earlier.at)
    if others:
        figures["others_busy_cores"] = round(busy, 3)
    return figures
