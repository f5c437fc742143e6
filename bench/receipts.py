"""What a receipt costs apart from its message, how long it takes, how many frames it becomes: ``./dev bench receipts``.

1:1, messages answered in three ways: ack and read for each, ack alone for each, both once a second. What they cost is compared
at saturation, where batches are full in all three (at a rate, cost follows the size of batches more than anything); frames and
latency are those of an open rate. In groups: an ack alone for each message beside ack and read. Ways take turns, run by run.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from typing import Any

from bench import phases
from bench.figures import Figures, combine, percentiles
from bench.machine import load_average, machine, protections, versions
from bench.phases import Bench
from bench.running import common_options, run

WAYS = {"each": "ack and read for each", "delivered": "ack for each", "gathered": "both once a second"}
GROUP_WAYS = {"each": "ack and read for each", "delivered": "ack for each"}
#: Members, messages/s: in the first each is told of each, in the second the sender of counts.
GROUPS = ((20, 4.0), (200, 4.0))


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev bench receipts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=1000, help="messages/s, 1:1 (default 1000)")
    parser.add_argument(
        "--in-flight", type=int, default=400, help="lives under way at saturation (default 400)"
    )
    parser.add_argument("--pairs", type=int, default=50, help="(default 50: ten messages/s to each device)")
    parser.add_argument("--placement", choices=("across", "random"), default="across")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6, help="a measured window (default 6)")
    parser.add_argument("--warm-up", type=float, default=3, metavar="SECONDS")
    parser.add_argument("--senders", type=int, default=10, help="members who write (default 10)")
    parser.add_argument("--clients", type=int, default=1, help=argparse.SUPPRESS)
    common_options(parser)
    return parser


def main() -> int:
    args = options().parse_args()
    return run("receipts", args, measure)


def measure(bench: Bench) -> Figures:
    args, system = bench.options, bench.system
    result: Figures = {
        "bench": "receipts",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(system.folder),
        "versions": versions(system),
        "protections": protections(system),
        "load": {"pairs": args.pairs, "messages_per_second": args.rate, "in_flight": args.in_flight, "codec": args.codec,
                 "runs": args.runs, "seconds": args.seconds, "body_bytes": args.body_bytes, "cores": str(system.cores)},
    }  # fmt: skip
    print(f"receipts, {result['date']}, commit {result['versions']['commit']}; {system.cores}", flush=True)
    full: dict[str, list[Figures]] = {way: [] for way in WAYS}
    runs: dict[str, list[Figures]] = {way: [] for way in WAYS}
    for number in range(args.runs):
        for way in WAYS:
            phases.load_pairs(bench, way)
            # A life that waits for the second to end keeps its place: ten times as many keep the servers as busy.
            full[way].append(phases.saturation(bench, args.in_flight * (10 if way == "gathered" else 1)))
            runs[way].append(phases.open_rate(bench, args.rate, number))
            bench.generators.all("close_pairs")
            bench.loaded = False
    pairs = result["pairs"] = {way: combine(figures) for way, figures in runs.items()}
    saturated = result["saturation"] = {way: combine(figures) for way, figures in full.items()}
    result["receipt_us"] = costs(
        {way: found["median"]["cpu_us_per_life"] for way, found in saturated.items()}
    )
    print(told(pairs, saturated, result["receipt_us"], args.rate), flush=True)
    groups = result["groups"] = {}
    for members, rate in GROUPS:
        of_group: dict[str, list[Figures]] = {way: [] for way in GROUP_WAYS}
        for number in range(args.runs):
            for way in GROUP_WAYS:
                of_group[way].append(_group(bench, members, rate, number, way))
        groups[str(members)] = {way: combine(figures) for way, figures in of_group.items()}
        print(told_group(members, rate, groups[str(members)]), flush=True)
    result["checks"] = {"problems": dict(bench.problems), "examples": bench.examples[:20]}
    print(
        f"\nCHECKS FAILED: {result['checks']}"
        if bench.problems
        else "\nchecks: nothing lost, twice or out of order"
    )
    return result


def costs(us: dict[str, Figures]) -> Figures:
    """µs of a receipt by part, from those of a life by way: ``read``, and ``delivered`` with ``read`` beside gathered ones."""
    return {
        "read": {part: round(us["each"][part] - us["delivered"][part], 1) for part in us["each"]},
        "both_beside_gathered": {
            part: round(us["each"][part] - us["gathered"][part], 1) for part in us["each"]
        },
    }


def told(pairs: Figures, saturated: Figures, cost: Figures, rate: float) -> str:
    lines = [
        f"\n1:1   server CPU us a message at saturation; at {rate:g} messages/s receipt frames to its sender, and p50 / p99 ms "
        "from when it was due"
    ]
    for way, text in WAYS.items():
        m, us = pairs[way]["median"], saturated[way]["median"]["cpu_us_per_life"]["total"]
        low, high = saturated[way]["spread"]["cpu_us_per_life"]["total"]
        latency = ", ".join(
            f"{step} {p['p50']:.1f} / {p['p99']:.1f}"
            for step, p in m["latency_ms"].items()
            if p and step != "received"
        )
        lines.append(
            f"  {text:24}{us:>8,.0f} ({low:,.0f} to {high:,.0f})   {m['receipt_frames_per_life']:.2f} frames   {latency}"
        )
    for text, key in (
        ("a read receipt costs", "read"),
        ("both, beside gathered ones", "both_beside_gathered"),
    ):
        parts = ", ".join(f"{part} {us:.0f}" for part, us in cost[key].items() if part != "total")
        lines.append(f"  {text:28}{cost[key]['total']:>6,.0f} us   {parts}")
    return "\n".join(lines)


def told_group(members: int, rate: float, ways: Figures) -> str:
    who = "each is told of each" if members <= 32 else "who wrote is told counts"
    lines = [f"\ngroup of {members}, {rate:g} messages/s, {who}"]
    for way, text in GROUP_WAYS.items():
        m = ways[way]["median"]
        latency = ", ".join(
            f"{status} {p['p50']:,.0f} / {p['p99']:,.0f}" for status, p in m["latency_ms"].items() if p
        )
        lines.append(
            f"  {text:24}{m['cpu_us_per_message']['total']:>8,.0f} us a message   {m['receipt_frames_per_message']:.1f} receipt "
            f"frames a message   of all, p50 / p99 ms: {latency}"
        )
    return "\n".join(lines)


def _group(bench: Bench, members: int, rate: float, number: int, way: str) -> Figures:
    """One run of one group, with people of its own."""
    args, system, generators = bench.options, bench.system, bench.generators
    made = system.make_people(members, [], [list(range(members))])
    for place, person in enumerate(made["people"]):
        person["url"] = system.url(place, "across")
    generators.one(
        "room", codec=args.codec, group=made["groups"][0], people=made["people"], senders=min(args.senders, members),
        body_bytes=args.body_bytes, replies=way,
    )  # fmt: skip
    system.settle()
    servers = system.meter()
    generators.one("room_rate", per_second=rate, seed=1000 * number + members)
    time.sleep(args.warm_up)
    mark, used = generators.one("room_mark"), servers.read()
    time.sleep(args.seconds)
    end, used_end = generators.one("room_mark"), servers.read()
    found = generators.one("room_stop", timeout_s=30)
    bench.blame(found["problems"], found["examples"])
    if found["lost"]:
        bench.blame({"lost": found["lost"]})
    return of_window(mark, end, used_end.since(used))


def of_window(mark: dict[str, Any], end: dict[str, Any], parts: dict[str, float]) -> Figures:
    """``mark``, ``end``: what a room said at both ends; ``parts``: CPU-seconds between them."""
    messages = max(1, end["begun"] - mark["begun"])
    return {
        "messages": messages,
        "cpu_us_per_message": {
            "total": round(sum(parts.values()) * 1e6 / messages, 1),
            **{part: round(seconds * 1e6 / messages, 1) for part, seconds in parts.items()},
        },
        "receipt_frames_per_message": round((end["receipts"] - mark["receipts"]) / messages, 2),
        "latency_ms": {
            status: percentiles(end["latency_us"][status], 1e-3) for status in ("last", "delivered", "read")
        },
        "load_average": round(load_average(), 2),
    }


if __name__ == "__main__":
    sys.exit(main())
