"""How long until somebody who follows a user is told that it came or went: ``./dev bench presence``.

Starts a system of its own and a load generator. People connect and say bye at random times; each is followed by others on both
gateways. Measured from the begin of connecting, or from the close frame, to the frame of each follower. How to read it:
``docs/bench.md``. Exit code 1 if a follower was told something wrong, twice or never.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime

from bench.figures import Figures, percentiles
from bench.machine import load_average, machine, protections, versions
from bench.phases import Bench
from bench.running import common_options, run

#: Comings and goings a second.
RATES = (20.0, 100.0)
_GROUPS = ("gateways", "postgresql", "valkey", "workers")
_WARM_S = 2.0


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev bench presence", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rate",
        type=float,
        action="append",
        metavar="N",
        help="comings and goings a second; may be repeated",
    )
    parser.add_argument("--people", type=int, default=500, help="who come and go (default 500)")
    parser.add_argument("--followers", type=int, default=100, help="sockets that follow some (default 100)")
    parser.add_argument("--each", type=int, default=50, help="people whom one follows (default 50)")
    parser.add_argument("--seconds", type=float, default=20, help="of each rate (default 20)")
    common_options(parser)
    return parser


def main() -> int:
    parser = options()
    args = parser.parse_args()
    if args.followers * args.each % args.people:
        parser.error(
            f"--followers {args.followers} times --each {args.each} is no multiple of --people {args.people}:"
            " all of them must have as many followers"
        )
    args.clients = 1  # cores
    return run("presence", args, measure)


def measure(bench: Bench) -> Figures:
    """All rates, one after the other, with other people each."""
    args, system = bench.options, bench.system
    rates = args.rate or list(RATES)
    result: Figures = {
        "bench": "presence",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(system.folder),
        "versions": versions(system),
        "protections": protections(system),
        "load": {name: getattr(args, name) for name in ("people", "followers", "each", "seconds", "codec")},
        "rates": {},
    }
    result["load"]["cores"] = str(system.cores)
    print(
        f"presence, {result['date']}, commit {result['versions']['commit']}; {system.cores}\n"
        f"  {args.people} people who come and go, each followed by {args.followers * args.each // args.people} of "
        f"{args.followers} sockets on both gateways",
        flush=True,
    )
    for number, rate in enumerate(rates):
        figures = _one(bench, rate, number)
        result["rates"][f"{rate:g}"] = figures
        print(told(rate, figures), flush=True)
    result["checks"] = {"problems": dict(bench.problems), "examples": bench.examples[:20]}
    print(
        "\nchecks: each follower was told each coming and going once"
        if not bench.problems
        else f"\nCHECKS FAILED: {dict(bench.problems)} {bench.examples[:5]}"
    )
    return result


def _one(bench: Bench, rate: float, seed: int) -> Figures:
    args, system, generators = bench.options, bench.system, bench.generators
    people = system.make_people(args.people + args.followers, [])["people"]
    for number, person in enumerate(people):
        person["url"] = system.url(number, "across")
    generators.one(
        "comings",
        codec=args.codec,
        guests=people[: args.people],
        followers=people[args.people :],
        each=args.each,
    )
    system.settle()
    servers, client, load = system.meter(), generators.meter(), load_average()
    generators.one("comings_begin", per_second=rate, seed=seed)
    time.sleep(_WARM_S)
    used, used_client = servers.read(), client.read()
    time.sleep(args.seconds)
    used_end, used_client_end = servers.read(), client.read()
    stopped = generators.one("comings_stop", timeout_s=20.0)
    bench.blame(stopped["problems"], stopped["examples"])
    parts, wall = used_end.since(used), used_end.at - used.at
    return {
        "moves": stopped["moves"],
        "told": len(stopped["online_us"]) + len(stopped["offline_us"]),
        "online_ms": _spread(stopped["online_us"]),
        "offline_ms": _spread(stopped["offline_us"]),
        "ready_ms": _spread(stopped["ready_us"]),
        "cpu_us_per_move": {
            "total": round(sum(parts.values()) * 1e6 / (rate * wall), 1),
            **{name: round(parts[name] * 1e6 / (rate * wall), 1) for name in _GROUPS},
        },
        "busy_cores": {
            "servers": round(sum(parts.values()) / wall, 3),
            "client": round(sum(used_client_end.since(used_client).values()) / wall, 3),
        },
        "load_average": round(load, 2),
    }


def _spread(us: list[int]) -> Figures:
    return {**percentiles(us, 1e-3), "max": round(max(us, default=0) / 1000, 2)}


def told(rate: float, f: Figures) -> str:
    """The figures as text."""

    def ms(name: str) -> str:
        return f"{f[name].get('p50', 0):,.1f} / {f[name].get('p99', 0):,.1f} / {f[name]['max']:,.1f}"

    cpu = f["cpu_us_per_move"]
    return "\n".join(
        [
            f"\n{rate:g} comings and goings a second: {f['moves']} of them, followers were told {f['told']:,} times",
            f"  from connecting to `online`  p50 / p99 / longest ms   {ms('online_ms')}",
            f"  from bye to `offline`                                 {ms('offline_ms')}",
            f"  from connecting to `ready`                            {ms('ready_ms')}",
            f"  server CPU us a move   {cpu['total']:,.0f}   "
            + ", ".join(f"{n} {cpu[n]:,.0f}" for n in _GROUPS),
            f"  cores busy   servers {f['busy_cores']['servers']:.2f}, generator {f['busy_cores']['client']:.2f}",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
