"""What a flood in one group does to everybody else: ``./dev bench flood``.

Starts a system of its own and two load generators. A large group is written to by a few members as fast as they get their ✓, or
at a rate; beside it quiet groups of other lanes, quiet groups of its own lane and pairs of people go on as before. Their time
from send to the last member is shown before, during and after. How to read it: ``docs/bench.md``. Exit code 1 if a message was
lost, repeated or out of order.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bench.figures import Figures, percentiles
from bench.lane_watch import LaneWatch, Look
from bench.machine import load_average, machine, protections, versions
from bench.phases import Bench
from bench.running import common_options, run
from delivery.lanes import LANES

#: Connected members of the flooded group, messages/s (0: as fast as the ✓ come).
FLOODS = ((20, 0.0), (200, 0.0), (200, 100.0))
LANE = 7  # of the flooded group
PHASES = ("before", "during", "draining", "after")
KINDS = {"other": "quiet groups, other lanes", "same": "quiet groups, the same lane", "pair": "pairs (1:1)"}
_FLOOD, _BESIDE = 0, 1  # generators
_DRAIN_S = 90.0


def _flood(text: str) -> tuple[int, float]:
    online, _, rate = text.partition(":")
    return int(online), float(rate or 0)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev bench flood", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--flood", type=_flood, action="append", metavar="ONLINE[:RATE]",
        help="connected members of the flooded group, and messages/s instead of as fast as the ✓ come; may be repeated",
    )  # fmt: skip
    parser.add_argument("--members", type=int, default=1000, help="of the flooded group (default 1000)")
    parser.add_argument("--senders", type=int, default=5, help="members who flood (default 5)")
    parser.add_argument(
        "--in-flight", type=int, default=1, help="messages of each on their way to the ✓ (default 1)"
    )
    parser.add_argument("--others", type=int, default=10, help="quiet groups in other lanes (default 10)")
    parser.add_argument("--same", type=int, default=5, help="quiet groups in the flooded lane (default 5)")
    parser.add_argument("--quiet-members", type=int, default=20, help="of a quiet group (default 20)")
    parser.add_argument("--pairs", type=int, default=10, help="pairs of people (default 10)")
    parser.add_argument(
        "--rate", type=float, default=2, help="messages/s of each quiet group and pair (default 2)"
    )
    parser.add_argument("--seconds", type=float, default=10, help="of a flood (default 10)")
    parser.add_argument(
        "--calm", type=float, default=8, metavar="SECONDS", help="before and after (default 8)"
    )
    common_options(parser)
    return parser


def main() -> int:
    args = options().parse_args()
    args.clients = (
        1  # cores; two generators share them, so that a flood does not delay the clock of the quiet ones
    )
    args.generators = 2
    return run("flood", args, measure)


def measure(bench: Bench) -> Figures:
    """All floods, one after the other, beside the same quiet groups and pairs."""
    args, system = bench.options, bench.system
    floods = args.flood or list(FLOODS)
    result: Figures = {
        "bench": "flood",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(system.folder),
        "versions": versions(system),
        "protections": protections(system),
        "load": {
            name: getattr(args, name)
            for name in (
                "members", "senders", "in_flight", "others", "same", "quiet_members", "pairs", "rate", "seconds", "calm",
                "codec", "body_bytes",
            )
        },
        "floods": {},
    }  # fmt: skip
    result["load"]["cores"] = str(system.cores)
    print(f"flood, {result['date']}, commit {result['versions']['commit']}; {system.cores}", flush=True)
    print(
        f"  beside it {args.others} quiet groups of {args.quiet_members} in other lanes, {args.same} in the same lane, "
        f"{args.pairs} pairs, {args.rate:g} messages/s each",
        flush=True,
    )
    crowds = _people(bench, floods)
    measured = []
    for number, ((online, rate), crowd) in enumerate(zip(floods, crowds, strict=True)):
        measured.append(_one(bench, f"{number}:", rate, crowd))
        bench.say(f"flood of {online} connected, {_pace(rate)}: done")
    stopped = bench.generators.of(_BESIDE, "beside_stop", timeout_s=30.0)
    bench.blame(stopped["problems"], stopped["examples"])
    for number, ((online, rate), figures) in enumerate(zip(floods, measured, strict=True)):
        figures["beside"] = beside(stopped["latency_us"], f"{number}:")
        result["floods"][f"{online}_at_{rate:g}" if rate else f"{online}_closed"] = figures
        print(told(online, rate, args.members, figures), flush=True)
    result["checks"] = {"problems": dict(bench.problems), "examples": bench.examples[:20]}
    print(
        "\nchecks: each message once to each member who was connected, in order"
        if not bench.problems
        else f"\nCHECKS FAILED: {dict(bench.problems)} {bench.examples[:5]}"
    )
    return result


def _people(bench: Bench, floods: list[tuple[int, float]]) -> list[dict[str, Any]]:
    """Make everybody; connect the quiet ones and begin what they write. Returns group and connected people of each flood."""
    args, system = bench.options, bench.system
    quiet = args.others + args.same
    first_of_pairs = quiet * args.quiet_members
    first_online = first_of_pairs + 2 * args.pairs
    groups = [list(range(n * args.quiet_members, (n + 1) * args.quiet_members)) for n in range(quiet)]
    spread = [(LANE + 1 + n * 5 % (LANES - 1)) % LANES for n in range(args.others)]  # never LANE itself
    made = system.make_people(
        first_online + sum(online for online, _ in floods),
        [(n, n + 1) for n in range(first_of_pairs, first_online, 2)],
        groups,
        lanes=spread + [LANE] * args.same,
    )
    people = made["people"]
    for number, person in enumerate(people):
        person["url"] = system.url(number, "across")
    crowds, begin = [], first_online
    for online, _ in floods:
        crowds.append({"people": people[begin : begin + online]})
        begin += online
    ids = system.make_crowds(
        [
            {
                "users": [person["user"] for person in crowd["people"]],
                "more": max(0, args.members - len(crowd["people"])),
                "lane": LANE,
            }
            for crowd in crowds
        ]
    )
    bench.generators.of(
        _BESIDE,
        "beside",
        codec=args.codec,
        body_bytes=args.body_bytes,
        rooms=[
            {
                "kind": "other" if n < args.others else "same",
                "group": made["groups"][n],
                "people": [people[member] for member in groups[n]],
            }
            for n in range(quiet)
        ],
        pairs=[
            {
                "a": people[first_of_pairs + 2 * n],
                "b": people[first_of_pairs + 2 * n + 1],
                "conversation": id_,
            }
            for n, id_ in enumerate(made["conversations"])
        ],
    )
    system.settle()
    bench.generators.of(_BESIDE, "beside_rate", per_room=args.rate, per_pair=args.rate, seed=1)
    return [{**crowd, "group": group} for crowd, group in zip(crowds, ids, strict=True)]


def _one(bench: Bench, prefix: str, rate: float, crowd: dict[str, Any]) -> Figures:
    """One flood: before, during, until it has drained, after."""
    args, system, generators = bench.options, bench.system, bench.generators

    def phase(name: str) -> dict[str, Any]:
        return generators.of(_BESIDE, "beside_mark", phase=prefix + name)

    generators.of(
        _FLOOD, "flooded", codec=args.codec, group=crowd["group"], people=crowd["people"],
        senders=min(args.senders, len(crowd["people"])), body_bytes=args.body_bytes,
    )  # fmt: skip
    time.sleep(min(2.0, args.calm))
    meter, client = system.meter(), generators.meter()
    with LaneWatch(system.stack.urls["HOT_URL"]) as watch:
        load = load_average()
        phase("before")
        time.sleep(args.calm)
        used, used_client, began = meter.read(), client.read(), phase("during")
        first = generators.of(_FLOOD, "flood", in_flight=args.in_flight, per_second=rate, seed=7)
        passes = system.lane_counters()
        time.sleep(args.seconds)
        last, ended = generators.of(_FLOOD, "flood_end"), phase("draining")
        used_end, used_client_end, at_end = meter.read(), client.read(), time.perf_counter()
        passes_end = system.lane_counters()
        stopped = generators.of(_FLOOD, "flood_stop", timeout_s=_DRAIN_S)
        empty = watch.wait_empty(_DRAIN_S)
        phase("after")
        looks = watch.between(used.at, time.perf_counter())
        time.sleep(args.calm)
        phase("next")
    if watch.failed:
        bench.blame({"lanes_not_seen": 1}, [watch.failed])
    if empty is None:
        bench.blame({"lanes_never_empty": 1})
    bench.blame(stopped["problems"], stopped["examples"])
    if stopped["lost"]:
        bench.blame({"lost": stopped["lost"]})
    parts, wall = used_end.since(used), used_end.at - used.at
    seconds = last["at"] - first["at"]
    number, entries = (
        passes_end.get((n, "lane"), 0.0) - passes.get((n, "lane"), 0.0) for n in ("count", "sum")
    )
    return {
        "sent_per_second": round((last["stored"] - first["stored"]) / seconds, 1),
        "answered_queued": last["queued"] - first["queued"],
        "messages": stopped["begun"],
        "deliveries_per_second": round((last["deliveries"] - first["deliveries"]) / seconds, 1),
        "latency_ms": {step: percentiles(stopped["latency_us"][step], 1e-3) for step in ("each", "last")},
        "drain_seconds": round(max(0.0, (empty or at_end + _DRAIN_S) - at_end), 2),
        "beside_answered_queued": {
            kind: ended["queued"].get(kind, 0) - began["queued"].get(kind, 0) for kind in ("other", "same")
        },
        "passes_per_second": round(number / seconds, 1),
        "appends_per_pass": round(entries / number, 2) if number else 0.0,
        "lanes": depth(looks, LANE),
        "busy_cores": {
            "servers": round(sum(parts.values()) / wall, 3),
            **{name: round(used / wall, 3) for name, used in parts.items()},
            "client": round(sum(used_client_end.since(used_client).values()) / wall, 3),
        },
        "load_average": round(load, 2),
    }


def depth(looks: list[Look], lane: int) -> Figures:
    """The most entries and the longest lag (ms) seen in a lane and in all the others."""
    of = [look.lanes[lane] for look in looks]
    others = [seen for look in looks for number, seen in enumerate(look.lanes) if number != lane]
    return {
        name: {
            "entries": max((waiting for waiting, _ in seen), default=0),
            "lag_ms": max((age for _, age in seen), default=0),
        }
        for name, seen in (("flooded", of), ("others", others))
    }


def beside(latency_us: dict[str, dict[str, list[int]]], prefix: str) -> Figures:
    """By kind and phase: p50, p99, the longest (ms) and how many; and how many times as long p50 and p99 were during it."""
    found: Figures = {}
    for kind in KINDS:
        by = {}
        for name in PHASES:
            values = latency_us.get(kind, {}).get(prefix + name, [])
            if values:
                by[name] = {
                    **percentiles(values, 1e-3),
                    "max": round(max(values) / 1e3, 2),
                    "count": len(values),
                }
        if "before" in by and "during" in by:
            by["ratio"] = {
                part: round(by["during"][part] / max(by["before"][part], 0.01), 2) for part in ("p50", "p99")
            }
        if by:
            found[kind] = by
    return found


def _pace(rate: float) -> str:
    return f"at {rate:g} messages/s" if rate else "as fast as the ✓ come"


def told(online: int, rate: float, members: int, figures: Figures) -> str:
    """The figures as text."""
    f, cores, lanes = figures, figures["busy_cores"], figures["lanes"]
    last = f["latency_ms"]["last"]
    lines = [
        f"\na group of {members:,} with {online} connected, flooded {_pace(rate)}",
        f"  {f['sent_per_second']:,.0f} ✓/s; of all {f['answered_queued']:,} were queued; "
        f"{f['deliveries_per_second']:,.0f} deliveries/s; "
        f"to its last member p50 / p99 {last.get('p50', 0):,.0f} / {last.get('p99', 0):,.0f} ms; "
        f"all of it delivered {f['drain_seconds']:.1f} s after the end",
        f"  {f['passes_per_second']:.0f} passes/s of {f['appends_per_pass']:.1f} appends; its lane held at most "
        f"{lanes['flooded']['entries']:,} entries, {lanes['flooded']['lag_ms']:,} ms old; another lane "
        f"{lanes['others']['entries']:,}, {lanes['others']['lag_ms']:,} ms",
        f"  cores busy: servers {cores['servers']:.2f} (gateways {cores['gateways']:.2f}, workers {cores['workers']:.2f}, "
        f"postgresql {cores['postgresql']:.2f}, valkey {cores['valkey']:.2f}), generators {cores['client']:.2f}",
        *beside_lines(f["beside"], KINDS, PHASES, f["beside_answered_queued"]),
    ]
    return "\n".join(lines)


def beside_lines(
    found: Figures, kinds: dict[str, str], phases: Sequence[str], queued: dict[str, int]
) -> list[str]:
    """A table of what :func:`beside` found."""
    lines = [
        f"  {'to the last member, p50 / p99 ms':34}"
        + "".join(f"{name:>18}" for name in phases)
        + f"{'during : before':>18}{'queued':>8}"
    ]
    for kind, text in kinds.items():
        by = found.get(kind, {})
        cells = [f"{by[name]['p50']:,.1f} / {by[name]['p99']:,.1f}" if name in by else "" for name in phases]
        cells.append(f"{by['ratio']['p50']:.1f} / {by['ratio']['p99']:.1f}" if "ratio" in by else "")
        lines.append(
            f"  {text:34}"
            + "".join(f"{cell:>18}" for cell in cells)
            + (f"{queued[kind]:>8}" if kind in queued else "")
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
