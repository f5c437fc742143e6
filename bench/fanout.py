"""What a message in a group costs, and how long it takes to the last member: ``./dev bench fanout``.

Starts a system of its own (2 gateways, the worker of the lanes, worker, beat, PostgreSQL, Valkey) and a load generator in its
own process. All members are connected, half of them to each gateway. How to read the figures: ``docs/bench.md``. Exit code 1
if a message was lost, repeated or out of order.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from typing import Any

from bench import lane_tasks
from bench.figures import Figures, combine, percentiles
from bench.machine import load_average, machine, protections, versions
from bench.phases import Bench
from bench.running import common_options, run
from delivery.lanes import LANES

#: members, messages/s. The first two of each size are for cost, the last for latency on a machine that is not saturated.
ROOMS = ((200, 30), (200, 100), (1000, 20), (1000, 40), (100, 10), (1024, 2))
#: Deliveries per total CPU-second of others, measured at another time on a machine of two noisy cores.
OTHERS = {
    "ejabberd_rooms": (33_000, 46_000, "ejabberd 23.01, rooms that are kept nowhere"),
    "tinode": (19_900, 19_900, "Tinode 0.25 on PostgreSQL"),
    "naive_channels": (13_000, 13_000, "Channels with channels_redis, nothing stored"),
}
_GROUPS = ("gateways", "workers", "postgresql", "valkey")


def _room(text: str) -> tuple[int, float]:
    members, _, rate = text.partition(":")
    return int(members), float(rate)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev bench fanout", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--room", type=_room, action="append", metavar="MEMBERS:RATE", help="this room only; may be repeated"
    )
    parser.add_argument(
        "--tasks", choices=("also", "only", "no"),
        help="what a Celery task costs, in lanes that are given back after each message (default: also, no with --room)",
    )  # fmt: skip
    parser.add_argument("--lanes", type=int, default=LANES, help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=int, default=1, help="repeats of each room (default 1)")
    parser.add_argument("--seconds", type=float, default=8, help="a measured window (default 8)")
    parser.add_argument("--warm-up", type=float, default=3, metavar="SECONDS", help="load before (default 3)")
    parser.add_argument("--senders", type=int, default=10, help="members who write (default 10)")
    parser.add_argument("--clients", type=int, default=1, help=argparse.SUPPRESS)
    common_options(parser)
    return parser


def main() -> int:
    args = options().parse_args()
    return run("fanout", args, _measure)


def _measure(bench: Bench) -> Figures:
    args, system = bench.options, bench.system
    result: Figures = {
        "bench": "fanout",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(system.folder),
        "versions": versions(system),
        "protections": protections(system),
        "load": {
            "senders": args.senders,
            "codec": args.codec,
            "body_bytes": args.body_bytes,
            "seconds": args.seconds,
            "warm_up_seconds": args.warm_up,
            "runs": args.runs,
            "cores": str(system.cores),
        },
        "rooms": {},
    }
    print(f"fanout, {result['date']}, commit {result['versions']['commit']}; {system.cores}", flush=True)
    tasks = args.tasks or ("no" if args.room else "also")
    for members, rate in () if tasks == "only" else args.room or ROOMS:
        figures = combine([room_run(bench, members, rate, run) for run in range(args.runs)])
        result["rooms"][f"{members}_at_{rate:g}"] = figures
        print(_told(members, rate, figures), flush=True)
    if tasks != "no":
        result["tasks"] = lane_tasks.measure(bench, args.lanes)
        print(lane_tasks.told(result["tasks"]), flush=True)
    result["checks"] = {"problems": dict(bench.problems), "examples": bench.examples[:20]}
    found = "each message once to each member, in order"
    print(
        f"\nchecks: {found}"
        if not bench.problems
        else f"\nCHECKS FAILED: {dict(bench.problems)} {bench.examples[:5]}"
    )
    result["other_measurements"] = OTHERS
    for low, high, text in OTHERS.values():
        print(f"  {low:,}{f' to {high:,}' if high > low else ''} deliveries per CPU-second   {text}")
    return result


def room_run(bench: Bench, members: int, rate: float, run: int) -> Figures:
    """One run of one room, with people of its own."""
    args, system, generators = bench.options, bench.system, bench.generators
    made = system.make_people(members, [], [list(range(members))])
    for number, person in enumerate(made["people"]):
        person["url"] = system.url(number, "across")
    generators.one(
        "room",
        codec=args.codec,
        group=made["groups"][0],
        people=made["people"],
        senders=min(args.senders, members),
        body_bytes=args.body_bytes,
    )
    system.settle()
    servers, client = system.meter(), generators.meter()
    generators.one("room_rate", per_second=rate, seed=1000 * run + members)
    time.sleep(args.warm_up)
    load = load_average()
    lanes, mark = system.lane_counters(), generators.one("room_mark")
    threads = system.fanout_threads()
    used, used_client = servers.read(), client.read()
    time.sleep(args.seconds)
    end = generators.one("room_mark")
    used_end, used_client_end = servers.read(), client.read()
    lanes_end, threads_end = system.lane_counters(), system.fanout_threads()
    stopped = generators.one("room_stop", timeout_s=30.0)
    bench.blame(stopped["problems"], stopped["examples"])
    if stopped["lost"]:
        bench.blame({"lost": stopped["lost"]})
    seconds = end["at"] - mark["at"]
    deliveries, begun = (end[name] - mark[name] for name in ("deliveries", "begun"))
    parts = used_end.since(used)
    total, wall = sum(parts.values()), used_end.at - used.at
    passes, entries = (
        lanes_end.get((n, "lane"), 0.0) - lanes.get((n, "lane"), 0.0) for n in ("count", "sum")
    )
    task = ("tasks", "fanout_lane")
    return {
        "messages_per_second": round(begun / seconds, 1),
        "deliveries_per_second": round(deliveries / seconds, 1),
        "deliveries_per_cpu_second": round(deliveries / total, 1),
        "cpu_us_per_delivery": {
            "total": round(total * 1e6 / max(deliveries, 1), 2),
            **{name: round(parts[name] * 1e6 / max(deliveries, 1), 2) for name in _GROUPS},
        },
        "latency_ms": {step: percentiles(end["latency_us"][step], 1e-3) for step in ("each", "last")},
        "passes_per_second": round(passes / seconds, 1),
        "messages_per_pass": round(begun / passes, 2) if passes else 0.0,
        "appends_per_pass": round(entries / passes, 2) if passes else 0.0,
        "celery_tasks": lanes_end.get(task, 0.0) - lanes.get(task, 0.0),
        "worker_ms_per_pass": round(parts["workers"] * 1e3 / passes, 2) if passes else 0.0,
        "fanout_us_per_pass": {
            name: round((used - threads[name]) * 1e6 / max(passes, 1), 1)
            for name, used in threads_end.items()
        },
        "queued": end["queued"] - mark["queued"],
        "busy_cores": {
            "servers": round(total / wall, 3),
            "client": round(sum(used_client_end.since(used_client).values()) / wall, 3),
        },
        "load_average": round(load, 2),
    }


def _told(members: int, rate: float, figures: dict[str, Any]) -> str:
    m, s = figures["median"], figures["spread"]
    cpu, last, each = m["cpu_us_per_delivery"], m["latency_ms"]["last"], m["latency_ms"]["each"]
    low, high = s["deliveries_per_cpu_second"]
    spread = f" ({low:,.0f} to {high:,.0f})" if low != high else ""
    return "\n".join(
        (
            f"\nroom of {members:,} at {rate:g} messages/s, everybody connected ({len(figures['runs'])} run(s))",
            f"  deliveries / server CPU-second {m['deliveries_per_cpu_second']:>10,.0f}{spread}   "
            f"{m['deliveries_per_second']:,.0f} a second",
            f"  server CPU us / delivery       {cpu['total']:>10.2f}   "
            + ", ".join(f"{name} {cpu[name]:.2f}" for name in _GROUPS),
            f"  to one member p50 / p99 ms     {each.get('p50', 0):>10.1f} / {each.get('p99', 0):.1f}",
            f"  to the last member p50 / p99   {last.get('p50', 0):>10.1f} / {last.get('p99', 0):.1f}",
            f"  passes / s                     {m['passes_per_second']:>10.1f}   {m['messages_per_pass']:.1f} messages a pass; "
            f"{m['worker_ms_per_pass']:.2f} ms of the workers' CPU a pass; {m['celery_tasks']:.0f} Celery tasks ended; "
            f"{m['queued']:.0f} answered queued",
            "  of the fan-out worker, us a pass         "
            + ", ".join(f"{name} {us:,.0f}" for name, us in m["fanout_us_per_pass"].items())
            + "   Celery's: taking a task from the broker, starting and ending it",
            f"  cores busy                     servers {m['busy_cores']['servers']:.2f}, "
            f"generator {m['busy_cores']['client']:.2f}",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
