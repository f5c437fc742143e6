"""The measurements of a 1:1 conversation. Each returns one dict of figures per run."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.disk import fdatasync_ms
from bench.figures import Figures, percentiles
from bench.generator import Generators
from bench.lives import STEPS
from bench.machine import load_average
from bench.stack import System

_STOP_S = 30.0
_SENDERS = 10  # of a backlog, a conversation each
_CONNECTS_AT_ONCE = 50
_WARM_SOCKETS = 100


@dataclass
class Bench:
    """What the phases share. ``problems``: everything that was not as promised, over all phases; empty in a good run."""

    options: argparse.Namespace
    system: System
    generators: Generators
    say: Callable[[str], None]
    problems: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    sent: int = 0  # messages that got their ✓
    loaded: bool = False

    def blame(self, problems: dict[str, int], examples: list[str] | None = None) -> None:
        self.problems.update(problems)
        self.examples += examples or []


# -- lives ---------------------------------------------------------------------------------------------------------------


def load_pairs(bench: Bench) -> None:
    """Make the people and connect them, the two of a pair to different gateways (placement ``across``)."""
    if bench.loaded:
        return
    options, system = bench.options, bench.system
    made = system.make_people(2 * options.pairs, [(2 * n, 2 * n + 1) for n in range(options.pairs)])
    for number, person in enumerate(made["people"]):
        person["url"] = system.url(number, options.placement)
    count = len(bench.generators)
    shares: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    for n, conversation in enumerate(made["conversations"]):
        a, b = made["people"][2 * n : 2 * n + 2]
        shares[n % count].append({"a": a, "b": b, "conversation": conversation})
    bench.generators.all(
        "pairs", [{"pairs": share} for share in shares], codec=options.codec, body_bytes=options.body_bytes
    )
    bench.loaded = True


def saturation(bench: Bench, in_flight: int) -> Figures:
    """One run with a constant number of lives under way."""
    count = len(bench.generators)
    shares = [in_flight // count + (n < in_flight % count) for n in range(count)]
    return _lives(bench, lambda: bench.generators.all("saturate", [{"in_flight": share} for share in shares]))


def open_rate(bench: Bench, per_second: float, run: int) -> Figures:
    """One run of messages that begin at random times, so many a second."""
    count = len(bench.generators)
    seeds = [{"seed": 1000 * run + n} for n in range(count)]
    return _lives(bench, lambda: bench.generators.all("rate", seeds, per_second=per_second / count))


def hold(bench: Bench, in_flight: int, seconds: float) -> None:
    """Keep the load running for whoever looks at the processes meanwhile."""
    load_pairs(bench)
    bench.generators.all(
        "saturate", [{"in_flight": in_flight // len(bench.generators)}] * len(bench.generators)
    )
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        before = sum(mark["completed"] for mark in bench.generators.all("mark"))
        step = min(5.0, left)
        time.sleep(step)
        done = sum(mark["completed"] for mark in bench.generators.all("mark")) - before
        bench.say(f"{done / step:,.0f} lives/s, {max(0.0, left - step):.0f} s to go")
    _stop(bench)


def _lives(bench: Bench, begin: Callable[[], object]) -> Figures:
    """Load, warm up, measure a window, stop and check."""
    generators, system, options = bench.generators, bench.system, bench.options
    load_pairs(bench)
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
    _stop(bench)
    lives, receipts = (
        sum(end[name] - mark[name] for mark, end in zip(marks, ends, strict=True))
        for name in ("completed", "receipt_frames")
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
        "lives_per_cpu_second": round(lives / total, 1),
        "cpu_us_per_life": {
            "total": _us(total, lives),
            **{name: _us(parts[name], lives) for name in parts},
        },
        "latency_ms": {
            step: percentiles([us for answer in latencies for us in answer[step]], 1e-3) for step in STEPS
        },
        "receipt_frames_per_life": round(receipts / lives, 2) if lives else 0.0,
        "rows_per_batch": {kind: round(size, 2) for kind, size in sorted(batches.items())},
        "busy_cores": {"servers": round(total / wall, 3), "client": round(client_used / wall, 3)},
        "client_us_per_life": _us(client_used, lives),
        "disk_fdatasync_ms": disk,
        "seconds": round(seconds, 3),
        "load_average": round(load, 2),
    }


def _stop(bench: Bench) -> None:
    """End the load; what was lost, late, twice or out of order is blamed."""
    for answer in bench.generators.all("stop", timeout_s=_STOP_S):
        bench.blame(answer["problems"], answer["examples"])
        bench.sent += answer["begun"] - answer["lost"]
        if answer["lost"]:
            bench.blame({"lost": answer["lost"]})


def _us(seconds: float, count: int) -> float:
    return round(seconds * 1e6 / count, 1) if count else 0.0


# -- sockets that do nothing ------------------------------------------------------------------------------------------------


@dataclass
class Idle:
    """People for the idle sockets, made once."""

    warm: list[dict[str, str]]
    counted: list[dict[str, str]]


def idle_people(bench: Bench, count: int) -> Idle:
    """``count`` people with a device each, and a few to warm the gateways up."""
    people = bench.system.make_people(count + _WARM_SOCKETS, [])["people"]
    return Idle(people[:_WARM_SOCKETS], people[_WARM_SOCKETS:])


def idle(bench: Bench, people: Idle) -> Figures:
    """One run: fresh gateways, connect everybody until ``ready``, sync, look at the memory, close, connect them again."""
    options, system, generators = bench.options, bench.system, bench.generators
    system.restart_gateways()
    for crowd in (people.warm, people.counted):
        for number, person in enumerate(crowd):
            person["url"] = system.url(number, options.placement)
    # What the first sockets load and allocate once is nobody's share.
    generators.one("connect_idle", codec=options.codec, people=people.warm, at_once=_CONNECTS_AT_ONCE)
    generators.one("sync_idle")
    generators.one("close_idle")
    system.settle()
    meter = system.meter()
    memory, used = system.resident_kb(), meter.read()
    connected = generators.one(
        "connect_idle", codec=options.codec, people=people.counted, at_once=_CONNECTS_AT_ONCE
    )
    used_ready = meter.read()
    generators.one("sync_idle")
    system.settle()
    memory_idle = system.resident_kb()
    resting = meter.read()
    time.sleep(2)
    rested = meter.read()
    if lost := generators.one("close_idle")["lost"]:
        bench.blame({"idle_socket_closed": lost})
    system.settle()
    before_again = meter.read()
    generators.one("connect_idle", codec=options.codec, people=people.counted, at_once=_CONNECTS_AT_ONCE)
    again = sum(meter.read().since(before_again).values())
    generators.one("close_idle")
    count = len(people.counted)
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
            "total": _us(total, count),
            **{name: _us(parts[name], count) for name in parts},
        },
        "ready_ms": percentiles(connected["each_ms"]),
        "load_average": round(load_average(), 2),
    }


# -- a backlog ---------------------------------------------------------------------------------------------------------------


def offline(bench: Bench, events: int) -> Figures:
    """One run: a device is away while ``events`` are written to it, in ten conversations; then it reads them all."""
    options, system, generators = bench.options, bench.system, bench.generators
    made = system.make_people(_SENDERS + 1, [(n, _SENDERS) for n in range(_SENDERS)])
    *senders, reader = made["people"]
    for number, person in enumerate(made["people"]):
        person["url"] = system.url(number, options.placement)
    shares = [events // _SENDERS + (n < events % _SENDERS) for n in range(_SENDERS)]
    generators.one(
        "fill",
        codec=options.codec,
        body_bytes=options.body_bytes,
        senders=[
            {"person": person, "conversation": conversation, "count": count}
            for person, conversation, count in zip(senders, made["conversations"], shares, strict=True)
        ],
    )
    bench.sent += events
    system.settle()
    meter = system.meter()
    counters, used = system.counters(), meter.read()
    read = generators.one("drain", codec=options.codec, person=reader)
    used_end, counters_end = meter.read(), system.counters()
    parts = used_end.since(used)
    bench.blame(read["problems"])
    if read["events"] != events:
        bench.blame({"backlog_incomplete": abs(events - read["events"])})
    drains = {
        kind: value - counters.get((name, kind), 0.0)
        for (name, kind), value in counters_end.items()
        if name == "drains"
    }
    return {
        "events": read["events"],
        "conversations": read["conversations"],
        "batches": read["batches"],
        "ready_ms": round(read["ready_ms"], 2),
        "first_batch_ms": round(read["first_batch_ms"], 2),
        "last_ack_ms": round(read["last_ack_ms"], 2),
        "complete_ms": round(read["complete_ms"], 2),
        "events_per_second": round(read["events"] / read["last_ack_ms"] * 1000, 1),
        "cpu_us_per_event": {
            "total": _us(sum(parts.values()), events),
            **{name: _us(parts[name], events) for name in parts},
        },
        "drain_tasks": drains,
        "load_average": round(load_average(), 2),
    }
