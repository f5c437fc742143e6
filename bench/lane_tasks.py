"""What a Celery task of a lane costs, by its parts: the same messages once with a task each and once in lanes that keep theirs.

A lane that is talked in keeps its task, so that in a busy room there is none to measure. Here small groups are written to on a
schedule. In ``idle`` lanes the next message comes after the lane was given back: each needs a task, enqueued by a gateway,
taken from the broker, started and ended. In ``kept`` lanes the same number of messages a second go to a quarter of the groups,
in a quarter of the lanes: as many passes, no task. The difference is what tasks cost, Valkey as the broker included.
"""

from __future__ import annotations

import time
from typing import Any

from bench.figures import Figures
from bench.phases import Bench
from delivery.lane_worker import LINGER_S, POLL_S
from delivery.lanes import LANES

MEMBERS = 3
#: Between two messages of an idle lane: it is given back at the latest ``LINGER_S + POLL_S`` after its last pass.
IDLE_S = LINGER_S + POLL_S + 0.5
#: So many times fewer lanes have the same messages when they are kept; their messages are closer than ``LINGER_S``.
FEWER = 4
_PARTS = ("gateways", "workers", "postgresql", "valkey")


def measure(bench: Bench, lanes: int = LANES) -> Figures:
    """Both ways, for as long as a room's window each; ``lanes`` of the first. Returns figures by message and by task."""
    lanes = max(lanes - lanes % FEWER, FEWER)
    idle = _run(bench, list(range(lanes)), lanes / IDLE_S)
    kept = _run(bench, list(range(0, lanes, FEWER)), lanes / IDLE_S)
    found = {"idle": idle, "kept": kept, "messages_per_second": round(lanes / IDLE_S, 1)}
    if idle["tasks_per_message"] < 0.75:
        bench.blame({"lanes_kept_their_tasks": 1}, [f"{idle['tasks_per_message']:.2f} tasks a message"])
    if kept["tasks_per_message"] > 0.1:
        bench.blame({"lanes_gave_their_tasks_back": 1}, [f"{kept['tasks_per_message']:.2f} tasks a message"])
    return {**found, "cpu_us_per_task": per_task(idle, kept)}


def per_task(idle: Figures, kept: Figures) -> Figures:
    """µs of CPU that a task adds, by group of processes and, of what is attributed by threads, by part."""
    more = idle["tasks_per_message"] - kept["tasks_per_message"]

    def difference(name: str) -> float:
        return round(
            (idle["cpu_us_per_message"][name] - kept["cpu_us_per_message"][name]) / max(more, 1e-9), 1
        )

    return {name: difference(name) for name in ("total", *_PARTS, "celery_threads", "publisher_threads")}


def _run(bench: Bench, lanes: list[int], per_second: float) -> Figures:
    """``per_second`` messages to one group in each of the lanes in turn, evenly spaced."""
    args, system, generators = bench.options, bench.system, bench.generators
    count = len(lanes)
    made = system.make_people(
        count * MEMBERS,
        [],
        [list(range(n * MEMBERS, (n + 1) * MEMBERS)) for n in range(count)],
        lanes=lanes,
    )
    for number, person in enumerate(made["people"]):
        person["url"] = system.url(number, "across")
    rooms = [
        {"kind": "lane", "group": group, "people": made["people"][n * MEMBERS : (n + 1) * MEMBERS]}
        for n, group in enumerate(made["groups"])
    ]
    generators.one("beside", codec=args.codec, rooms=rooms, pairs=[], body_bytes=args.body_bytes)
    system.settle()
    generators.one("beside_in_turn", per_second=per_second)
    time.sleep(args.warm_up)
    meter = system.meter()
    begun, before, used = generators.one("beside_mark", phase="window"), system.lane_counters(), meter.read()
    threads, publisher = system.fanout_threads(), system.publisher_seconds()
    time.sleep(args.seconds)
    used_end, threads_end = meter.read(), system.fanout_threads()
    publisher_end, after = system.publisher_seconds(), system.lane_counters()
    end = generators.one("beside_mark", phase="after")
    stopped = generators.one("beside_stop", timeout_s=20.0)
    bench.blame(stopped["problems"], stopped["examples"])
    messages = end["begun"] - begun["begun"]
    parts = used_end.since(used)
    seconds: dict[str, Any] = {
        "total": sum(parts.values()),
        **{name: parts[name] for name in _PARTS},
        **{f"{name}_threads": threads_end[name] - threads[name] for name in threads},
        "publisher_threads": publisher_end - publisher,
    }
    passes, tasks = (
        after.get(key, 0.0) - before.get(key, 0.0) for key in (("count", "lane"), ("tasks", "fanout_lane"))
    )
    return {
        "lanes": count,
        "messages": messages,
        "passes": passes,
        "tasks": tasks,
        "tasks_per_message": round(tasks / max(messages, 1), 3),
        "passes_per_message": round(passes / max(messages, 1), 3),
        "cpu_us_per_message": {
            name: round(spent * 1e6 / max(messages, 1), 1) for name, spent in seconds.items()
        },
    }


def told(found: Figures) -> str:
    """The figures as text."""
    idle, kept, task = found["idle"], found["kept"], found["cpu_us_per_task"]
    lines = [
        f"\na task a message: groups of {MEMBERS}, {found['messages_per_second']:.1f} messages/s evenly spaced over "
        f"{idle['lanes']} lanes, each {IDLE_S:g} s after its last; then the same over {kept['lanes']} lanes, which keep theirs",
        f"  {'':30} {'a task each':>12} {'kept':>10} {'a task adds':>12}",
        f"  {'tasks / message':30} {idle['tasks_per_message']:>12.2f} {kept['tasks_per_message']:>10.2f}",
        f"  {'passes / message':30} {idle['passes_per_message']:>12.2f} {kept['passes_per_message']:>10.2f}",
    ]
    names = {
        "total": "server CPU us",
        **{name: f"  {name}" for name in _PARTS},
        "celery_threads": "  of workers: Celery's threads",
        "publisher_threads": "  of gateways: enqueueing",
    }
    lines += [
        f"  {text:30} {idle['cpu_us_per_message'][name]:>12.0f} {kept['cpu_us_per_message'][name]:>10.0f} {task[name]:>12.0f}"
        for name, text in names.items()
    ]
    return "\n".join(lines)
