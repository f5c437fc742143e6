"""The measurements of a 1:1 conversation. Each returns one dict of figures per run."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.figures import Figures
from bench.generator import Generators
from bench.machine import load_average
from bench.stack import System
from bench.windows import of_idle, of_lives, us

_STOP_S = 30.0
_SENDERS = 10  # of a backlog, a conversation each
CONNECTS_AT_ONCE = 50
WARM_SOCKETS = 100


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


def load_pairs(bench: Bench, replies: str = "each") -> None:
    """Make the people and connect them, the two of a pair to different gateways (placement ``across``). ``replies``: how they
    answer (:mod:`bench.replies`)."""
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
        "pairs", [{"pairs": share} for share in shares],
        codec=options.codec, body_bytes=options.body_bytes, replies=replies,
    )  # fmt: skip
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
    load_pairs(bench)
    return of_lives(bench.system, bench.generators, bench.options, begin, lambda: _stop(bench))


def _stop(bench: Bench) -> None:
    """End the load; what was lost, late, twice or out of order is blamed."""
    for answer in bench.generators.all("stop", timeout_s=_STOP_S):
        bench.blame(answer["problems"], answer["examples"])
        bench.sent += answer["begun"] - answer["lost"]
        if answer["lost"]:
            bench.blame({"lost": answer["lost"]})


# -- sockets that do nothing ------------------------------------------------------------------------------------------------


@dataclass
class Idle:
    """People for the idle sockets, made once."""

    warm: list[dict[str, str]]
    counted: list[dict[str, str]]


def idle_people(bench: Bench, count: int) -> Idle:
    """``count`` people with a device each, and a few to warm the gateways up."""
    people = bench.system.make_people(count + WARM_SOCKETS, [])["people"]
    return Idle(people[:WARM_SOCKETS], people[WARM_SOCKETS:])


def idle(bench: Bench, people: Idle) -> Figures:
    """One run: fresh gateways, connect everybody until ``ready``, sync, look at the memory, close, connect them again."""
    options, system = bench.options, bench.system

    def connect(crowd: list[dict[str, str]]) -> Figures:
        for number, person in enumerate(crowd):
            person["url"] = system.url(number, options.placement)
        return bench.generators.one(
            "connect_idle", codec=options.codec, people=crowd, at_once=CONNECTS_AT_ONCE
        )

    return of_idle(system, bench.generators, connect, people.warm, people.counted, bench.blame)


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
            "total": us(sum(parts.values()), events),
            **{name: us(parts[name], events) for name in parts},
        },
        "drain_tasks": drains,
        "load_average": round(load_average(), 2),
    }
