"""The rate that a system keeps up with. One that is behind has no latency: it grows for as long as one looks."""

from __future__ import annotations

from collections.abc import Callable

from bench.figures import Figures

_HALVINGS = 8


def find(
    rate: float,
    measure: Callable[[float], Figures],
    keeps: Callable[[Figures], bool],
    say: Callable[[str], None],
) -> tuple[float, list[Figures]]:
    """The first of ``rate``, its half, a quarter, … that is kept up with, and what was measured on the way, with the rate of
    each. If there is none: 0. ``say`` is told of each."""
    trials: list[Figures] = []
    for _ in range(_HALVINGS):
        figures = measure(rate)
        trials.append({"rate": rate, "keeps_up": keeps(figures), **figures})
        say(f"{rate:g} messages/s: " + ("keeps up" if trials[-1]["keeps_up"] else "does not keep up"))
        if trials[-1]["keeps_up"]:
            return rate, trials
        rate /= 2
    return 0.0, trials
