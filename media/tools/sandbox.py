"""Runs one tool on a stranger's file, in a process that can do little else, and says how it ended.

The tool gets its arguments, an input that it can only read, a folder to write in and an environment of four words. It has
bounds on processor time, memory, output, open files and processes, a deadline by the clock on the wall, no network, and no
other process in sight (``confine.py`` and ``walls.py`` put that on). Whatever happens to it or to us, it and all that it
started are gone afterwards: they are one process group, below a process that dies with us.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from media.tools.counting import Bill, counted
from media.tools.folders import Folder
from media.tools.reasons import Busy, Late, Missing, Reason, Refused

log = logging.getLogger(__name__)

#: What the child runs: ``confine.py`` as a module, whose compiled form is kept, with its folder and its orders as arguments.
START: Final = "import sys; sys.path.append(sys.argv[1]); import confine; confine.main(sys.argv[2])"
_HERE: Final = str(Path(__file__).parent)
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_ENVIRONMENT: Final = {
    "LANG": "C.UTF-8",
    "PATH": "/nonexistent",
    "HOME": "/nonexistent",
    "MALLOC_ARENA_MAX": "2",
}
#: What programs of the system read: libraries, fonts and their like.
_SYSTEM: Final = (
    "/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/usr/share", "/etc/ld.so.cache", "/etc/fonts",
    "/etc/alternatives", "/dev/urandom", "/sys/devices/system/cpu", "/sys/devices/system/node",
)  # fmt: skip
_LOADERS: Final = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
_TICK_S: Final = 0.2
_PATIENCE_S: Final = 10.0
_SAID_BYTES: Final = 4_096
_LINE_BYTES: Final = 4_096
_MOST_FILES: Final = 1_000
_LITTLE_DISK: Final = 32 * 2**20
OUT_OF_MEMORY: Final = 77  # the same as in confine.py
_MEMORY_WORDS: Final = (
    b"cannot allocate",
    b"bad_alloc",
    b"out of memory",
    b"memoryerror",
    b"malloc of size",
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds of a processor summed over all threads, bytes of addresses, bytes of all output together (and of each file), open
    files, processes and threads together (where the kernel counts them apart from the server's), bytes of standard output,
    seconds that it may do nothing though nothing keeps it from working (an encoder without memory can wait for itself for ever),
    and seconds on the wall until it is the machine's fault."""

    cpu_s: int = 30
    memory_bytes: int = 2 * 2**30
    output_bytes: int = 64 * 2**20
    files: int = 64
    processes: int = 64
    stdout_bytes: int = 4 * 2**20
    idle_s: int = 30
    deadline_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Tool:
    """A program of the system by its name (looked for in the usual places only), or ``worker``: a file of ours in Python with
    ``warm()`` and ``main(arguments, outputs) -> exit code``, which gets its input as descriptor 0 and the files ``outputs`` as
    descriptors, and opens nothing. ``calls``: the only system calls it makes, if that is known. ``private_tmp``: it wants a
    ``/tmp``, which then is its folder, where it may also remove what is there; where the kernel cannot do that, it is
    :class:`Missing`."""

    program: str = ""
    worker: Path | None = None
    outputs: tuple[str, ...] = ()
    calls: tuple[int, ...] | None = None
    children: bool = False
    local_sockets: bool = False
    private_tmp: bool = False
    read: tuple[str, ...] = ()
    execute: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """``said``: the end of standard error. ``walls``: which of ``namespaces``, ``landlock``, ``seccomp`` stood."""

    stdout: bytes
    said: str
    cpu_s: float
    rss_bytes: int
    walls: frozenset[str]


#: Walls to leave out: for tests, which show what each is worth.
_without: set[str] = set()


def run(
    folder: Folder,
    tool: Tool,
    arguments: Sequence[str],
    *,
    bounds: Bounds,
    inputs: Sequence[str] = (),
    lines: Callable[[str], None] | None = None,
) -> Done:
    """Run it to its end. ``inputs`` are names from :meth:`Folder.take`; a worker gets the first as its standard input. ``lines``
    is told each line of standard output as it comes (it is not collected then); what it raises ends the tool and comes through.

    Raises :class:`Refused` (``resources`` when a bound was met, ``unreadable`` when the tool failed or died), :class:`Late`,
    :class:`Busy`, :class:`Missing`. Blocks; the thread that calls must live as long, or the tool dies with it.
    """
    with counted(Path(tool.program or tool.worker or "").stem) as bill:
        program = shutil.which(tool.program, path=_PATH) if tool.program else ""
        if program is None:
            raise Missing(tool.program)
        given = folder, tool, program, arguments, bounds, inputs, lines
        try:
            return _Run(*given, bill, namespaces=not _half_apart).watch()
        except _NoNamespaces:
            # Some kernels let us in and give no names there; it will not be otherwise the next time.
            _half_apart.append(True)
            return _Run(*given, bill, namespaces=False).watch()


_half_apart: list[bool] = []
_told: set[frozenset[str]] = set()
_WALLS: Final = frozenset({"namespaces", "landlock", "seccomp"})


class _NoNamespaces(Exception):
    pass


class _Run:
    def __init__(
        self,
        folder: Folder,
        tool: Tool,
        program: str,
        arguments: Sequence[str],
        bounds: Bounds,
        inputs: Sequence[str],
        lines: Callable[[str], None] | None,
        bill: Bill,
        *,
        namespaces: bool,
    ) -> None:
        self.folder, self.tool, self.bounds, self.lines, self.bill = folder, tool, bounds, lines, bill
        self.used_before = folder.used()[0]
        self.stdout, self.said, self.reported = bytearray(), bytearray(), bytearray()
        self.process: subprocess.Popen[bytes]
        self.work, self.idle = -1, 0
        self.start(program, arguments, inputs, namespaces and "namespaces" not in _without)

    def start(self, program: str, arguments: Sequence[str], inputs: Sequence[str], namespaces: bool) -> None:
        tool, bounds = self.tool, self.bounds
        real = [os.path.realpath(self.folder.work / name) for name in inputs]
        limits = {
            "cpu_s": bounds.cpu_s,
            "memory_bytes": bounds.memory_bytes,
            "file_bytes": bounds.output_bytes,
            "files": 0 if tool.worker else bounds.files,
            "processes": bounds.processes,
        }
        with contextlib.ExitStack() as ours:
            try:
                report, telling = os.pipe()
                self.report = os.fdopen(report, "rb", 0)
                ours.callback(os.close, telling)
                lifeline, self.holding = os.pipe()
                ours.callback(os.close, lifeline)
                given = (
                    os.open(real[0], os.O_RDONLY | os.O_CLOEXEC)
                    if tool.worker
                    else os.open(os.devnull, os.O_RDONLY)
                )
                ours.callback(os.close, given)
                spec = {
                    "worker": str(tool.worker) if tool.worker else "",
                    "argv": list(arguments) if tool.worker else [program, *arguments],
                    "outputs": tool.outputs,
                    "env": _ENVIRONMENT | tool.environment,
                    "limits": limits,
                    "calls": tool.calls,
                    "children": tool.children,
                    "local_sockets": tool.local_sockets,
                    "remove": tool.private_tmp,
                    "private_tmp": tool.private_tmp,
                    "read": [] if tool.worker else [*_SYSTEM, *tool.read, *real],
                    "write": [] if tool.worker else [".", os.devnull],
                    "execute": [] if tool.worker else [os.path.realpath(program), *_LOADERS, *tool.execute],
                    "namespaces": namespaces,
                    "landlock": "landlock" not in _without,
                    "seccomp": "seccomp" not in _without,
                    "report": telling,
                    "lifeline": lifeline,
                }
                self.process = subprocess.Popen(  # noqa: S603 - our own file
                    # Without its site packages Python starts in half the time; only workers need them.
                    [
                        sys.executable,
                        "-I",
                        *([] if tool.worker else ["-S"]),
                        "-c",
                        START,
                        _HERE,
                        json.dumps(spec),
                    ],
                    stdin=given,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    pass_fds=(telling, lifeline),
                    env=_ENVIRONMENT,
                    cwd=self.folder.work,
                    start_new_session=True,
                    bufsize=0,
                )
            except OSError as error:
                with contextlib.suppress(OSError, AttributeError):
                    self.report.close()
                    os.close(self.holding)
                raise Busy(f"no process: {error.strerror}") from None

    def watch(self) -> Done:
        deadline = time.monotonic() + self.bounds.deadline_s
        try:
            self.listen(deadline)
        finally:
            self.end()
            os.close(self.holding)
            for stream in (self.process.stdout, self.process.stderr, self.report):
                assert stream is not None
                stream.close()
        return self.judge()

    def end(self) -> None:
        """The keeper kills and buries what it keeps. One that does not answer, or was killed itself, is helped."""
        self.process.terminate()
        try:
            orderly = self.process.wait(_PATIENCE_S) == 0
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            orderly = False
        group = re.search(rb'"group": (\d+)', self.reported)
        if not orderly and group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(int(group[1]), signal.SIGKILL)

    def listen(self, deadline: float) -> None:
        """Until all three pipes have ended, a bound is met, or time is over."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.process.stdout, selectors.EVENT_READ, self.take_stdout)
            waiting.register(self.process.stderr, selectors.EVENT_READ, self.take_stderr)
            waiting.register(self.report, selectors.EVENT_READ, self.take_report)
            looked = glanced = 0.0
            while waiting.get_map():
                now = time.monotonic()
                if now > deadline:
                    raise Late(self.tool.program or str(self.tool.worker))
                if now - looked > _TICK_S:
                    looked = now
                    self.weigh()
                if now - glanced > 1.0:
                    glanced = now
                    self.glance()
                for key, _ in waiting.select(max(0.0, min(_TICK_S, deadline - now))):
                    chunk = os.read(key.fd, 65_536)
                    if not chunk:
                        waiting.unregister(key.fileobj)
                        if key.fileobj is self.report:
                            return self.rest(waiting)
                    key.data(chunk)

    def rest(self, waiting: selectors.BaseSelector) -> None:
        """The tool is gone: read what it left in its pipes, and wait for nobody who may hold them still."""
        for key, _ in waiting.select(0):
            os.set_blocking(key.fd, False)
            with contextlib.suppress(BlockingIOError):
                while chunk := os.read(key.fd, 65_536):
                    key.data(chunk)
        self.take_stdout(b"")

    def weigh(self) -> None:
        used, entries = self.folder.used(_MOST_FILES)
        if used - self.used_before > self.bounds.output_bytes or entries > _MOST_FILES:
            raise Refused(Reason.RESOURCES, "output")

    def glance(self) -> None:
        """Once a second. It waits for nothing outside: if all its threads sleep and none has worked, glance after glance, then it
        waits for itself. Glances are counted, not seconds, which pass for both when the machine stands still."""
        work, asleep = _work(self.process.pid)
        self.idle = self.idle + 1 if asleep and work == self.work else 0
        self.work = work
        if self.idle >= self.bounds.idle_s:
            raise Refused(Reason.RESOURCES, "it hangs")

    def take_stdout(self, chunk: bytes) -> None:
        self.stdout += chunk
        if self.lines is None:
            if len(self.stdout) > self.bounds.stdout_bytes:
                raise Refused(Reason.RESOURCES, "standard output")
            return
        *whole, rest = self.stdout.split(b"\n")
        if len(rest) > _LINE_BYTES:
            raise Refused(Reason.RESOURCES, "a line of standard output")
        self.stdout = rest
        for line in whole:
            self.lines(line.decode("utf-8", "replace"))

    def take_stderr(self, chunk: bytes) -> None:
        self.said = (self.said + chunk)[-_SAID_BYTES:]

    def take_report(self, chunk: bytes) -> None:
        self.reported += chunk[:_SAID_BYTES]

    def judge(self) -> Done:
        how: dict[str, Any] = {}
        for line in bytes(self.reported).splitlines():
            how |= json.loads(line)
        said = bytes(self.said).decode("utf-8", "replace")
        self.bill.cpu_s = how.get("cpu_s", 0.0)
        if "failed" in how:
            if how["failed"] == "namespaces":
                raise _NoNamespaces
            if how["failed"] == "private_tmp":
                raise Missing(self.tool.program)
            log.warning("a media tool could not be started: %s", how["said"])
            raise Busy(str(how["said"]))
        if (gone := _WALLS - frozenset(how.get("walls", _WALLS))) and gone not in _told:
            _told.add(gone)
            log.warning(
                "media tools run without %s, which this kernel or its container does not give",
                ", ".join(sorted(gone)),
            )
        if how.get("exit") == 0:
            return Done(bytes(self.stdout), said, how["cpu_s"], how["rss_bytes"], frozenset(how["walls"]))
        if "exit" not in how and "signal" not in how:
            raise Busy("the tool's keeper was ended: " + said[-200:])
        raise self.blame(how, said)

    def blame(self, how: dict[str, Any], said: str) -> Exception:
        by = how.get("signal")
        # The kernel counts for the bound in ticks and for the bill in nanoseconds; they differ by a few percent.
        spent = how["cpu_s"] >= 0.75 * self.bounds.cpu_s - 0.5
        if by == signal.SIGXFSZ or (by == signal.SIGKILL and spent):
            return Refused(Reason.RESOURCES, said)
        if by == signal.SIGKILL:  # not by us, and not by a bound of ours: whoever it was may not do it again
            self.bill.killed = True
            return Busy("somebody killed the tool")
        if shutil.disk_usage(self.folder.path).free < _LITTLE_DISK:
            return Busy("no space left")
        if how.get("exit") == OUT_OF_MEMORY or any(word in said.lower().encode() for word in _MEMORY_WORDS):
            return Refused(Reason.RESOURCES, said)
        return Refused(Reason.UNREADABLE, said, how.get("exit"))


def _work(keeper: int) -> tuple[int, bool]:
    """Ticks of a processor that all processes below ``keeper`` have had, and whether every thread of theirs sleeps; 0 and False
    where that is not to be seen."""
    ticks, found, left = 0, False, [keeper]
    try:
        while left:
            process = left.pop()
            with open(f"/proc/{process}/task/{process}/children", "rb") as file:
                children = [int(word) for word in file.read().split()]
            left += children
            for child in children:
                ticks += sum(map(int, _stat(f"/proc/{child}/stat")[11:13]))
                for thread in os.listdir(f"/proc/{child}/task"):
                    found = True
                    if _stat(f"/proc/{child}/task/{thread}/stat")[0] != b"S":
                        return ticks, False
    except (OSError, ValueError, IndexError):
        return 0, False
    return ticks, found


def _stat(path: str) -> list[bytes]:
    """From the state on (proc(5)); the name before it may hold anything."""
    with open(path, "rb") as file:
        return file.read().rpartition(b")")[2].split()
