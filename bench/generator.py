"""The load generator's processes as the bench sees them: one command to all, one answer from each."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from bench.cpu import Meter
from devtools.paths import REPO


class LoadError(Exception):
    """A generator could not do what it was told, or died."""


class Generators:
    """``count`` processes of :mod:`bench.load`. They inherit the cores of the process that makes them."""

    def __init__(self, count: int) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "bench.load"],
                cwd=REPO,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
                start_new_session=True,  # Ctrl-C is for whoever started the bench; they end with their input
            )
            for _ in range(count)
        ]

    def __len__(self) -> int:
        return len(self._processes)

    def meter(self) -> Meter:
        return Meter({"client": [process.pid for process in self._processes]})

    def all(self, do: str, each: Sequence[dict[str, Any]] | None = None, **same: Any) -> list[dict[str, Any]]:
        """Tell every process; ``each`` holds what differs between them. Raises :class:`LoadError`."""
        for number, process in enumerate(self._processes):
            self._write(process, {"do": do, **same, **(each[number] if each else {})})
        return [self._read(process, do) for process in self._processes]

    def one(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Tell the first process only."""
        return self.of(0, do, **arguments)

    def of(self, number: int, do: str, **arguments: Any) -> dict[str, Any]:
        """Tell this process only."""
        self._write(self._processes[number], {"do": do, **arguments})
        return self._read(self._processes[number], do)

    def close(self) -> None:
        """End all; they end by themselves when their input does."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    @staticmethod
    def _write(process: subprocess.Popen[str], request: dict[str, Any]) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise LoadError(f"a load generator died (exit {process.poll()})") from None

    @staticmethod
    def _read(process: subprocess.Popen[str], do: str) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise LoadError(f"a load generator died during {do} (exit {process.wait()})")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise LoadError(f"{do}: {answer['error']}")
        return answer
