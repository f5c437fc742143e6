"""One measured window of lives, on whatever system: what it cost, how long each step took."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from bench.couples import STEPS
from bench.cpu import Meter
from bench.disk import fdatasync_ms
from bench.figures import Figures, percentiles
from bench.generator import Generators
from bench.machine import load_average


class Measured(Protocol):
    """A running system of servers."""

    folder: Path

    def meter(self) -> Meter: ...
    def counters(self) -> dict[tuple[str, str], float]: ...
    def resident_kb(self) -> int: ...
    def restart_gateways(self) -> None: ...
    def settle(self) -> None: ...


def of_lives(
    system: Measured, generators: Generators, options: argparse.Namespace,
    begin: Callable[[], object], stop: Callable[[], None],
) -> Figures:  # fmt: skip
    """Load, warm up, measure a window, stop and check."""
    system.settle()
    disk = percentiles(fdatasync_ms(system.folder))
    servers, client = system.meter(), generators.meter()
    begin()
    time.sleep(options.warm_up)
    load = load_average()
    counters = system.counters()
    marks = generators.all("mark")
    used, used_client = servers.read(), client.read()
    time.sleep(options.seconds)
    ends = generators.all("mark")
    used_end, used_client_end = servers.read(), client.read()
    counters_end = system.counters()
    latencies = [answer["latency_us"] for answer in generators.all("latencies")]
    stop()
    lives, receipts, begun = (
        sum(end[name] - mark[name] for mark, end in zip(marks, ends, strict=True))
        for name in ("completed", "receipt_frames", "started")
    )
    seconds = ends[0]["at"] - marks[0]["at"]
    parts = used_end.since(used)
    total = sum(parts.values())
    wall = used_end.at - used.at
    client_used = sum(used_client_end.since(used_client).values())
    grown = {key: value - counters.get(key, 0.0) for key, value in counters_end.items()}
    batches = {
        kind: grown["sum", kind] / number
        for (name, kind), number in grown.items()
        if name == "count" and number
    }
    return {
        "lives": lives,
        "lives_per_second": round(lives / seconds, 1),
        "begun_per_second": round(begun / seconds, 1),
        "lives_per_cpu_second": round(lives / total, 1),
        "cpu_us_per_life": {
            "total": us(total, lives),
            **{name: us(parts[name], lives) for name in parts},
        },
        "latency_ms": {
            step: percentiles([us for answer in latencies for us in answer[step]], 1e-3) for step in STEPS
        },
        "receipt_frames_per_life": round(receipts / lives, 2) if lives else 0.0,
        "rows_per_batch": {kind: round(size, 2) for kind, size in sorted(batches.items())},
        "busy_cores": {"servers": round(total / wall, 3), "client": round(client_used / wall, 3)},
        "client_us_per_life": us(client_used, lives),
        "disk_fdatasync_ms": disk,
        "seconds": round(seconds, 3),
        "load_average": round(load, 2),
    }


class RoomWindow(NamedTuple):
    """``figures``: what every system has; ``used``: CPU-seconds by part; ``before``, ``after``: what was looked at."""

    figures: Figures
    seconds: float
    begun: int
    used: dict[str, float]
    before: Any
    after: Any


def of_room(
    system: Measured, generators: Generators, options: argparse.Namespace, per_second: float, seed: int,
    look: Callable[[], Any] = lambda: None,
) -> RoomWindow:  # fmt: skip
    """Load on the room that the first generator is in, warm up, measure a window. The load goes on. ``look``: what else is read
    at its two ends."""
    system.settle()
    servers, client = system.meter(), generators.meter()
    generators.one("room_rate", per_second=per_second, seed=seed)
    time.sleep(options.warm_up)
    load = load_average()
    before, mark = look(), generators.one("room_mark")
    used, used_client = servers.read(), client.read()
    time.sleep(options.seconds)
    end = generators.one("room_mark")
    used_end, used_client_end = servers.read(), client.read()
    after = look()
    seconds = end["at"] - mark["at"]
    deliveries, begun = (end[name] - mark[name] for name in ("deliveries", "begun"))
    parts = used_end.since(used)
    total, wall = sum(parts.values()), used_end.at - used.at
    figures = {
        "messages_per_second": round(begun / seconds, 1),
        "deliveries_per_second": round(deliveries / seconds, 1),
        "deliveries_per_cpu_second": round(deliveries / total, 1),
        "cpu_us_per_delivery": {
            "total": round(total * 1e6 / max(deliveries, 1), 2),
            **{name: round(used * 1e6 / max(deliveries, 1), 2) for name, used in parts.items()},
        },
        "latency_ms": {step: percentiles(end["latency_us"][step], 1e-3) for step in ("each", "last")},
        "queued": end["queued"] - mark["queued"],
        "busy_cores": {
            "servers": round(total / wall, 3),
            "client": round(sum(used_client_end.since(used_client).values()) / wall, 3),
        },
        "load_average": round(load, 2),
    }
    return RoomWindow(figures, seconds, begun, parts, before, after)


def of_idle(
    system: Measured, generators: Generators, connect: Callable[[list[dict[str, str]]], Figures],
    warm: list[dict[str, str]], counted: list[dict[str, str]], blame: Callable[[dict[str, int]], None],
) -> Figures:  # fmt: skip
    """Fresh gateways: connect everybody, sync, look at the memory, close, connect them again. ``connect`` has the generator open
    the sockets of a crowd. ``warm``: whom to connect before anything is looked at."""
    system.restart_gateways()
    # What the first sockets load and allocate once is nobody's share.
    connect(warm)
    generators.one("sync_idle")
    generators.one("close_idle")
    system.settle()
    meter = system.meter()
    memory, used = system.resident_kb(), meter.read()
    connected = connect(counted)
    used_ready = meter.read()
    generators.one("sync_idle")
    system.settle()
    memory_idle = system.resident_kb()
    resting = meter.read()
    time.sleep(2)
    rested = meter.read()
    if lost := generators.one("close_idle")["lost"]:
        blame({"idle_socket_closed": lost})
    system.settle()
    before_again = meter.read()
    connect(counted)
    again = sum(meter.read().since(before_again).values())
    generators.one("close_idle")
    count = len(counted)
    parts = used_ready.since(used)
    total = sum(parts.values())
    return {
        "connections": count,
        "kb_per_idle_connection": round((memory_idle - memory) / count, 2),
        "gateways_resident_kb": {"before": memory, "with_connections": memory_idle},
        "idle_busy_cores": round(sum(rested.since(resting).values()) / (rested.at - resting.at), 3),
        "connects_per_cpu_second": round(count / total, 1),
        "reconnects_per_cpu_second": round(count / again, 1),
        "connects_per_second": round(count / connected["seconds"], 1),
        "cpu_us_per_connect": {
            "total": us(total, count),
            **{name: us(parts[name], count) for name in parts},
        },
        "ready_ms": percentiles(connected["each_ms"]),
        "load_average": round(load_average(), 2),
    }


def us(seconds: float, count: int) -> float:
    """µs each."""
    return round(seconds * 1e6 / count, 1) if count else 0.0
