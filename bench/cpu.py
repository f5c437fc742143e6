"""CPU that groups of processes used: every thread of every process, children that came and went included.

A living process counts the ``schedstat`` (ns on a CPU) of its threads; threads that ended are in its ``stat``, and children
that ended and were waited for are in their parent's, both to 10 ms. Counted this way nothing disappears between two readings.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Gone(Exception):
    """A process that is being measured has ended."""


@dataclass(frozen=True)
class Reading:
    """``used``: group → ns of CPU since its processes began; ``at``: seconds of the monotonic clock."""

    used: dict[str, int]
    at: float

    def since(self, earlier: Reading) -> dict[str, float]:
        """Group → CPU-seconds used between two readings."""
        return {name: (ns - earlier.used.get(name, 0)) / 1e9 for name, ns in self.used.items()}


class Meter:
    """``groups``: name → pids; all their descendants belong to the group."""

    def __init__(self, groups: Mapping[str, Sequence[int]]) -> None:
        self._groups = {name: list(pids) for name, pids in groups.items()}

    def read(self) -> Reading:
        """Raises :class:`Gone`."""
        at = time.perf_counter()
        children = _children()
        used = {}
        for name, roots in self._groups.items():
            total = 0
            for root in roots:
                if not _alive(root):
                    raise Gone(f"a process of {name} (pid {root}) has ended")
                for pid in _tree(root, children):
                    total += _used(pid)
            used[name] = total
        return Reading(used, at)


def settle(meter: Meter, calm: float = 0.15, timeout_s: float = 20.0) -> None:
    """Wait until what is metered uses less than ``calm`` cores, at most ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    last = meter.read()
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = meter.read()
        if sum(now.since(last).values()) / (now.at - last.at) < calm:
            return
        last = now


def tree(roots: Sequence[int]) -> list[int]:
    """These processes and all their descendants."""
    children = _children()
    return [pid for root in roots for pid in _tree(root, children)]


def threads(pid: int) -> dict[str, float]:
    """CPU-seconds of the living threads of a process by the name that the kernel knows; those of one name together. A thread
    that named itself nothing has the name of who made it. Raises :class:`Gone`."""
    used: dict[str, float] = {}
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            folder = Path(f"/proc/{pid}/task/{task}")
            try:
                name = (folder / "comm").read_text().strip()
                used[name] = used.get(name, 0.0) + int((folder / "schedstat").read_text().split()[0]) / 1e9
            except OSError:
                continue  # ended just now
    except OSError:
        raise Gone(f"pid {pid} has ended") from None
    return used


def resident_kb(pid: int) -> int:
    """Resident memory (VmRSS) in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise Gone(f"pid {pid} has ended")


def pin(pid: int, cores: set[int]) -> None:
    """Keep every thread of a process on these cores; children it makes later inherit that."""
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), cores)


def _stat(pid: int) -> list[str] | None:
    """The fields of ``/proc/PID/stat`` from the state on (field 3 of proc(5) is number 0)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def _alive(pid: int) -> bool:
    fields = _stat(pid)
    return fields is not None and fields[0] not in "ZX"


def _children() -> dict[int, list[int]]:
    """Parent → its children, of the whole machine."""
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))) is not None:
            found.setdefault(int(fields[1]), []).append(int(name))
    return found


def _tree(root: int, children: Mapping[int, list[int]]) -> list[int]:
    found = [root]
    for pid in found:
        found += children.get(pid, ())
    return found


def _used(pid: int) -> int:
    """ns of one process, its ended threads and its ended children."""
    living = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            try:
                living += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
            except OSError:
                continue  # ended just now: it is in ``stat``
    except OSError:
        return 0  # ended just now: its parent has it
    fields = _stat(pid)
    if fields is None:
        return living
    user, system, ended_user, ended_system = (int(field) for field in fields[11:15])
    return max(living, (user + system) * _TICK_NS) + (ended_user + ended_system) * _TICK_NS
