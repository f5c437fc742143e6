"""The memory of a process counts from when it has loaded what it needs, however long that takes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from devtools.processes import Child, Spec
from tests.faults.trials.memory import GROWTH, Memory
from tests.support.patience import until

#: Loads 64 MB when it finds ``load`` in its folder, and keeps 64 more when it finds ``keep``.
PROGRAM = """
import os, sys, time
kept = []
for word in ("load", "keep"):
    while not os.path.exists(os.path.join(sys.argv[1], word)):
        time.sleep(0.01)
    kept.append(bytearray(b"1" * (64 << 20)))
    print(word + " done", flush=True)
time.sleep(600)
"""


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    spec = Spec(
        name="worker-1",
        argv=[sys.executable, "-c", PROGRAM, str(tmp_path)],
        env={},
        cwd=tmp_path,
        log=tmp_path / "log",
        ready=lambda child: "load done" in child.output(),
    )
    child = Child(spec)
    child.start()
    yield child
    child.stop()


async def _do(child: Child, word: str) -> None:
    (child.spec.cwd / word).touch()
    await until(lambda: f"{word} done" in child.output(), f"the process has said {word}")


async def test_what_a_process_loads_is_no_growth_and_what_it_keeps_is(child: Child) -> None:
    processes = {"worker-1": child.pid}
    system: Any = SimpleNamespace(processes=processes, stack=SimpleNamespace(children={"worker-1": child}))
    memory = Memory(cast(Any, system), loaded_s=0)
    memory.look()  # it runs, and is not ready
    await _do(child, "load")
    memory.look()
    assert memory.grown() == {"worker-1": 0}
    await _do(child, "keep")
    memory.look()
    assert memory.grown()["worker-1"] > GROWTH
