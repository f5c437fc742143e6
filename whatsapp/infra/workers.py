"""What a Celery worker and beat show of themselves, on the port ``WHATSAPP_METRICS_PORT`` of their main process.

Tasks run in the children of the pool, which nobody scrapes: each hands its figures on through a pipe that the main process made
before the fork and reads in a thread. A full pipe makes them late, it never holds a task up.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from celery import Celery, signals
from kombu.exceptions import ChannelError

from whatsapp.infra import exposition, metrics
from whatsapp.infra.threads import shown

log = logging.getLogger(__name__)

#: The depth of the queues is asked for at most so often (seconds), whatever scrapes.
DEPTH_EVERY_S = 5.0
#: Beat wakes up every few seconds; one that has not for so long hangs.
BEAT_LATE_S = 60.0
HAND_ON_S = 2.0
_MAX_LINE = 4_000  # below PIPE_BUF: lines of several children do not mix

#: Gauges of the children that the main process shows: description, and how the children's values become one.
CHILD_GAUGES: dict[str, tuple[str, Callable[[Iterable[float]], float]]] = {
    "whatsapp_lane_entries": ("Entries that wait in all lanes.", max),
    "whatsapp_lane_lag_seconds": ("Age of the oldest entry of any lane.", max),
    "whatsapp_lanes_held": ("Lanes that this worker works on.", sum),
}


class Tally:
    """The pipe. Made in the main process, used in its children: each hands on by how much its counters and histograms have
    grown, after every task and every :data:`HAND_ON_S`, and what its gauges say."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._main = os.getpid()
        self._began: dict[str, float] = {}
        self._lock = threading.Lock()
        self._handed_on: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._gauges: dict[tuple[str, int], tuple[float, float]] = {}  # (name, pid) -> (value, when)
        threading.Thread(target=shown(self._take), name="task-tally", daemon=True).start()
        signals.task_prerun.connect(self._before, weak=False)
        signals.task_postrun.connect(self._after, weak=False)
        signals.task_failure.connect(self._failed_here, weak=False)
        for name, (documentation, together) in CHILD_GAUGES.items():
            metrics.source(name, documentation, partial(self._gauge, name, together))

    # in a child

    def in_child(self) -> None:
        """After the fork: the read end is the main process's, and so is what was counted before."""
        with contextlib.suppress(OSError):
            os.close(self._read)
        self._lock = threading.Lock()
        self._handed_on = dict(self._growing())
        for name in CHILD_GAUGES:
            metrics.forget(name)
        threading.Thread(target=shown(self._hand_on_for_ever), name="task-tally", daemon=True).start()

    def _before(self, task_id: str, **_: Any) -> None:
        self._began[task_id] = time.monotonic()

    def _after(self, task_id: str, task: Any, state: str | None = None, **_: Any) -> None:
        seconds = time.monotonic() - self._began.pop(task_id, time.monotonic())
        metrics.TASKS.add(task.name, (state or "unknown").lower())
        metrics.TASK_SECONDS.series(task.name).observe(seconds)
        if os.getpid() != self._main:
            self._hand_on()

    def _hand_on_for_ever(self) -> None:
        while True:
            time.sleep(HAND_ON_S)
            self._hand_on()

    def _hand_on(self) -> None:
        with self._lock:
            for key, value in self._growing():
                before = self._handed_on.get(key)
                if value != before and self._send(_grown(key, before, value)):
                    self._handed_on[key] = value
            for name in CHILD_GAUGES:
                value = metrics.read(name)
                if value is not None:
                    self._send(["g", name, os.getpid(), value])

    @staticmethod
    def _growing() -> Iterator[tuple[tuple[str, tuple[str, ...]], Any]]:
        for family in metrics.families():
            if isinstance(family, metrics.Counters):
                for labels, value in list(family.values.items()):
                    yield (family.name, labels), value
            else:
                for labels, series in list(family.known.items()):
                    yield (family.name, labels), (*series.counts, series.total)

    def _send(self, line: list[Any]) -> bool:
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        if len(data) > _MAX_LINE:
            return True
        try:
            os.write(self._write, data)
        except OSError:
            return False  # full: with the next round
        return True

    # in the main process

    def _failed_here(self, sender: Any, **_: Any) -> None:
        """The child died, or ran out of its time."""
        if os.getpid() == self._main:
            metrics.TASKS.add(sender.name, "lost")

    def _take(self) -> None:
        with os.fdopen(self._read, "rb") as lines:
            for line in lines:
                try:
                    kind, name, *rest = json.loads(line)
                    if kind == "g":
                        if len(self._gauges) > 1_000:
                            self._gauges.clear()  # of children that ended long ago
                        self._gauges[name, rest[0]] = rest[1], time.monotonic()
                    else:
                        metrics.grow(name, tuple(rest[0]), rest[1])
                except (ValueError, KeyError, IndexError, TypeError):
                    log.warning("a line of the task tally cannot be read")

    def _gauge(self, name: str, together: Callable[[Iterable[float]], float]) -> float | None:
        fresh = time.monotonic() - 3 * HAND_ON_S
        values = [
            value for (known, _), (value, at) in list(self._gauges.items()) if known == name and at > fresh
        ]
        return together(values) if values else None


def _grown(key: tuple[str, tuple[str, ...]], before: Any, value: Any) -> list[Any]:
    if isinstance(value, tuple):
        before = before or (0,) * len(value)
        changes = [
            [place, new - old]
            for place, (old, new) in enumerate(zip(before, value, strict=True))
            if new != old
        ]
        return ["h", key[0], key[1], changes]
    return ["c", key[0], key[1], value - (before or 0)]


def count_published(sender: str | None = None, **_: Any) -> None:
    """For ``after_task_publish``, in every kind of process."""
    metrics.PUBLISHED.add(str(sender))


class Depths:
    """Messages that wait in each queue, by the broker's word. ``{}`` while it does not answer."""

    def __init__(self, app: Celery, queues: Sequence[str]) -> None:
        self._app = app
        self._queues = queues
        self._lock = threading.Lock()
        self._asked = 0.0
        self._known: dict[str, int] = {}

    def __call__(self) -> dict[str, int]:
        with self._lock:
            if time.monotonic() - self._asked > DEPTH_EVERY_S or not self._known:
                self._asked = time.monotonic()
                self._known = self._ask()
            return self._known

    def _ask(self) -> dict[str, int]:
        options = {"socket_timeout": 2, "socket_connect_timeout": 2, "max_retries": 0}
        found = {}
        try:
            with self._app.connection_for_read(connect_timeout=2, transport_options=options) as connection:
                for queue in self._queues:
                    with connection.channel() as channel:
                        try:
                            found[queue] = channel.queue_declare(queue, passive=True).message_count
                        except ChannelError:
                            found[queue] = 0  # nothing was ever put into it
        except Exception as error:
            log.warning("the broker does not say how deep its queues are: %s", type(error).__name__)
            return {}
        return found


def serve(ready: exposition.Parts) -> None:
    """Serve metrics and health, if the environment names a port."""
    port = os.environ.get("WHATSAPP_METRICS_PORT", "")
    if port.isdigit():
        exposition.serve(os.environ.get("WHATSAPP_METRICS_HOST", "127.0.0.1"), int(port), ready)


def watch_beat(service: Any) -> None:
    """Note each turn of beat's scheduler."""
    scheduler = service.scheduler
    turn, turned = scheduler.tick, [time.monotonic()]

    def tick(*args: Any, **kwargs: Any) -> Any:
        turned[0] = time.monotonic()
        return turn(*args, **kwargs)

    scheduler.tick = tick
    metrics.source(
        "whatsapp_beat_idle_seconds",
        "Seconds since beat's scheduler last turned; it does every few seconds.",
        lambda: time.monotonic() - turned[0],
    )
    serve(lambda: {"scheduler": time.monotonic() - turned[0] < BEAT_LATE_S})
