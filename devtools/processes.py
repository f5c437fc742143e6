"""Starting children that cannot outlive us, and finding every process of a data folder."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from devtools.errors import DevError
from devtools.paths import MARKER

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_LOG_LIMIT = 10 * 2**20
_forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forker")


@dataclass
class Spec:
    """One child: how it starts, how one knows that it is ready, how it is asked to stop.

    ``stop_signal`` asks for an orderly end, for which it has ``stop_timeout`` seconds; ``death_signal`` is what the kernel sends
    it when we die without saying so. ``ready`` is asked until it is true, for at most ``ready_timeout`` seconds.
    """

    name: str
    argv: list[str]
    env: dict[str, str]
    cwd: Path
    log: Path
    ready: Callable[[Child], bool] = lambda child: True
    ready_timeout: float = 60.0
    stop_signal: int = signal.SIGTERM
    stop_timeout: float = 15.0
    death_signal: int = signal.SIGKILL
    before_start: Callable[[], None] | None = None


class Child:
    """A process made from a :class:`Spec`; may be started again after it ended."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.process: subprocess.Popen[bytes] | None = None
        self.log_offset = 0
        self.started_at = 0.0

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process and self.process.poll() is None else None

    def start(self) -> None:
        spec = self.spec
        if spec.before_start:
            spec.before_start()
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        rotate(spec.log)
        parent = os.getpid()

        def tie() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, spec.death_signal)
            if os.getppid() != parent:  # the parent died before the line above took effect
                os._exit(1)

        def launch() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                spec.argv,
                cwd=spec.cwd,
                env=spec.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=tie,
                start_new_session=True,  # Ctrl-C in the terminal is ours to pass on, in order
            )

        with spec.log.open("ab") as log:
            self.log_offset = log.tell()
            if threading.current_thread() is threading.main_thread():
                self.process = launch()
            else:
                # The kernel's death signal comes when the *thread* that forked ends: one that lives as long as we do forks.
                self.process = _forker.submit(launch).result()
        self.started_at = time.monotonic()

    def wait_ready(self, abort: Callable[[], bool] = lambda: False) -> None:
        """Until :attr:`Spec.ready` says so. Raises :class:`DevError` with the last lines of its log if it ends or hangs."""
        deadline = time.monotonic() + self.spec.ready_timeout
        while not self.spec.ready(self):
            if abort():
                raise DevError("interrupted", code=130)
            if self.pid is None:
                raise DevError(f"{self.name} ended while starting ({self.spec.log}):\n{self.tail()}")
            if time.monotonic() > deadline:
                raise DevError(
                    f"{self.name} was not ready after {self.spec.ready_timeout:.0f} s ({self.spec.log}):\n{self.tail()}"
                )
            time.sleep(0.03)

    def output(self) -> str:
        """What it has written to its log since it was last started."""
        try:
            with self.spec.log.open("rb") as log:
                log.seek(self.log_offset)
                return log.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def tail(self, lines: int = 15, width: int = 300) -> str:
        """The end of its output, for people: Java says its whole class path in one line."""
        if not self.output().strip():
            return "    (it has said nothing)"
        return "\n".join(
            f"    {line[:width]}{'…' * (len(line) > width)}" for line in self.output().splitlines()[-lines:]
        )

    def send(self, number: int) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)

    def wait(self, timeout: float) -> bool:
        """Whether it has ended within ``timeout`` seconds."""
        if self.process is None:
            return True
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """Ask it to end, insist after ``stop_timeout``."""
        self.send(self.spec.stop_signal)
        self.stop_waiting()

    def stop_waiting(self) -> None:
        """The second half of :meth:`stop`, for callers that ask several at once."""
        if not self.wait(self.spec.stop_timeout):
            self.send(signal.SIGKILL)
            self.wait(10)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send ``number`` and, if it is SIGKILL, wait for the end."""
        self.send(number)
        if number == signal.SIGKILL:
            self.wait(10)


def rotate(log: Path, limit: int = _LOG_LIMIT) -> None:
    """Move a log above ``limit`` bytes aside, keeping one older file."""
    try:
        if log.stat().st_size > limit:
            log.replace(log.with_name(log.name + ".1"))
    except OSError:
        pass


def start_ticks(pid: int) -> int | None:
    """When ``pid`` started, in clock ticks since boot: with the pid it names one process for good. None: there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def children(pid: int) -> list[int]:
    """The processes that ``pid`` has started and that still live: a worker's pool, PostgreSQL's backends."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # the thread has ended
    return found


def is_alive(pid: int, ticks: int | None = None) -> bool:
    """Whether the process lives (a zombie does not); with ``ticks``, whether it is still the same one."""
    found = start_ticks(pid)
    return found is not None and (ticks is None or ticks == found)


def of_stack(stack_id: str | None, folder: Path | None = None) -> list[int]:
    """Every live process that carries ``stack_id`` in its environment, or is a PostgreSQL that works in ``folder``.

    PostgreSQL's backends overwrite their environment with their title, but their working directory is their data folder.
    """
    wanted = f"{MARKER}={stack_id}".encode() if stack_id else b"no environment has this\0"
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environ = Path(entry.path, "environ").read_bytes().split(b"\0")
            if (wanted in environ or _is_postgres_in(entry.path, folder)) and is_alive(int(entry.name)):
                found.append(int(entry.name))
        except OSError:
            continue  # ended meanwhile, or another user's
    return found


def _is_postgres_in(proc: str, folder: Path | None) -> bool:
    return (
        folder is not None
        and os.readlink(f"{proc}/cwd") == str(folder)
        and os.path.basename(os.readlink(f"{proc}/exe")) == "postgres"
    )


def end_all(
    find: Callable[[], Iterable[int]], *, grace: float = 5.0, first: int = signal.SIGTERM
) -> list[int]:
    """End what ``find`` returns: ``first``, then SIGKILL after ``grace`` seconds. Returns the pids that were there."""
    seen = list(find())
    deadline = time.monotonic() + grace
    number = first
    for _ in range(2):
        for pid in find():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        while find() and time.monotonic() < deadline:
            time.sleep(0.05)
        number, deadline = signal.SIGKILL, time.monotonic() + 5
    return seen
