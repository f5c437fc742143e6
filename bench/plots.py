"""Pictures of what was measured: ``./dev bench plots [--into DIR]``. Draws the newest results of ``bench/results``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bench.figures import Figures
from bench.report import keeps_up
from bench.svg import Series, Text, bars, lines, number
from devtools.paths import REPO

RESULTS = REPO / "bench" / "results"
IMAGES = REPO / "docs" / "img"
_STEPS = {"sent": "✓ sent", "received": "received", "delivered": "delivered"}
#: The server itself has another name in each system.
_SERVER = ("gateways", "ejabberd", "uvicorn")


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev bench plots", description=__doc__)
    parser.add_argument("--curves", type=Path, help="a result of ./dev bench curves (default: the newest)")
    parser.add_argument(
        "--peers", type=Path, help="a result of ./dev bench one_to_one --peer … (default: the newest)"
    )
    parser.add_argument("--into", type=Path, default=IMAGES, help="where to (default: docs/img)")
    return parser


def main() -> int:
    args = options().parse_args()
    drawn: dict[str, str] = {}
    if curves := args.curves or newest("curves"):
        drawn |= of_curves(json.loads(curves.read_text()))
    if peers := args.peers or newest("peers"):
        drawn |= of_peers(json.loads(peers.read_text()))
    if not drawn:
        print(f"bench plots: no curves-*.json or peers-*.json in {RESULTS}", file=sys.stderr)
        return 1
    args.into.mkdir(parents=True, exist_ok=True)
    for name, picture in drawn.items():
        (args.into / f"bench-{name}.svg").write_text(picture)
        print(args.into / f"bench-{name}.svg")
    return 0


def newest(kind: str) -> Path | None:
    """Their names end in their date."""
    return max(RESULTS.glob(f"{kind}-*.json"), default=None)


def of_curves(result: Figures) -> dict[str, str]:
    """Name of a picture → SVG, of those that the result has the figures for."""
    note, drawn = about(result), {}
    if rates := result.get("rates"):
        drawn["cost"] = _cost(note, {f"{float(rate):,.0f}": found["median"] for rate, found in rates.items()})
        drawn["latency"] = _latency(note, rates)
    if connections := result.get("connections"):
        drawn["memory"] = _memory(note, connections)
    if groups := result.get("groups"):
        drawn["groups"] = _groups(note, groups, result["load"]["deliveries_per_second"])
    return drawn


def of_peers(result: Figures) -> dict[str, str]:
    note, drawn = about(result), {}
    for phase, what in (
        ("saturation", f"{result['load']['in_flight']} in flight"),
        ("rate", f"{result['load']['messages_per_second']:g} messages/s"),
    ):
        if phase not in result:
            continue
        systems = {"ours\nwhole life": result[phase]["median"]}
        for name, found in result["peers"].items():
            for load, text in (("life", "whole life"), ("message", "message only")):
                run = found.get(phase, {}).get(load, {}).get("median")
                # What does not keep up with a rate has a cost of another load.
                if run and run["lives"] and (phase == "saturation" or keeps_up(run)):
                    systems[f"{name}\n{text}"] = run
        drawn[f"peers-{phase}"] = _cost(note, systems, f"Cost beside other servers, {what}", "")
    return drawn


def about(result: Figures) -> str:
    """Machine, date, commit: a figure without them says nothing."""
    machine: Any = result["machine"]
    servers = result["load"]["cores"].split(", client")[0]
    return (
        f"{result['date'][:10]}, {result['versions']['commit'].split()[0]}; {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']:.0f} GiB; {servers}"
    )


def _cost(
    note: str,
    runs: dict[str, Figures],
    title: str = "Cost of a message by part",
    x: str = "messages a second",
) -> str:
    parts: dict[str, list[float]] = {name: [] for name in ("server", "PostgreSQL", "Valkey", "workers")}
    for run in runs.values():
        cpu = run["cpu_us_per_life"]
        parts["server"].append(sum(cpu.get(name, 0.0) for name in _SERVER))
        for name, key in (("PostgreSQL", "postgresql"), ("Valkey", "valkey"), ("workers", "workers")):
            parts[name].append(cpu.get(key, 0.0))
    return bars(
        Text(title, note, x, "server CPU, µs a life"), list(runs), {n: v for n, v in parts.items() if any(v)}
    )


def _latency(note: str, rates: dict[str, Figures]) -> str:
    series = []
    for colour, (step, name) in enumerate(_STEPS.items()):
        for part in ("p50", "p99"):
            points = [
                (float(rate), found["median"]["latency_ms"][step][part])
                for rate, found in rates.items()
                if found["median"]["latency_ms"][step] and keeps_up(found["median"])
            ]
            series.append(Series(f"{name} {part}", points, colour, dashed=part == "p99"))
    return lines(
        Text("Latency against load", note, "messages a second", "ms from when it was due"),
        series,
        log_x=True,
        log_y=True,
    )


def _memory(note: str, connections: dict[str, Figures]) -> str:
    def mib(found: Figures, which: str) -> float:
        return float(found["median"]["gateways_resident_kb"][which]) / 1024

    last = list(connections.values())[-1]["median"]["kb_per_idle_connection"]
    base = [(float(count), mib(found, "before")) for count, found in connections.items()]
    held = [(float(count), mib(found, "with_connections")) for count, found in connections.items()]
    series = [Series(f"with them ({last:.1f} KB each)", held, 0), Series("before", base, 1, dashed=True)]
    return lines(
        Text("Memory of both gateways", note, "idle connections, authenticated and synced", "MiB resident"),
        series,
    )


def _groups(note: str, groups: dict[str, Figures], deliveries: float) -> str:
    labels = [
        f"{int(members):,}\n{number(found['median']['messages_per_second'])}/s"
        for members, found in groups.items()
    ]
    names = {"gateways": "gateways", "PostgreSQL": "postgresql", "Valkey": "valkey", "workers": "workers"}
    parts = {
        name: [found["median"]["cpu_us_per_delivery"][key] for found in groups.values()]
        for name, key in names.items()
    }
    title = f"Cost of a delivery against the size of a group, {deliveries:,.0f} deliveries a second"
    return bars(Text(title, note, "", "server CPU, µs a delivery"), labels, parts)


if __name__ == "__main__":
    sys.exit(main())
