"""``./dev bench metrics_cost``: what the counters and histograms cost on the message path, in ns a message.

No server: the calls of ``delivery/log.py``, ``fanout.py``, ``live.py`` and ``bus.py`` with made-up batches.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable

from delivery.tracing import Tracing
from whatsapp.infra import metrics

DIRECT = "0193c1f0-1111-8000-8000-00000000000a"


class _Pending:
    __slots__ = ("arrived",)

    def __init__(self, arrived: float) -> None:
        self.arrived = arrived


def _ns(seconds: float, function: Callable[..., object], *arguments: object) -> float:
    """Nanoseconds a call, in the quickest round: the others were interrupted."""
    best, rounds = float("inf"), range(500)
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        for _ in rounds:
            function(*arguments)
        best = min(best, (time.perf_counter() - began) / len(rounds))
    return best * 1e9


async def _measure(seconds: float) -> dict[str, dict[str, float]]:
    now = asyncio.get_running_loop().time()
    tracing = Tracing()
    clock = asyncio.get_running_loop().time
    found: dict[str, dict[str, float]] = {}
    for size in (1, 2, 8, 32, 128):
        batch, stored = [_Pending(now) for _ in range(size)], [DIRECT] * size
        per_message = {
            "append": _ns(seconds, metrics.appended, batch, stored, now, now, now) / size,
            "mark": _ns(seconds, metrics.MARK.observe, 0.001, size) / size,
            "publish": _ns(seconds, metrics.PUBLISH.observe, 0.001, size) / size,
            "clock": 7 * _ns(seconds, clock) / size,
            "deliver": _ns(seconds, metrics.delivered, 1_700_000_000_000),
            "tracing": _ns(seconds, tracing.watched.__contains__, DIRECT),
        }
        per_message["all"] = sum(per_message.values())
        found[str(size)] = {name: round(ns) for name, ns in per_message.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench metrics_cost", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument("--seconds", type=float, default=0.2, help="for each figure")
    options = parser.parse_args()
    found = asyncio.run(_measure(options.seconds))
    print("ns a message, by messages in a batch")
    for size, parts in found.items():
        print(f"{size:>5}   " + "   ".join(f"{name} {ns:.0f}" for name, ns in parts.items()))
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"ns_per_message": found}, file, indent=1)


if __name__ == "__main__":
    main()
