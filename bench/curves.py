"""How cost, latency and memory grow: ``./dev bench curves``. What ``./dev bench plots`` draws.

A 1:1 conversation at several rates, connections that do nothing in several numbers, groups of several sizes with as many
deliveries a second. Each point is one window (``--runs``: the median of several).
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from bench import fanout, phases
from bench.figures import Figures, combine
from bench.machine import machine, protections, versions
from bench.phases import Bench
from bench.running import common_options, run
from bench.svg import number

RATES = (100, 200, 500, 1000, 2000, 3000, 4000)
CONNECTIONS = (500, 1000, 2000, 4000)
GROUPS = (5, 20, 50, 200, 500, 1000)
DELIVERIES = 4000  # a second, in each group


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev bench curves", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("rates", "connections", "groups"), action="append")
    parser.add_argument("--rate", type=float, action="append", help="messages/s (default: 100 to 4000)")
    parser.add_argument("--connections", type=int, action="append", help="(default: 500 to 4000)")
    parser.add_argument("--group", type=int, action="append", help="members (default: 5 to 1000)")
    parser.add_argument("--deliveries", type=float, default=DELIVERIES, help="a second, in each group (4000)")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=6, help="a measured window (default 6)")
    parser.add_argument("--warm-up", type=float, default=3, metavar="SECONDS")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--placement", choices=("across", "random"), default="across")
    parser.add_argument("--senders", type=int, default=10, help=argparse.SUPPRESS)
    parser.add_argument("--clients", type=int, default=1, help=argparse.SUPPRESS)
    common_options(parser)
    return parser


def main() -> int:
    args = options().parse_args()
    return run("curves", args, measure)


def measure(bench: Bench) -> Figures:
    args, system = bench.options, bench.system
    wanted = args.only or ("connections", "rates", "groups")
    result: Figures = {
        "bench": "curves",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(system.folder),
        "versions": versions(system),
        "protections": protections(system),
        "load": {"pairs": args.pairs, "codec": args.codec, "body_bytes": args.body_bytes, "seconds": args.seconds,
                 "runs": args.runs, "deliveries_per_second": args.deliveries, "cores": str(system.cores)},
    }  # fmt: skip
    if "connections" in wanted:
        found = result["connections"] = {}
        for count in args.connections or CONNECTIONS:
            people = phases.idle_people(bench, count)
            found[str(count)] = combine([phases.idle(bench, people) for _ in range(args.runs)])
            kb = found[str(count)]["median"]["kb_per_idle_connection"]
            print(f"{count:>6,} connections   {kb:.1f} KB each", flush=True)
        system.restart_gateways()
    if "rates" in wanted:
        found = result["rates"] = {}
        for rate in args.rate or RATES:
            found[f"{rate:g}"] = combine([phases.open_rate(bench, rate, n) for n in range(args.runs)])
            m = found[f"{rate:g}"]["median"]
            latency = ", ".join(f"{step} {p.get('p99', 0):,.1f}" for step, p in m["latency_ms"].items())
            print(
                f"{rate:>6,.0f} messages/s   {m['cpu_us_per_life']['total']:,.0f} us a life   p99 ms {latency}",
                flush=True,
            )
    if "groups" in wanted:
        found = result["groups"] = {}
        for members in args.group or GROUPS:
            rate = args.deliveries / (members - 1)
            found[str(members)] = combine(
                [fanout.room_run(bench, members, rate, n) for n in range(args.runs)]
            )
            us = found[str(members)]["median"]["cpu_us_per_delivery"]["total"]
            print(f"{members:>6,} members at {number(rate)}/s   {us:.1f} us a delivery", flush=True)
    result["checks"] = {"problems": dict(bench.problems), "examples": bench.examples[:20]}
    if bench.problems:
        print(f"CHECKS FAILED: {result['checks']}")
    return result


if __name__ == "__main__":
    sys.exit(main())
