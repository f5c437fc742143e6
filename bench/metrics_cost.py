"""``./dev bench metrics_cost``: what the counters and histograms cost on the message path, in ns a message.

No server: the calls of ``delivery/log.py``, ``fanout.py``, ``live.py`` and ``bus.py`` with made-up batches, against an empty call.
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


def _ns(call: Callable[[], object], seconds: float) -> float:
    """Of the quickest of five rounds: the others were interrupted."""
    best = float("inf")
    for _ in range(5):
        count, until = 0, time.perf_counter() + seconds / 5
        began = time.perf_counter()
        while time.perf_counter() < until:
            for _ in range(100):
                call()
            count += 100
        best = min(best, (time.perf_counter() - began) / count)
    return best * 1e9


async def _measure(seconds: float) -> dict[str, dict[str, float]]:
    now = asyncio.get_running_loop().time()
    tracing = Tracing()
    empty = _ns(lambda: None, seconds)
    found: dict[str, dict[str, float]] = {}
    for size in (1, 2, 8, 32, 128):
        batch, stored = [_Pending(now) for _ in range(size)], [DIRECT] * size
        at = 1_700_000_000_000
        parts = {
            "append": _ns(lambda: metrics.appended(batch, stored, now, now, now), seconds) - empty,
            "mark": _ns(lambda: metrics.marked(size, 0.001), seconds) - empty,
            "publish": _ns(lambda: metrics.published(size, 0.001), seconds) - empty,
            "clock": 5 * (_ns(asyncio.get_running_loop().time, seconds) - empty),
        }
        per_message = {name: ns / size for name, ns in parts.items()}
        per_message["deliver"] = _ns(lambda: metrics.delivered(at), seconds) - empty
        per_message["tracing"] = _ns(lambda: DIRECT in tracing.watched, seconds) - empty
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
