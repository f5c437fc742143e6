"""What connecting costs and how long it takes, plain and through HAProxy with TLS 1.3: ``./dev bench connect``.

Starts a system of its own and, before its two gateways, HAProxy with ``docker/haproxy.cfg``, but for how it finds them. People
who were never here connect and authenticate until ``ready``, so many at a time, once by a gateway's own port and once by HAProxy
(a full handshake each, no session is resumed). How to read it: ``docs/bench.md``.
"""

from __future__ import annotations

import argparse
import datetime
import ipaddress
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509

from bench.cpu import Meter
from bench.figures import Figures, combine, percentiles
from bench.machine import load_average, machine, protections, versions
from bench.phases import Bench
from bench.running import common_options, run, verdict
from devtools import packages, ports
from devtools.certificate import self_signed
from devtools.paths import REPO
from devtools.processes import Child, Spec

WAYS = ("plain", "tls")
HAPROXY = tuple(package for package in packages.NEEDED if package.name == "haproxy")


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev bench connect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=1_000, help="of one run (default 1000)")
    parser.add_argument("--at-once", type=int, default=50, help="under way at any time (default 50)")
    parser.add_argument("--runs", type=int, default=3, help="of each way, in turn (default 3)")
    parser.add_argument("--way", choices=WAYS, action="append", help="only so; default: both")
    common_options(parser)
    return parser


def main() -> int:
    args = options().parse_args()
    args.clients = 1
    return run("connect", args, measure, HAPROXY)


def measure(bench: Bench) -> Figures:
    args, system = bench.options, bench.system
    result: Figures = {
        "bench": "connect",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(system.folder),
        "versions": versions(system),
        "protections": protections(system),
        "load": {name: getattr(args, name) for name in ("connections", "at_once", "codec")},
    }
    print(
        f"connect, {result['date']}, commit {result['versions']['commit']}; {system.cores}\n"
        f"  {args.connections:,} devices that were never here, {args.at_once} at a time, until ready",
        flush=True,
    )
    ways = args.way or list(WAYS)
    runs: dict[str, list[Figures]] = {way: [] for way in ways}
    with balancer(bench) as child:
        for _ in range(args.runs):
            for way in ways:
                runs[way].append(_one(bench, way, child))
    for way in ways:
        result[way] = combine(runs[way])
        print(told(way, result[way]), flush=True)
    result["checks"] = verdict(bench, "everybody was let in, and no socket was closed")
    return result


@contextmanager
def balancer(bench: Bench) -> Iterator[Child]:
    """HAProxy before the gateways; the generators trust its certificate."""
    system = bench.system
    folder = system.folder / "haproxy"
    folder.mkdir()
    trusted, served = certificate(folder)
    text = (REPO / "docker" / "haproxy.cfg").read_text()
    known = [
        f"    server {name} 127.0.0.1:{system.stack.private_ports[name]}" for name in system.gateway_names
    ]
    lines = []
    for line in text.splitlines():
        if not line.startswith("    server-template "):
            lines.append(line)
        elif line.startswith("    server-template gateway "):
            lines += known
    configuration = folder / "haproxy.cfg"
    configuration.write_text("\n".join(lines) + "\n")
    port = ports.choose()
    child = Child(
        Spec(
            name="haproxy",
            argv=[HAPROXY[0].proof, "-db", "-f", str(configuration)],
            env={
                "PATH": os.environ["PATH"],
                "CERTIFICATES": str(served),
                "BIND": f"127.0.0.1:{port}",
                "STATS_BIND": f"127.0.0.1:{ports.choose()}",
            },
            cwd=Path("/"),
            log=folder / "haproxy.log",
            ready=lambda child: ports.answers("127.0.0.1", port),
        )
    )
    system.start_beside(child)
    try:
        bench.generators.all("trust", certificate=str(trusted))
        system.balanced = f"wss://127.0.0.1:{port}/ws"
        yield child
    finally:
        child.kill()


def certificate(folder: Path) -> tuple[Path, Path]:
    """One for 127.0.0.1: (what clients trust, what the balancer reads)."""
    public, secret = self_signed("bench", [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    trusted, both = folder / "trusted.pem", folder / "served.pem"
    trusted.write_bytes(public)
    both.write_bytes(public + secret)
    return trusted, both


def _one(bench: Bench, way: str, child: Child) -> Figures:
    args, system, generators = bench.options, bench.system, bench.generators
    people = system.make_people(args.connections, [])["people"]
    for number, person in enumerate(people):
        person["url"] = system.balanced if way == "tls" else system.url(number, "across")
    system.settle()
    servers, client, load = system.meter(), generators.meter(), load_average()
    assert child.pid is not None
    before = Meter({"haproxy": [child.pid]})
    used, used_before, used_client = servers.read(), before.read(), client.read()
    connected = generators.one("connect_idle", codec=args.codec, people=people, at_once=args.at_once)
    parts = servers.read().since(used)
    haproxy = before.read().since(used_before)["haproxy"]
    own = client.read().since(used_client)["client"]
    if lost := generators.one("close_idle")["lost"]:
        bench.blame({"closed": lost})
    count, total = len(people), sum(parts.values())
    return {
        "connects_per_second": round(count / connected["seconds"], 1),
        "connects_per_cpu_second": round(count / total, 1),
        "connects_per_cpu_second_with_haproxy": round(count / (total + haproxy), 1),
        "cpu_us_per_connect": {
            "servers": round(total * 1e6 / count, 1),
            **{name: round(value * 1e6 / count, 1) for name, value in parts.items()},
            "haproxy": round(haproxy * 1e6 / count, 1),
            "generator": round(own * 1e6 / count, 1),
        },
        "ready_ms": percentiles(connected["each_ms"]),
        "load_average": round(load, 2),
    }


def told(way: str, phase: Figures) -> str:
    """The figures as text."""
    m, s = phase["median"], phase["spread"]
    cpu = m["cpu_us_per_connect"]
    name = "through HAProxy, TLS 1.3" if way == "tls" else "plain, to the gateways"
    each = s["ready_ms"]
    return "\n".join(
        (
            f"\n{name} ({len(phase['runs'])} run(s), median, lowest to highest)",
            f"  ready p50 ms   {m['ready_ms']['p50']:,.1f} ({each['p50'][0]:,.1f} to {each['p50'][1]:,.1f})",
            f"  ready p99 ms   {m['ready_ms']['p99']:,.1f} ({each['p99'][0]:,.1f} to {each['p99'][1]:,.1f})",
            f"  connects / s   {m['connects_per_second']:,.0f}",
            f"  connects / CPU-second of the servers   {m['connects_per_cpu_second']:,.0f}, with HAProxy "
            f"{m['connects_per_cpu_second_with_haproxy']:,.0f}",
            "  CPU us / connect   " + ", ".join(f"{part} {value:,.0f}" for part, value in cpu.items()),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
