"""What a 1:1 message costs, how long it takes, what a connection holds: ``./dev bench one_to_one``.

Starts a system of its own (2 gateways, worker, beat, PostgreSQL, Valkey) in a temporary data folder and a load generator in
its own process. How to read the figures: ``docs/bench.md``. Exit code 1 if a message was lost, repeated or out of order.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from datetime import UTC, datetime

from bench import phases, report
from bench.cpu import Gone
from bench.figures import Figures, combine
from bench.generator import LoadError
from bench.machine import machine, protections, versions
from bench.peers import ratios, told, turns
from bench.peers.measuring import PEERS, PeerBench
from bench.peers.measuring import running as peers_running
from bench.peers.turns import Ours, Theirs
from bench.phases import Bench
from bench.running import common_options, running
from devtools.errors import DevError

PHASES = ("connect", "idle", "offline", "saturation", "rate")


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev bench one_to_one",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", choices=PHASES, action="append", help="this measurement only; may be repeated"
    )
    parser.add_argument(
        "--runs", type=int, default=1, help="repeats of each measurement: median and spread (default 1)"
    )
    parser.add_argument("--seconds", type=float, default=15, help="a measured window (default 15)")
    parser.add_argument(
        "--warm-up", type=float, default=3, metavar="SECONDS", help="load before a window (default 3)"
    )
    parser.add_argument(
        "--in-flight", type=int, default=400, help="lives under way at saturation (default 400)"
    )
    parser.add_argument("--rate", type=float, default=500, help="messages/s of the open rate (default 500)")
    parser.add_argument(
        "--pairs", type=int, default=200, help="pairs of users, one device each (default 200)"
    )
    parser.add_argument(
        "--placement", choices=("across", "random"), default="across",
        help="across: the two of a pair on different gateways, by their private ports (default); random: the public port",
    )  # fmt: skip
    parser.add_argument("--idle", type=int, default=2000, help="idle connections (default 2000)")
    parser.add_argument("--backlog", type=int, default=10_000, help="events of the backlog (default 10000)")
    parser.add_argument(
        "--peer", choices=sorted(PEERS), action="append", default=[],
        help="measure this server too, in turns with ours, and print the ratios; may be repeated",
    )  # fmt: skip
    parser.add_argument("--clients", type=int, default=1, help="load generator processes (default 1)")
    parser.add_argument(
        "--hold", type=float, metavar="SECONDS",
        help="only keep the saturation load running, for a profiler; prints the gateways' pids (bench/profile.md)",
    )  # fmt: skip
    common_options(parser)
    return parser


def main() -> int:
    args = options().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    try:
        with running(args) as bench:
            if args.hold:
                return _hold(bench)
            with peers_running(args.peer, args, bench.system.folder, bench.system.cores, bench.say) as peers:
                result = _measure(bench, peers)
    except (DevError, LoadError, Gone, RuntimeError) as error:
        print(f"bench one_to_one: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if result["checks"]["problems"] else 0


def _measure(bench: Bench, peers: dict[str, PeerBench]) -> Figures:
    """All phases that were asked for, each printed when it is done; of each run first ours, then each peer's."""
    args, system = bench.options, bench.system
    wanted = args.only or PHASES
    result: Figures = {
        "bench": "one_to_one",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(system.folder),
        "versions": versions(system),
        "protections": protections(system),
        "load": {
            "users": 2 * args.pairs,
            "devices": 2 * args.pairs,
            "pairs": args.pairs,
            "in_flight": args.in_flight,
            "messages_per_second": args.rate,
            "codec": args.codec,
            "placement": args.placement,
            "body_bytes": args.body_bytes,
            "warm_up_seconds": args.warm_up,
            "seconds": args.seconds,
            "runs": args.runs,
            "clients": args.clients,
            "cores": str(system.cores),
        },
    }
    print(report.head(result), flush=True)
    theirs = result["peers"] = {
        name: {"versions": one.peer.versions(), "setup": one.peer.setup()} for name, one in peers.items()
    }
    if peers:
        print(told.head(theirs), flush=True)

    def lives(phase: str, title: str, ours: Ours, other: Theirs) -> None:
        result[phase], of_peers = turns.lives(bench, peers, args.runs, ours, other)
        print(report.lives(title, result[phase]), flush=True)
        for name, loads in of_peers.items():
            theirs[name][phase] = loads
            print(told.lives(name, title, loads), flush=True)

    if "connect" in wanted or "idle" in wanted:
        people = phases.idle_people(bench, args.idle)
        both, of_peers = turns.idle(bench, peers, args.runs, people)
        for name, text in (("connect", report.connects), ("idle", report.idle)):
            if name in wanted:
                result[name] = both
                print(text(both), flush=True)
                for peer, figures in of_peers.items():
                    theirs[peer][name] = figures
                    print(f"\n{peer}:" + text(figures), flush=True)
        system.restart_gateways()
    if "offline" in wanted:
        result["offline"] = combine([phases.offline(bench, args.backlog) for _ in range(args.runs)])
        print(report.offline(result["offline"]), flush=True)
        system.restart_gateways()
    if "saturation" in wanted:
        lives(
            "saturation",
            f"saturation, {args.in_flight} lives in flight",
            lambda run: phases.saturation(bench, args.in_flight),
            lambda one, run, receipts: one.saturation(args.in_flight, receipts),
        )
    if "rate" in wanted:
        lives(
            "rate",
            f"open rate, {args.rate:g} messages/s",
            lambda run: phases.open_rate(bench, args.rate, run),
            lambda one, run, receipts: one.open_rate(args.rate, run, receipts),
        )
        for name, one in peers.items():
            if not report.keeps_up(theirs[name]["rate"]["life"]["median"]):
                _slower(bench, name, one, theirs[name])
    _check(bench, result)
    _compare(peers, result)
    return result


def _slower(bench: Bench, name: str, one: PeerBench, figures: Figures) -> None:
    """What a peer does not keep up with has no ratio: both at what it does."""
    args = bench.options
    found, ours, loads = turns.slower(bench, one, args.runs, args.rate)
    figures["slower"] = found
    print(told.slower(name, figures["rate"]["life"]["median"], args.rate, found), flush=True)
    if ours is not None:
        found |= {"ours": ours, **loads, "ratios": ratios.of({"rate": ours}, {"rate": loads})}
        title = f"open rate, {found['takes']:g} messages/s"
        print(report.lives(title, ours), told.lives(name, title, loads), sep="\n", flush=True)
        print(told.ratios(name, found["ratios"]), flush=True)


def _compare(peers: dict[str, PeerBench], result: Figures) -> None:
    """Check what the peers did, and set ours beside it. What a peer lost or stored twice makes a bad run too: its figures are no
    measure then."""
    result["ratios"] = {}
    for name, one in peers.items():
        found = result["peers"][name]["checks"] = one.check()
        print(told.checks(name, found), flush=True)
        result["checks"]["problems"].update({f"{name} {kind}": n for kind, n in found["problems"].items()})
        result["ratios"][name] = ratios.of(result, result["peers"][name])
        print(told.ratios(name, result["ratios"][name]), flush=True)


def _check(bench: Bench, result: Figures) -> None:
    """Every message with a ✓ is a row; then what the generators saw."""
    stored = bench.system.stored()
    if stored != bench.sent:
        bench.blame({"stored_differs": abs(stored - bench.sent)})
    result["checks"] = {
        "messages": bench.sent,
        "stored": stored,
        "problems": dict(bench.problems),
        "examples": bench.examples[:20],
    }
    print(report.checks(result), flush=True)
    if "saturation" in result and not result["peers"]:
        result["other_measurements"] = report.others(result["saturation"]["median"]["lives_per_cpu_second"])
        print(report.comparison(result["other_measurements"]), flush=True)


def _hold(bench: Bench) -> int:
    """Nothing is measured: a profiler takes CPU too."""
    for name, pid in bench.system.gateway_pids.items():
        print(f"{name} pid {pid}", flush=True)
    phases.hold(bench, bench.options.in_flight, bench.options.hold)
    for kind, number in bench.problems.items():
        print(f"{kind}: {number}")
    return 1 if bench.problems else 0


if __name__ == "__main__":
    sys.exit(main())
