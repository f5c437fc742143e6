"""One message forwarded into many large groups at once: ``./dev bench viral``.

Starts a system of its own and two load generators. Nearly all members are away and keep a mark; some hundred are connected. A
few people forward a message into all groups within seconds. Shown: the time to each ✓ and how many said ``queued``, how the
lanes fill and empty, when every mark is written, what that costs, and what pairs and a few small groups notice beside it. How to
read it: ``docs/bench.md``. Exit code 1 if a mark is missing, or a message was lost, repeated or out of order.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from typing import Any

from bench import marks
from bench.figures import Figures, percentiles
from bench.flood import beside, beside_lines
from bench.lane_watch import LaneWatch, Look
from bench.machine import load_average, machine, protections, versions
from bench.phases import Bench
from bench.running import common_options, run
from bench.viral_people import People, make

_VIRAL, _BESIDE = 0, 1  # generators
_GROUPS = ("gateways", "workers", "postgresql", "valkey")
_PHASES = ("before", "during", "after")
_TABLE_ROWS = 10
_MARKS_LATE_S = 5.0  # a lane is empty before the last report, never before the last mark: this is for what went another way


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev bench viral", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipients", type=int, default=100_000, metavar="N", help="(default 100000)")
    parser.add_argument("--group", type=int, default=1024, help="members of a group at most (default 1024)")
    parser.add_argument("--senders", type=int, default=10, help="people who forward (default 10)")
    parser.add_argument("--within", type=float, default=5, metavar="SECONDS", help="in this time (default 5)")
    parser.add_argument("--times", type=int, default=4, help="messages into each group (default 4)")
    parser.add_argument("--online", type=int, default=300, help="recipients who are connected (default 300)")
    parser.add_argument(
        "--late", type=int, default=20, help="recipients who connect afterwards and read it (default 20)"
    )
    parser.add_argument("--pairs", type=int, default=10, help="pairs of people beside it (default 10)")
    parser.add_argument("--quiet", type=int, default=8, help="small groups beside it (default 8)")
    parser.add_argument("--quiet-members", type=int, default=20, help="of a small group (default 20)")
    parser.add_argument(
        "--rate", type=float, default=2, help="messages/s of each pair and small group (default 2)"
    )
    parser.add_argument(
        "--calm", type=float, default=10, metavar="SECONDS", help="before and after (default 10)"
    )
    parser.add_argument(
        "--timeout", type=float, default=120, metavar="SECONDS", help="to drain (default 120)"
    )
    common_options(parser)
    return parser


def main() -> int:
    args = options().parse_args()
    args.clients = 1  # cores
    args.generators = 2
    return run("viral", args, measure)


def measure(bench: Bench) -> Figures:
    """Make everybody, forward, wait until it is everywhere, check it all."""
    args, system, generators = bench.options, bench.system, bench.generators
    result: Figures = {
        "bench": "viral",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(system.folder),
        "versions": versions(system),
        "protections": protections(system),
        "load": {
            name: getattr(args, name)
            for name in (
                "recipients", "group", "senders", "within", "times", "online", "late", "pairs", "quiet", "quiet_members",
                "rate", "calm", "codec", "body_bytes",
            )
        },
    }  # fmt: skip
    result["load"]["cores"] = str(system.cores)
    print(f"viral, {result['date']}, commit {result['versions']['commit']}; {system.cores}", flush=True)
    began = time.perf_counter()
    people = make(system, args)
    bench.say(
        f"{args.recipients:,} recipients in {len(people.groups)} groups made in {time.perf_counter() - began:.1f} s"
    )
    generators.of(
        _VIRAL,
        "viral",
        codec=args.codec,
        senders=people.senders,
        groups=people.targets(),
        body_bytes=args.body_bytes,
    )
    generators.of(
        _BESIDE,
        "beside",
        codec=args.codec,
        rooms=people.rooms,
        pairs=people.pairs,
        body_bytes=args.body_bytes,
    )
    result["load"]["groups"] = len(people.groups)
    system.settle()
    generators.of(_BESIDE, "beside_rate", per_room=args.rate, per_pair=args.rate, seed=1)
    time.sleep(min(2.0, args.calm))
    figures = _forward(bench, people)
    stopped = generators.of(_BESIDE, "beside_stop", timeout_s=30.0)
    bench.blame(stopped["problems"], stopped["examples"])
    figures["beside"] = beside(stopped["latency_us"], "")
    result["viral"] = figures
    result["checks"] = {"problems": dict(bench.problems), "examples": bench.examples[:20]}
    print(told(result), flush=True)
    return result


def _forward(bench: Bench, people: People) -> Figures:
    args, system, generators = bench.options, bench.system, bench.generators

    def phase(name: str) -> dict[str, Any]:
        return generators.of(_BESIDE, "beside_mark", phase=name)

    meter, client = system.meter(), generators.meter()
    with LaneWatch(system.stack.urls["HOT_URL"]) as watch:
        load = load_average()
        phase("before")
        calm = meter.read()
        time.sleep(args.calm)
        memory, first = system.valkey_bytes(), phase("during")
        used, used_client, passes = meter.read(), client.read(), system.lane_counters()
        start: float = generators.of(_VIRAL, "viral_begin", within_s=args.within, times=args.times)["at"]
        done = _wait(bench, watch, start + args.within + args.timeout)
        used_end, used_client_end, last = meter.read(), client.read(), phase("checking")
        passes_end = system.lane_counters()
        looks = watch.between(start, done)
        memory_end = system.valkey_bytes()
        looked = _check_marks(bench, people)
        phase("after")
        time.sleep(args.calm)
        phase("end")
    if watch.failed:
        bench.blame({"lanes_not_seen": 1}, [watch.failed])
    stopped = generators.of(_VIRAL, "viral_stop", timeout_s=30.0)
    bench.blame(stopped["problems"], stopped["examples"])
    _read_late(bench, people)
    parts, idle = used_end.since(used), used.since(calm)
    wall, calm_wall = used_end.at - used.at, used.at - calm.at
    total = sum(parts.values())
    net = max(1e-9, total - sum(idle.values()) / calm_wall * wall)
    number, entries = (
        passes_end.get((n, "lane"), 0.0) - passes.get((n, "lane"), 0.0) for n in ("count", "sum")
    )
    reached = args.recipients * args.times
    return {
        "groups": len(people.groups),
        "messages": stopped["begun"],
        "sent_ms": {**percentiles(stopped["sent_ms"]), "max": max(stopped["sent_ms"], default=0.0)},
        "each_sent_ms": stopped["sent_ms"],
        "queued": stopped["queued"],
        "drained_seconds": round(done - start, 2),
        "marks_checked": looked,
        "deliveries": stopped["deliveries"],
        "online_last_ms": percentiles(stopped["last_us"], 1e-3),
        "reached_per_second": round(reached / (done - start), 1),
        "reached_per_cpu_second": round(reached / total, 1),
        "reached_per_cpu_second_net": round(reached / net, 1),
        "cpu_us_per_recipient": {
            "total": round(total * 1e6 / reached, 2),
            **{name: round(parts[name] * 1e6 / reached, 2) for name in _GROUPS},
        },
        "passes": number,
        "appends_per_pass": round(entries / number, 2) if number else 0.0,
        "valkey_bytes_per_recipient": round((memory_end - memory) / args.recipients, 1),
        "lanes": table(looks, start),
        "beside_queued": {
            kind: last["queued"].get(kind, 0) - first["queued"].get(kind, 0) for kind in ("other", "same")
        },
        "busy_cores": {
            "servers": round(total / wall, 3),
            "client": round(sum(used_client_end.since(used_client).values()) / wall, 3),
        },
        "load_average": round(load, 2),
    }


def _wait(bench: Bench, watch: LaneWatch, deadline: float) -> float:
    """Until all is sent and answered and no lane holds anything; when that was."""
    while time.perf_counter() < deadline:
        state = bench.generators.of(_VIRAL, "viral_state")
        look = watch.look()
        if state["all_begun"] and not state["without_answer"] and not look.entries:
            return look.at
        time.sleep(0.05)
    bench.blame({"lanes_never_empty": 1})
    return time.perf_counter()


def _check_marks(bench: Bench, people: People) -> int:
    """Every device that is away has its mark at the head of its group, and every group its messages. Returns how many."""
    system, args = bench.system, bench.options
    rows = marks.owed(system.stack.urls["DATABASE_URL"], people.groups)
    if wrong := sum(head != 1 + args.times for head in {row[0]: row[1] for row in rows}.values()):
        bench.blame({"groups_without_their_messages": wrong})
    deadline = time.monotonic() + _MARKS_LATE_S
    while True:
        looked, missing = marks.check(system.stack.urls["HOT_URL"], rows, people.connected)
        if not missing or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    if missing:
        bench.blame({"marks_missing": len(missing)}, missing[:5])
    if looked != args.recipients - sum(map(len, people.online)):
        bench.blame({"recipients_not_found": abs(looked - args.recipients)})
    return looked


def _read_late(bench: Bench, people: People) -> None:
    """Who connects afterwards finds it once."""
    args = bench.options
    for person in people.late:
        read = bench.generators.of(_VIRAL, "drain", codec=args.codec, person=person)
        bench.blame(read["problems"])
        if read["events"] != 1 + args.times:  # being added is an event too
            bench.blame({"late_read_something_else": 1}, [f"{read['events']} events"])


def table(looks: list[Look], start: float) -> list[dict[str, float]]:
    """A few looks, evenly chosen, the first and the last among them."""
    last = len(looks) - 1
    chosen = (
        sorted({round(n * last / (_TABLE_ROWS - 1)) for n in range(_TABLE_ROWS)})
        if last > 0
        else [0] * bool(looks)
    )
    return [
        {
            "at_s": round(looks[n].at - start, 2),
            "entries": looks[n].entries,
            "busy_lanes": looks[n].busy,
            "oldest_ms": looks[n].lag_ms,
        }
        for n in chosen
    ]


def told(result: Figures) -> str:
    """The figures as text."""
    load, f = result["load"], result["viral"]
    cpu, sent, last = f["cpu_us_per_recipient"], f["sent_ms"], f["online_last_ms"]
    lines = [
        f"\n{load['recipients']:,} recipients in {f['groups']} groups, {load['online']} of them connected; "
        f"{load['senders']} people forward {f['messages']} messages ({load['times']} into each group) "
        f"within {load['within']:g} s",
        f"  to the ✓ p50 / p99 / longest ms     {sent.get('p50', 0):,.1f} / {sent.get('p99', 0):,.1f} / {sent['max']:,.1f}   "
        f"{f['queued']} of {f['messages']} answered queued",
        f"  every mark written after s         {f['drained_seconds']:.2f}   {f['marks_checked']:,} marks of devices "
        "that are away, each looked at",
        f"  connected members p50 / p99 ms     {last.get('p50', 0):,.0f} / {last.get('p99', 0):,.0f}   to the last one "
        f"of a group; {f['deliveries']:,} deliveries",
        f"  recipients reached / CPU-second    {f['reached_per_cpu_second']:,.0f}   "
        f"({f['reached_per_cpu_second_net']:,.0f} without what goes on beside); {f['reached_per_second']:,.0f} a second",
        f"  server CPU us / recipient          {cpu['total']:.1f}   "
        + ", ".join(f"{name} {cpu[name]:.1f}" for name in _GROUPS),
        f"  passes                             {f['passes']:.0f}   {f['appends_per_pass']:.1f} appends a pass",
        f"  Valkey bytes / recipient           {f['valkey_bytes_per_recipient']:.0f}",
        f"  cores busy meanwhile               servers {f['busy_cores']['servers']:.2f}, "
        f"generators {f['busy_cores']['client']:.2f}",
        "",
        f"  {'s':>8}{'entries in lanes':>20}{'lanes with some':>18}{'oldest ms':>12}",
    ]
    lines += [
        f"  {row['at_s']:>8.1f}{row['entries']:>20,}{row['busy_lanes']:>18}{row['oldest_ms']:>12,}"
        for row in f["lanes"]
    ]
    kinds = {
        "other": "small groups, lanes of their own",
        "same": "small groups, lanes of large ones",
        "pair": "pairs (1:1)",
    }
    lines += ["", *beside_lines(f["beside"], kinds, _PHASES, f["beside_queued"])]
    problems = result["checks"]["problems"]
    lines.append(
        f"\nCHECKS FAILED: {problems} {result['checks']['examples'][:5]}"
        if problems
        else "\nchecks: every mark there; each message once to each member who was connected, "
        f"and to {load['late']} who came later"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
