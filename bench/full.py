"""One gateway with as many idle connections as it may have, or as the machine bears: ``./dev bench full --connections 50000``.

Starts a system of its own and two load generators, whose sockets come from several loopback addresses (one address has 28,000
ports to one port of a server). Everybody authenticates and syncs; measured are the gateway's memory, the kernel's share, what
resting costs, and the pings. What the machine must allow: ``docs/tuning.md``. Exit code 1 if a socket was closed.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.cpu import resident_kb
from bench.figures import Figures, percentiles
from bench.machine import machine, protections, versions
from bench.phases import Bench
from bench.running import common_options, run

_ANY_ADDRESS = {
    "unauthenticated_per_address": 1_000_000,
    "http_connections_per_address": 1_000_000,
    "authentications_per_minute": 0,
}
#: Sockets from one address; below ``net.ipv4.ip_local_port_range``.
_AN_ADDRESS = 20_000
#: Descriptors of a process that are no sockets of the bench.
_OTHERS = 1_024


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev bench full", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=50_000, help="default 50000")
    parser.add_argument(
        "--rest", type=float, default=35, metavar="SECONDS", help="watched afterwards (default 35)"
    )
    parser.add_argument("--at-once", type=int, default=50, help="under way at any time (default 50)")
    common_options(parser)
    return parser


def main() -> int:
    args = options().parse_args()
    args.clients, args.generators = 1, 2
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - _OTHERS
    if args.connections > allowed:
        print(
            f"the open-file limit (ulimit -Hn) allows {allowed:,} connections of one gateway", file=sys.stderr
        )
        args.connections = allowed
    return run("full", args, measure)


def measure(bench: Bench) -> Figures:
    args, system, generators = bench.options, bench.system, bench.generators
    system.limit_gateways(connections=args.connections, **_ANY_ADDRESS)
    name = system.gateway_names[0]
    pid = system.gateway_pids[name]
    people = system.make_people(args.connections, [])["people"]
    for number, person in enumerate(people):
        person["url"] = system.private_url(name)
        person["source"] = f"127.0.1.{1 + number // _AN_ADDRESS}"
    half = len(people) // 2
    system.settle()
    resident, kernel, meter = resident_kb(pid), _kernel(), system.meter()
    used = meter.read()
    found = generators.all(
        "connect_idle",
        [{"people": people[:half]}, {"people": people[half:]}],
        codec=args.codec,
        at_once=args.at_once // 2,
    )
    opened = meter.read()
    generators.all("sync_idle")
    system.settle()
    resident_full, kernel_full = resident_kb(pid), _kernel()
    resting = meter.read()
    time.sleep(args.rest)
    rested = meter.read()
    lost = sum(answer["lost"] for answer in generators.all("close_idle"))
    if lost:
        bench.blame({"closed": lost})
    count = len(people)
    each = [ms for answer in found for ms in answer["each_ms"]]
    result: Figures = {
        "bench": "full",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(system.folder),
        "versions": versions(system),
        "protections": protections(system),
        "load": {"connections": count, "codec": args.codec, "at_once": args.at_once},
        "kb_per_connection": round((resident_full - resident) / count, 2),
        "gateway_resident_mb": {"before": round(resident / 1024, 1), "full": round(resident_full / 1024, 1)},
        "kernel_kb_per_connection": {
            key: round((kernel_full[key] - kernel[key]) / count, 2) for key in kernel
        },
        "connects_per_second": round(count / max(answer["seconds"] for answer in found), 1),
        "connects_per_cpu_second": round(count / sum(opened.since(used).values()), 1),
        "ready_ms": percentiles(each),
        "resting_cores": {
            group: round(seconds / (rested.at - resting.at), 3)
            for group, seconds in rested.since(resting).items()
        },
        "checks": {"problems": dict(bench.problems), "examples": bench.examples[:20]},
    }
    print(told(result), flush=True)
    return result


def _kernel() -> dict[str, int]:
    """KiB: ``slab`` of the machine (sockets, files, epoll), ``tcp`` buffers. Both ends of each connection are here."""
    slab = next(
        int(line.split()[1])
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("Slab:")
    )
    tcp = next(
        line.split()
        for line in Path("/proc/net/sockstat").read_text().splitlines()
        if line.startswith("TCP:")
    )
    return {"slab": slab, "tcp": int(tcp[tcp.index("mem") + 1]) * resource.getpagesize() // 1024}


def told(r: Figures) -> str:
    """The figures as text."""
    memory, rest = r["gateway_resident_mb"], r["resting_cores"]
    kernel = r["kernel_kb_per_connection"]
    return "\n".join(
        (
            f"full, {r['date']}, commit {r['versions']['commit']}; {r['load']['connections']:,} idle connections, one gateway",
            f"  KB / connection   {r['kb_per_connection']:.1f}   gateway {memory['before']:,.0f} -> {memory['full']:,.0f} MB",
            f"  kernel, KB / connection, both ends   slab {kernel['slab']:.1f}, TCP buffers {kernel['tcp']:.1f}",
            f"  connects / s, / CPU-second   {r['connects_per_second']:,.0f}, {r['connects_per_cpu_second']:,.0f}",
            f"  ready p50 / p99 ms   {r['ready_ms']['p50']:,.1f} / {r['ready_ms']['p99']:,.1f}",
            "  cores busy, nobody does anything   " + ", ".join(f"{k} {v:.3f}" for k, v in rest.items()),
            f"checks: {r['checks']['problems'] or 'no socket was closed'}",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
