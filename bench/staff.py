"""How long the pages of the staff take with millions of people and reports: ``./dev bench staff``.

On a system of its own, filled by SQL: ``--accounts`` (10,000,000) with what pages read of them, ``--reports`` (1,000,000) with
their cases, three records of what staff did for each case. It has no workers, which would change the rows meanwhile. Then each
page is asked for over HTTP by a member of the role that works with it, ``--requests`` times, one after the other. Of every page
whose p95 is above ``--slow`` ms, and with ``--plans`` of others, it tells how PostgreSQL answers the slowest statements. Exit
code 1 if a page did not answer 200.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

from bench import staff_pages
from bench.figures import Figures
from bench.machine import load_average, machine, versions
from bench.phases import Bench
from bench.running import common_options, run, verdict
from bench.staff_desk import Desk
from bench.staff_pages import Wanted

#: A system with regions, so that the page of residency has something to look at.
ENV: Final = {
    "REGIONS": '{"1": {"name": "Frankfurt", "jurisdiction": "eu"}}',
    "JURISDICTIONS": "eu",
    "REGION_OF_NUMBERS": '{"*": 1}',
    "HOME_REGION": "1",
}


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev bench staff", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accounts", type=int, default=10_000_000, help="at most 10,000,000 (default)")
    parser.add_argument("--reports", type=int, default=1_000_000, help="default 1,000,000")
    parser.add_argument(
        "--requests", type=int, default=20, help="of each page, behind the first one (default 20)"
    )
    parser.add_argument(
        "--slow", type=float, default=300.0, help="ms above which plans are told (default 300)"
    )
    parser.add_argument(
        "--plans", nargs="?", const="", metavar="NAME", help="of every page, or those with NAME in theirs"
    )
    parser.add_argument("--statements", type=int, default=2, help="plans a page (default 2)")
    parser.add_argument("--only", default="", help="pages whose name has this in it")
    common_options(parser)
    return parser


def main() -> int:
    args = options().parse_args()
    args.clients, args.generators, args.workers, args.env = 1, 0, False, ENV
    return run("staff", args, measure)


class Filled(NamedTuple):
    """``targets``: words in addresses; ``made``: figures of the filling."""

    desks: dict[str, Desk]
    targets: dict[str, str]
    made: Figures


def measure(bench: Bench) -> Figures:
    filled = fill(bench)
    result = ask(bench, filled)
    for desk in filled.desks.values():
        desk.close()
    return result


def fill(bench: Bench) -> Filled:
    args, system = bench.options, bench.system
    password = secrets.token_urlsafe(16)
    bench.say(f"filling the tables: {args.accounts:,} accounts, {args.reports:,} reports")
    made = system.step(
        "bench.staff_rows", {"accounts": args.accounts, "reports": args.reports, "password": password}
    )
    desks = {role: Desk(system.stack.http, f"bench-{role}", password) for role in staff_pages.PAGES}
    targets = made.pop("targets")
    return Filled(desks, {**targets, "phone_q": quote(targets["phone"])}, made)


def ask(bench: Bench, filled: Filled) -> Figures:
    args, system = bench.options, bench.system
    system.settle()
    load = load_average()
    pages = [one for one in staff_pages.wanted(filled.targets) if args.only in one.name]
    rows = [_ask(bench, filled.desks[one.role], one) for one in pages]
    slow = [one for one, row in zip(pages, rows, strict=True) if _is_told(args, row)]
    plans = _plans(bench, filled.desks, slow) if slow else []
    result: Figures = {
        "bench": "staff",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(system.folder),
        "versions": versions(system),
        "load": {"accounts": args.accounts, "reports": args.reports, "requests": args.requests},
        **filled.made,
        "pages": rows,
        "slow_ms": args.slow,
        "plans": plans,
        "load_average": {"before": round(load, 2), "after": round(load_average(), 2)},
    }
    print(told(result), flush=True)
    result["checks"] = verdict(bench, "every page answered")
    return result


def _ask(bench: Bench, desk: Desk, one: Wanted) -> Figures:
    """The first answer alone, then so many. ``cpu_ms``: of a request, in gateways and PostgreSQL, whatever else runs here."""
    first = desk.get(one.path)
    if first.status != 200:
        bench.blame({"refused": 1}, [f"{one.role}: {one.path} answered {first.status}"])
    meter, number = bench.system.meter(), bench.options.requests
    before = meter.read()
    times = sorted(desk.get(one.path).ms for _ in range(number))
    used = meter.read().since(before)
    return {
        "role": one.role,
        "page": one.name,
        "path": one.path,
        "first_ms": round(first.ms, 1),
        "p50_ms": round(times[len(times) // 2], 1),
        "p95_ms": round(times[min(len(times) - 1, int(len(times) * 0.95))], 1),
        "max_ms": round(times[-1], 1),
        "cpu_ms": {part: round(used[part] * 1000 / number, 1) for part in ("gateways", "postgresql")},
        "kb": round(first.size / 1024, 1),
    }


def _is_told(args: argparse.Namespace, row: Figures) -> bool:
    return row["p95_ms"] > args.slow or (args.plans is not None and args.plans in row["page"])


def _plans(bench: Bench, desks: dict[str, Desk], slow: list[Wanted]) -> list[dict[str, Any]]:
    pages = [{"path": one.path, "cookies": desks[one.role].cookies} for one in slow]
    asked = {
        "pages": pages,
        "host": urlsplit(bench.system.stack.http).netloc,
        "statements": bench.options.statements,
    }
    found: list[dict[str, Any]] = bench.system.step("bench.staff_plans", asked)  # type: ignore[assignment]
    return [{"page": one.name, **plan} for one, plan in zip(slow, found, strict=True)]


def told(result: Figures) -> str:
    rows = sorted(result["pages"], key=lambda row: -row["p95_ms"])
    slow = [row for row in rows if row["p95_ms"] > result["slow_ms"]]
    largest = sorted(result["rows"].items(), key=lambda row: -row[1])[:8]
    lines = [
        f"{result['database_mb']:,} MB ({result['tables_mb']:,} tables, {result['indexes_mb']:,} indexes), made in "
        f"{sum(result['seconds'].values()):,.0f} s: "
        + ", ".join(f"{name} {number:,}" for name, number in largest),
        f"load average {result['load_average']['before']} before, {result['load_average']['after']} after",
        f"{'page':42} {'role':10} {'first':>8} {'p50':>8} {'p95':>8} {'max':>8} ms, CPU {'gateway':>7} {'PostgreSQL':>10}",
        *(
            f"{row['page']:42} {row['role']:10} "
            + " ".join(f"{row[name]:8.1f}" for name in ("first_ms", "p50_ms", "p95_ms", "max_ms"))
            + f"         {row['cpu_ms']['gateways']:7.1f} {row['cpu_ms']['postgresql']:10.1f}"
            for row in rows
        ),
        f"{len(rows) - len(slow)} of {len(rows)} pages within {result['slow_ms']:.0f} ms (p95)",
    ]
    for plan in result["plans"]:
        lines.append(f"\n{plan['page']}: {plan['queries']} queries, {plan['database_ms']} ms in the database")
        for one in plan["slowest"]:
            lines += [f"  {one['ms']:.0f} ms: {one['sql'][:600]}", *(f"    {line}" for line in one["plan"])]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
