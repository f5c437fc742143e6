"""The supervisor on real servers and stand-in children: what dies comes back, and nothing outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools import ports, record, running, unprivileged
from devtools.paths import REPO, DataFolder
from devtools.processes import is_alive, of_stack
from tests.support import early
from tests.support.stack import _caller


def eventually(check: Callable[[], Any], timeout: float = 10.0) -> Any:
    """What ``check`` returns as soon as that is true; fails after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not (found := check()):
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.03)
    return found


class Supervised:
    """A stub system under a real supervisor, in a process of its own."""

    def __init__(self, root: Path) -> None:
        root.mkdir(mode=0o711, exist_ok=True)
        self.data = DataFolder(root)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.devtools.stub_system", str(root), str(ports.choose())],
            cwd=REPO,
            env={**_caller(), "PYTHONPATH": str(REPO)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.postgres_folder = unprivileged.data_folder(self.data.postgres)
        assert self.process.stdout is not None
        said = []
        for line in self.process.stdout:
            said.append(line)
            if line == "ready\n":
                return
        raise AssertionError("".join(said))

    @property
    def state(self) -> dict[str, Any]:
        return record.state(self.data)

    def pids(self) -> list[int]:
        return of_stack(self.data.id, self.postgres_folder)


Running = Callable[..., Supervised]


@pytest.fixture(scope="module")
def supervised() -> Iterator[Running]:
    """``supervised("one")``: the system of that name, as the test before left it; it is started if it does not run. What a test
    has ended is started on the data that it left: to make a database folder takes longest."""
    made: dict[str, Supervised] = {}

    def running_one(name: str = "one") -> Supervised:
        if name not in made:
            made[name] = Supervised(early.FOLDER / f"{name}-{os.urandom(3).hex()}")
        elif made[name].process.poll() is not None:
            made[name] = Supervised(made[name].data.root)
        return made[name]

    yield running_one
    for system in made.values():
        if system.process.poll() is None:
            system.process.kill()
        system.process.wait(10)
        running.stop(system.data)


@pytest.mark.parametrize("name", ["gateway-1", "worker-1", "valkey", "postgres"])
def test_a_dead_part_is_back_within_five_seconds(supervised: Running, name: str) -> None:
    system = supervised()
    before, restarts = system.state["processes"], system.state["restarts"]
    os.kill(before[name], signal.SIGKILL)
    started = time.monotonic()

    def back() -> bool:
        state = system.state
        return state["processes"][name] not in (None, before[name]) and name not in state["starting"]

    eventually(back)
    assert time.monotonic() - started < (
        20 if early.WORKER else 5
    )  # another process takes its part of the cores
    after = system.state
    assert after["restarts"] == {**restarts, name: restarts[name] + 1}
    assert {k: v for k, v in after["processes"].items() if k != name} == {
        k: v for k, v in before.items() if k != name
    }


def test_a_part_that_keeps_dying_is_tried_again_and_again_within_five_seconds(
    supervised: Running,
) -> None:
    system = supervised()
    restarts = system.state["restarts"]["gateway-1"]
    for count in range(restarts + 1, restarts + 5):
        pid = eventually(lambda: system.state["processes"]["gateway-1"], 5)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda count=count: system.state["restarts"]["gateway-1"] == count, 5)


def test_nothing_outlives_a_killed_supervisor(supervised: Running) -> None:
    system = supervised()
    marked = system.pids()
    direct = list(system.state["processes"].values())
    assert len(marked) > len(direct) + 2  # the worker's forks, and PostgreSQL's backends
    system.process.kill()
    system.process.wait(10)
    eventually(lambda: not any(map(is_alive, direct)), 5)
    # The forks of the stand-in do not tie themselves to their parent, as the real worker's do; `down` finds them by their mark.
    assert running.stop(system.data)
    assert system.pids() == []


def test_an_orderly_end_leaves_nothing_and_keeps_the_data(supervised: Running) -> None:
    system = supervised()
    assert system.pids()
    system.process.terminate()
    assert system.process.wait(30) == 0
    assert system.pids() == []
    assert record.state(system.data) == {}
    assert not (system.data.postgres / "postmaster.pid").exists()  # PostgreSQL shut down, it was not killed
    assert (system.data.postgres / "PG_VERSION").exists()


def test_down_ends_a_system(supervised: Running) -> None:
    system = supervised()
    assert running.stop(system.data)
    assert system.pids() == []
    assert not running.stop(system.data)


def test_two_systems_side_by_side(supervised: Running) -> None:
    one, other = supervised("one"), supervised("other")
    mine = set(other.pids())
    assert mine
    assert not mine & set(one.pids())
    running.stop(one.data)
    assert set(other.state["processes"].values()) <= set(other.pids())
    assert all(map(is_alive, other.state["processes"].values()))


def test_a_second_supervisor_of_the_same_folder_is_refused(supervised: Running) -> None:
    system = supervised()
    before = system.state["processes"]
    second = subprocess.run(
        [sys.executable, "-m", "tests.devtools.stub_system", str(system.data.root), str(ports.choose())],
        cwd=REPO,
        env={**_caller(), "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode != 0
    assert "is using the data folder" in second.stderr
    assert system.state["processes"] == before


def test_a_record_of_a_dead_supervisor_counts_for_nothing(tmp_path: Path) -> None:
    data = DataFolder(tmp_path / "data")
    record.write_json(
        data.state, {"pid": os.getpid(), "ticks": 1, "phase": "running"}
    )  # our pid, another process's start
    assert record.state(data) == {}
