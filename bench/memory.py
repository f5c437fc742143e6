"""What processes hold in memory while something goes on: the proportional set size (PSS), in which a page that several share is
divided among them, of each group of processes, once in a while (proc(5), ``smaps_rollup``)."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from bench.cpu import tree
from bench.figures import Figures

Sample = tuple[float, dict[str, int]]


def pss_kb(pids: Sequence[int]) -> int:
    """KiB of these processes and all their descendants; those that end meanwhile are passed over."""
    total = 0
    for pid in tree(pids):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


class Watch:
    """Samples ``processes`` (name → pid) in a thread from the beginning of the block to its end."""

    def __init__(self, processes: Mapping[str, int], every_s: float = 1.0) -> None:
        self.processes, self.every_s = dict(processes), every_s
        self.samples: list[Sample] = []
        self._began = time.perf_counter()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory")

    def __enter__(self) -> Watch:
        self.sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self.sample()

    def sample(self) -> None:
        at = time.perf_counter() - self._began
        self.samples.append((at, {name: pss_kb([pid]) for name, pid in self.processes.items()}))

    def _run(self) -> None:
        while not self._ended.wait(self.every_s):
            self.sample()


def figures(samples: Sequence[Sample]) -> Figures:
    """Of each process, MB: at the beginning, at the end, the most, and how much more that is than at the beginning;
    ``over_time``: all of it, ``[seconds, MB]``."""
    return {
        name: {
            "first_mb": mb(samples[0][1][name]),
            "last_mb": mb(samples[-1][1][name]),
            "most_mb": mb(most := max(known[name] for _, known in samples)),
            "growth_mb": mb(most - samples[0][1][name]),
            "over_time": [[round(at, 1), mb(known[name])] for at, known in samples],
        }
        for name in samples[0][1]
    }


def told(found: Figures, columns: int = 8) -> str:
    """A table of :func:`figures`: MB of each process at so many times, evenly apart, and the most that was seen."""
    times = [at for at, _ in next(iter(found.values()))["over_time"]]
    places = sorted({round(n * (len(times) - 1) / (columns - 1)) for n in range(columns)})
    lines = [
        f"{'PSS in MB after s':18}" + "".join(f"{times[place]:8.0f}" for place in places) + f"{'most':>8}"
    ]
    for name, one in found.items():
        values = "".join(f"{one['over_time'][place][1]:8.1f}" for place in places)
        lines.append(f"{name:18}{values}{one['most_mb']:8.1f}")
    return "\n".join(lines)


def mb(kb: float) -> float:
    return round(kb / 1024, 1)
