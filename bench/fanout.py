"""What a message in a group costs, and how long it takes to the last member: ``./dev bench fanout``.

Starts a system of its own (2 gateways, the worker of the lanes, worker, beat, PostgreSQL, Valkey) and a load generator in its
own process. All members are connected, half of them to each gateway. How to read the figures: ``docs/bench.md``. Exit code 1
if a message was lost, repeated or out of order.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from typing import Any

from bench import lane_tasks, report
from bench.figures import Figures
from bench.machine import machine, protections, versions
from bench.peers import room_ratios, room_turns, told
from bench.peers.measuring import PEERS, PeerBench
from bench.peers.measuring import running as peers_running
from bench.phases import Bench
from bench.running import common_options, run
from bench.windows import of_room
from delivery.lanes import LANES

#: members, messages/s. The first two of each size are for cost, the last for latency on a machine that is not saturated.
ROOMS = ((200, 30), (200, 100), (1000, 20), (1000, 40), (100, 10), (1024, 2))
#: Beside peers; what they do not keep up with is halved for them (:mod:`bench.peers.room_turns`).
ROOMS_BESIDE = ((200, 100), (1000, 40))
#: Deliveries per total CPU-second of others, measured at another time on a machine of two noisy cores.
OTHERS = {
    "ejabberd_rooms": (33_000, 46_000, "ejabberd 23.01, rooms that are kept nowhere"),
    "tinode": (19_900, 19_900, "Tinode 0.25 on PostgreSQL"),
    "naive_channels": (13_000, 13_000, "Channels with channels_redis, nothing stored"),
}


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
    parser.add_argument(
        "--peer", choices=sorted(PEERS), action="append", default=[],
        help="measure this server too, in turns with ours, and print the ratios; may be repeated",
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
    return run("fanout", args, _with_peers)


def _with_peers(bench: Bench) -> Figures:
    args, system = bench.options, bench.system
    with peers_running(args.peer, args, system.folder, system.cores, bench.say) as peers:
        return _measure(bench, peers)


def _measure(bench: Bench, peers: dict[str, PeerBench]) -> Figures:
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
    theirs = result["peers"] = {
        name: {"versions": one.peer.versions(), "setup": one.peer.setup(), "rooms": {}}
        for name, one in peers.items()
    }
    if peers:
        print(told.head(theirs), flush=True)
    tasks = args.tasks or ("no" if args.room or peers else "also")
    for members, rate in () if tasks == "only" else args.room or (ROOMS_BESIDE if peers else ROOMS):
        ours, of_peers = room_turns.room(
            bench, peers, members, rate, args.runs,
            lambda members, rate, run: room_run(bench, members, rate, run),
        )  # fmt: skip
        for each, figures in ours.items():
            result["rooms"][room_turns.name_of(members, each)] = figures
            print(_told(members, each, figures), flush=True)
        for name, one_of in of_peers.items():
            theirs[name]["rooms"][room_turns.name_of(members, rate)] = one_of
            print(told.room(name, _title(members, one_of["takes"]), one_of), flush=True)
    if tasks != "no":
        result["tasks"] = lane_tasks.measure(bench, args.lanes)
        print(lane_tasks.told(result["tasks"]), flush=True)
    for name, one in peers.items():
        checks = theirs[name]["checks"] = one.check()
        print("\n" + told.checks(name, checks), flush=True)
        bench.blame({f"{name} {kind}": n for kind, n in checks["problems"].items()})
        theirs[name]["ratios"] = room_ratios.of(result["rooms"], theirs[name]["rooms"])
        print(told.room_ratios(name, theirs[name]["ratios"]), flush=True)
    result["checks"] = {"problems": dict(bench.problems), "examples": bench.examples[:20]}
    found = "each message once to each member, in order"
    print(
        f"\nchecks: {found}"
        if not bench.problems
        else f"\nCHECKS FAILED: {dict(bench.problems)} {bench.examples[:5]}"
    )
    if peers:
        return result
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
    window = of_room(
        system, generators, args, rate, 1000 * run + members,
        lambda: (system.lane_counters(), system.fanout_threads()),
    )  # fmt: skip
    stopped = generators.one("room_stop", timeout_s=30.0)
    bench.blame(stopped["problems"], stopped["examples"])
    if stopped["lost"]:
        bench.blame({"lost": stopped["lost"]})
    (lanes, threads), (lanes_end, threads_end) = window.before, window.after
    passes, entries = (
        lanes_end.get((n, "lane"), 0.0) - lanes.get((n, "lane"), 0.0) for n in ("count", "sum")
    )
    task = ("tasks", "fanout_lane")
    return {
        **window.figures,
        "passes_per_second": round(passes / window.seconds, 1),
        "messages_per_pass": round(window.begun / passes, 2) if passes else 0.0,
        "appends_per_pass": round(entries / passes, 2) if passes else 0.0,
        "celery_tasks": lanes_end.get(task, 0.0) - lanes.get(task, 0.0),
        "worker_ms_per_pass": round(window.used["workers"] * 1e3 / passes, 2) if passes else 0.0,
        "fanout_us_per_pass": {
            name: round((used - threads[name]) * 1e6 / max(passes, 1), 1)
            for name, used in threads_end.items()
        },
    }


def _told(members: int, rate: float, figures: dict[str, Any]) -> str:
    m = figures["median"]
    return "\n".join(
        (
            report.room(_title(members, rate), figures),
            f"  passes / s                     {m['passes_per_second']:>10.1f}   {m['messages_per_pass']:.1f} messages a pass; "
            f"{m['worker_ms_per_pass']:.2f} ms of the workers' CPU a pass; {m['celery_tasks']:.0f} Celery tasks ended; "
            f"{m['queued']:.0f} answered queued",
            "  of the fan-out worker, us a pass         "
            + ", ".join(f"{name} {us:,.0f}" for name, us in m["fanout_us_per_pass"].items())
            + "   Celery's: taking a task from the broker, starting and ending it",
        )
    )


def _title(members: int, rate: float) -> str:
    return f"room of {members:,} at {rate:g} messages/s, everybody connected"


if __name__ == "__main__":
    sys.exit(main())
