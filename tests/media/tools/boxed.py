"""Tools that misbehave, and what is left of them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from media.tools import sandbox
from media.tools.folders import Folder
from media.tools.reasons import Refused
from tests.support.patience import LONG

#: Small enough for a test, large enough for a busy machine.
SMALL = sandbox.Bounds(
    cpu_s=1, memory_bytes=256 * 2**20, output_bytes=2**20, processes=16, stdout_bytes=2**16, deadline_s=LONG
)


def bash(folder: Folder, code: str, bounds: sandbox.Bounds = SMALL, **tool: Any) -> sandbox.Done:
    """Runs ``code`` where a decoder would run that a stranger has taken over."""
    given = tool.pop("inputs", ())
    lines = tool.pop("lines", None)
    return sandbox.run(
        folder,
        sandbox.Tool(program="bash", **tool),
        ["-c", code, "bash", *given],
        bounds=bounds,
        inputs=given,
        lines=lines,
    )


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Tools are run without these walls, for the rest of the test."""
    monkeypatch.setattr(sandbox, "_without", set(names))


def refused(folder: Folder, code: str, bounds: sandbox.Bounds = SMALL, **tool: object) -> Refused:
    with pytest.raises(Refused) as caught:
        bash(folder, code, bounds, **tool)
    return caught.value


def until(check: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + LONG
    while not (found := check()):
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.01)
    return found


def processes(mark: str) -> list[str]:
    """The command lines that hold ``mark``, of processes that run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if mark in line:
                found.append(f"{entry.name} {line}")
    return found


@contextmanager
def server() -> Iterator[tuple[int, list[bytes]]]:
    """A port that listens, and what came from each connection."""
    came: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(LONG)
                    came.append(connection.recv(1_000))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], came
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
