"""The process that ``./dev up`` leaves: starts a stack, restarts what dies, stops it in order."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from devtools import record
from devtools.errors import DevError
from devtools.processes import Child
from devtools.stack import Stack

#: Seconds before the n-th restart in a row. The first is at once and none is long: a dead part is back within 5 s.
BACK_OFF = (0.0, 0.25, 0.5, 1.0, 2.0, 3.0)
#: A child that lived this long (seconds) starts again from the first delay.
HEALTHY = 20.0


class Supervisor:
    """Runs one :class:`Stack` until a signal. ``on_ready`` is called once, when everything answers.

    ``note``: whether the checkout shall remember this system as the one that ``status`` and ``down`` mean.
    """

    def __init__(
        self,
        stack: Stack,
        *,
        say: Callable[[str], None],
        on_ready: Callable[[], None] = lambda: None,
        note: bool = True,
    ) -> None:
        self.note = note
        self.stack = stack
        self.say = say
        self.on_ready = on_ready
        self.stopping = False
        self.restarts: dict[str, int] = dict.fromkeys(stack.children, 0)
        self._in_a_row: dict[str, int] = dict(self.restarts)
        self._due: dict[str, float] = {}
        self._unready: dict[str, float] = {}
        self._written: dict[str, Any] = {}

    def run(self) -> None:
        """Until SIGTERM, SIGINT or SIGHUP. Raises :class:`DevError` if the stack does not start."""
        lock = self._lock()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        try:
            self._write("starting")
            if self.note:
                record.remember(self.stack.data)
            try:
                self.stack.start(abort=lambda: self.stopping)
            except DevError:
                if not self.stopping:
                    raise
            if not self.stopping:
                self._write("running")
                self.on_ready()
            while not self.stopping:
                self._tick()
                time.sleep(0.1)
            self.say("stopping")
            self._write("stopping")
        except DevError as error:
            self._write("failed", error=str(error))
            raise
        finally:
            self.stack.stop()
            record.forget(self.stack.data)
            if self.stopping:
                self.stack.data.state.unlink(missing_ok=True)
            os.close(lock)

    def _lock(self) -> int:
        """Hold the data folder. The descriptor is not inherited by children, so it is free as soon as we are gone."""
        lock = os.open(self.stack.data.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise DevError(f"another ./dev up is using the data folder {self.stack.data.root}") from None
        return lock

    def _on_signal(self, number: int, frame: object) -> None:
        if self.stopping:  # asked twice: no more waiting for an orderly end
            for child in self.stack.children.values():
                child.send(child.spec.death_signal)
        self.stopping = True

    def _tick(self) -> None:
        now = time.monotonic()
        for name, child in self.stack.children.items():
            if child.pid is None:
                self._dead(name, child, now)
            elif name in self._unready:
                if child.spec.ready(child):
                    del self._unready[name]
                    self.say(f"{name} is back")
                elif now > self._unready[name]:
                    self.say(f"{name} did not become ready: killing it")
                    child.send(signal.SIGKILL)
        self._write("running")

    def _dead(self, name: str, child: Child, now: float) -> None:
        if name not in self._due:
            if now - child.started_at > HEALTHY:
                self._in_a_row[name] = 0
            delay = BACK_OFF[min(self._in_a_row[name], len(BACK_OFF) - 1)]
            self._due[name] = now + delay
            code = child.process.returncode if child.process else None
            self.say(f"{name} ended ({code}): starting it again {f'in {delay} s' if delay else 'at once'}")
        if now >= self._due[name]:
            del self._due[name]
            self._in_a_row[name] += 1
            self.restarts[name] += 1
            child.start()
            self._unready[name] = now + child.spec.ready_timeout

    def _write(self, phase: str, *, error: str = "") -> None:
        content = {
            **record.me(), "phase": phase, "error": error, "restarts": dict(self.restarts), "starting": sorted(self._unready),
            **self.stack.describe(),
        }  # fmt: skip
        if content != self._written:
            record.write_json(self.stack.data.state, content)
            self._written = content
