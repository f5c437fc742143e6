"""A gateway is killed under load: how long until its clients are back, and what those pay who never left: ``./dev bench herd``.

Starts a system of its own with two gateways. Pairs of people write to each other on the second one; the first one, with all
the others, is killed (-9), and they come back as the Python library does. With admission (token bucket and slots) and without
it, in turn. How to read it: ``docs/bench.md``. Exit code 1 if a message was lost, repeated or out of order, or somebody did
not come back.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from datetime import UTC, datetime

from bench.figures import Figures, combine, percentiles
from bench.machine import load_average, machine, protections, versions
from bench.phases import Bench
from bench.running import common_options, run
from whatsapp.infra.limits import Limits

#: Nobody comes from the address of everybody else but in a bench.
_ONE_ADDRESS = {"unauthenticated_per_address": 1_000_000, "http_connections_per_address": 1_000_000}
_DEFAULTS = Limits()
ADMISSION: dict[str, dict[str, int]] = {
    "with": {"authentications_per_minute": _DEFAULTS.authentications_per_minute},
    "without": {"unauthenticated": 1_000_000},
}
_CALM_S = 5.0
_STEPS = ("sent", "received")


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev bench herd", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--connections", type=int, default=5_000, help="on the gateway that dies (default 5000)"
    )
    parser.add_argument("--pairs", type=int, default=50, help="pairs of people on the other one (default 50)")
    parser.add_argument("--rate", type=float, default=100, help="their messages a second (default 100)")
    parser.add_argument("--runs", type=int, default=3, help="of each kind (default 3)")
    parser.add_argument(
        "--before", type=float, default=10, metavar="SECONDS", help="measured before (default 10)"
    )
    parser.add_argument(
        "--wait", type=float, default=120, metavar="SECONDS", help="for all to be back (default 120)"
    )
    parser.add_argument(
        "--per-minute", type=int, metavar="N", help="authentications_per_minute instead of the default"
    )
    parser.add_argument("--burst", type=int, metavar="N", help="authentications_burst instead of the default")
    parser.add_argument(
        "--admission", choices=sorted(ADMISSION), action="append", help="only so; default: both in turn"
    )
    common_options(parser)
    return parser


def main() -> int:
    args = options().parse_args()
    args.clients, args.generators = 1, 2  # one core for both
    return run("herd", args, measure)


def measure(bench: Bench) -> Figures:
    args, system = bench.options, bench.system
    kinds = args.admission or list(ADMISSION)
    result: Figures = {
        "bench": "herd",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(system.folder),
        "versions": versions(system),
        "protections": protections(system),
        "load": {name: getattr(args, name) for name in ("connections", "pairs", "rate", "before", "codec")},
    }
    result["load"]["cores"] = str(system.cores)
    print(
        f"herd, {result['date']}, commit {result['versions']['commit']}; {system.cores}\n"
        f"  {args.connections:,} connections on a gateway that is killed; {args.rate:g} messages/s of {args.pairs} pairs "
        "on the other",
        flush=True,
    )
    runs: dict[str, list[Figures]] = {kind: [] for kind in kinds}
    herd = system.make_people(args.connections, [])["people"]
    for number in range(args.runs):
        for kind in kinds:
            limits = {**_ONE_ADDRESS, **ADMISSION[kind]}
            if kind == "with" and args.per_minute:
                limits["authentications_per_minute"] = args.per_minute
            if kind == "with" and args.burst:
                limits["authentications_burst"] = args.burst
            system.limit_gateways(**limits)
            runs[kind].append(_one(bench, herd, number))
            bench.say(f"{kind}: {runs[kind][-1]}")
    for kind in kinds:
        result[kind] = combine(runs[kind])
        print(told(kind, result[kind]), flush=True)
    result["checks"] = {"problems": dict(bench.problems), "examples": bench.examples[:20]}
    print(
        "\nchecks: everybody came back, and of those who stayed no message was lost, repeated or out of order"
        if not bench.problems
        else f"\nCHECKS FAILED: {dict(bench.problems)} {bench.examples[:5]}"
    )
    return result


def _one(bench: Bench, herd: list[dict[str, str]], number: int) -> Figures:
    args, system, generators = bench.options, bench.system, bench.generators
    doomed, stays = system.gateway_names
    made = system.make_people(2 * args.pairs, [(2 * n, 2 * n + 1) for n in range(args.pairs)])
    for person in made["people"]:
        person["url"] = system.private_url(stays)
    for person in herd:
        person["url"] = system.private_url(doomed)
    pairs = [
        {"a": made["people"][2 * n], "b": made["people"][2 * n + 1], "conversation": conversation}
        for n, conversation in enumerate(made["conversations"])
    ]
    generators.of(0, "pairs", pairs=pairs, codec=args.codec, body_bytes=args.body_bytes)
    generators.of(1, "strays", people=herd, home=system.stack.ws, codec=args.codec)
    system.settle()
    load = load_average()
    generators.of(0, "rate", per_second=args.rate, seed=number)
    time.sleep(2)
    generators.of(0, "mark")
    time.sleep(args.before)
    generators.of(0, "mark")
    before = generators.of(0, "latencies")["latency_us"]
    meter, client = system.meter(without=doomed), generators.meter()
    killed = generators.of(1, "scatter")["at"]
    system.stack.children[doomed].send(signal.SIGKILL)
    seconds: list[Figures] = []
    used, used_client = meter.read(), client.read()
    busiest: Figures = {}
    deadline = time.monotonic() + args.wait
    calm_at = 0.0
    while not calm_at or time.monotonic() < calm_at:
        time.sleep(max(0.0, used.at + 1.0 - time.perf_counter()))
        now, now_client = meter.read(), client.read()
        generators.of(0, "mark")
        parts = {**now.since(used), **now_client.since(used_client)}
        wall = now.at - used.at
        parts["servers"] = sum(value for name, value in parts.items() if name != "client")
        busiest = {name: max(busiest.get(name, 0.0), round(value / wall, 3)) for name, value in parts.items()}
        used, used_client = now, now_client
        seconds.append(generators.of(0, "latencies")["latency_us"])
        state = generators.of(1, "strays_state")
        if not calm_at and (state["back"] == state["of"] or time.monotonic() > deadline):
            calm_at = time.monotonic() + 2.0
    found = generators.of(1, "strays_end")
    lost = generators.of(0, "stop", timeout_s=30.0)
    generators.of(0, "close_pairs")
    bench.blame(lost["problems"], lost["examples"])
    bench.sent += lost["begun"] - lost["lost"]
    if lost["lost"]:
        bench.blame({"lost": lost["lost"]})
    back = sorted(at - killed for at in found["back_at"] if at)
    if missing := len(herd) - len(back):
        bench.blame({"never_back": missing})
    return {
        "all_back_s": round(back[-1], 2) if back else 0.0,
        "half_back_s": round(back[len(back) // 2], 2) if back else 0.0,
        "attempts_each": round(sum(int(n) * many for n, many in found["attempts"].items()) / len(herd), 2),
        "turned_away_twice": sum(many for n, many in found["attempts"].items() if int(n) > 2),
        "before_ms": {step: percentiles(before[step], 1e-3) for step in _STEPS},
        "during_ms": {
            step: percentiles([us for second in seconds for us in second[step]], 1e-3) for step in _STEPS
        },
        "longest_ms": {
            step: round(max((us for s in seconds for us in s[step]), default=0) / 1000, 1) for step in _STEPS
        },
        "by_second_ms": {
            step: [percentiles(second[step], 1e-3).get("p99", 0.0) for second in seconds] for step in _STEPS
        },
        "busiest_second": busiest,
        "what_happened": found["tally"],
        "load_average": round(load, 2),
    }


def told(kind: str, phase: Figures) -> str:
    """The figures as text."""
    m, s = phase["median"], phase["spread"]

    def line(name: str, *path: str, unit: str = "") -> str:
        value, spread = m, s
        for step in path:
            value, spread = value.get(step, 0), spread.get(step, [0, 0])
        return f"  {name:46} {value:>9,.2f} ({spread[0]:,.2f} to {spread[1]:,.2f}) {unit}"

    lines = [
        f"\n{kind} admission ({len(phase['runs'])} run(s), median, lowest to highest)",
        line("half are back after", "half_back_s", unit="s"),
        line("all are back after", "all_back_s", unit="s"),
        line("attempts each", "attempts_each"),
    ]
    for step in _STEPS:
        for when in ("before", "during"):
            for part in ("p50", "p99"):
                lines.append(line(f"who stayed, {when}: {step} {part}", f"{when}_ms", step, part, unit="ms"))
        lines.append(line(f"who stayed, during: {step} longest", "longest_ms", step, unit="ms"))
    for name in ("servers", "gateways", "postgresql", "valkey", "client"):
        lines.append(line(f"busiest second, cores: {name}", "busiest_second", name))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
