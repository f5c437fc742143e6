"""What a Celery worker and beat show of themselves, on the port ``WHATSAPP_METRICS_PORT`` of their main process.

Tasks run in the children of the pool, which nobody scrapes: each writes a line a task into a pipe that the main process made
before the fork and reads in a thread. A full pipe drops lines, it never holds a task up.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from celery import Celery, signals
from kombu.exceptions import ChannelError

from whatsapp.infra import exposition, metrics

log = logging.getLogger(__name__)

#: The depth of the queues is asked for at most so often (seconds), whatever scrapes.
DEPTH_EVERY_S = 5.0
#: Beat wakes up every few seconds; one that has not for so long hangs.
BEAT_LATE_S = 60.0
_MAX_LINE = 512  # below PIPE_BUF: lines of several children do not mix


class Tally:
    """The pipe. Made in the main process, used in its children."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._main = os.getpid()
        self._began: dict[str, float] = {}
        threading.Thread(target=self._take, name="task-tally", daemon=True).start()
        signals.task_prerun.connect(self._before, weak=False)
        signals.task_postrun.connect(self._after, weak=False)
        signals.task_failure.connect(self._failed_here, weak=False)

    def in_child(self) -> None:
        """After the fork: the read end is the main process's."""
        with contextlib.suppress(OSError):
            os.close(self._read)

    def _before(self, task_id: str, **_: Any) -> None:
        self._began[task_id] = time.monotonic()

    def _after(self, task_id: str, task: Any, state: str | None = None, **_: Any) -> None:
        seconds = time.monotonic() - self._began.pop(task_id, time.monotonic())
        line = f"{task.name} {(state or 'unknown').lower()} {seconds:.6f}\n".encode()
        if len(line) < _MAX_LINE:
            with contextlib.suppress(OSError):
                os.write(self._write, line)

    def _failed_here(self, sender: Any, **_: Any) -> None:
        """In the main process: the child died, or ran out of its time."""
        if os.getpid() == self._main:
            metrics.TASKS.add(sender.name, "lost")

    def _take(self) -> None:
        with os.fdopen(self._read, "rb") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    name, state, seconds = line.decode().split()
                    metrics.TASKS.add(name, state)
                    metrics.TASK_SECONDS.series(name).observe(float(seconds))


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
