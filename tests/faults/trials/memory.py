"""How much memory the processes of a system have (C7: every buffer and queue has a limit)."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from devtools.processes import children, start_ticks
from tests.support.stack import System

_PAGE = os.sysconf("SC_PAGE_SIZE")
#: Ours; what servers take for their caches is their own affair.
OURS = ("gateway-1", "gateway-2", "worker-1", "fanout-1", "beat")

#: A process that is younger still loads its modules.
LOADED_S = 10.0


def resident(pid: int) -> int:
    """Bytes in memory of a process and its children, 0 for one that is gone."""
    total = 0
    for one in [pid, *children(pid)]:
        with contextlib.suppress(OSError, IndexError, ValueError):
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * _PAGE
    return total


def age_s(pid: int) -> float:
    """Since when a process runs."""
    ticks = start_ticks(pid)
    if ticks is None:
        return 0.0
    return float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")


class Memory:
    """Looks at it every half second. A process that starts again begins anew, once it has loaded what it needs."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._first: dict[tuple[str, int], int] = {}
        self._most: dict[tuple[str, int], int] = {}

    async def watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(0.5)

    def look(self) -> None:
        for name, pid in self._system.processes.items():
            if name in OURS and pid is not None and age_s(pid) > LOADED_S and (size := resident(pid)):
                self._first.setdefault((name, pid), size)
                self._most[name, pid] = max(size, self._most.get((name, pid), 0))

    def grown(self) -> dict[str, int]:
        """name → by how many bytes it grew at most since it was first looked at."""
        found: dict[str, int] = {}
        for (name, pid), most in self._most.items():
            found[name] = max(found.get(name, 0), most - self._first[name, pid])
        return found
