"""``./dev up``, ``status``, ``down`` and ``reset`` as a newcomer runs them, in clones of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools import ports, unprivileged
from devtools.paths import REPO, VENV, DataFolder
from devtools.processes import children, of_stack
from tests.devtools.test_supervisor import eventually
from tests.support import early
from tests.support.stack import _caller

_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".local", ".cache", ".hypothesis", "__pycache__", "*_cache"
)


class Clone:
    """A copy of the working tree that shares only ``.venv``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = ports.choose()
        shutil.copytree(REPO, folder, ignore=_LEFT_OUT)
        (folder / ".venv").symlink_to(VENV)
        self.data = DataFolder(folder / ".local")

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.folder / "dev"), *arguments],
            cwd="/",  # it works from anywhere
            env={**_caller(), **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def dev(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **env)
        out, err = process.communicate(timeout=180)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def up(self) -> dict[str, Any]:
        run = self.dev("up", "--detach", "--port", str(self.port))
        assert run.returncode == 0, run.stdout + run.stderr
        assert f"ws://127.0.0.1:{self.port}/ws" in run.stdout
        return self.status()

    def status(self) -> dict[str, Any]:
        return json.loads(self.dev("status", "--json").stdout)

    def pids(self) -> list[int]:
        return of_stack(self.data.id, unprivileged.data_folder(self.data.postgres))


@pytest.fixture
def clone() -> Iterator[Callable[[], Clone]]:
    made: list[Clone] = []

    def make() -> Clone:
        made.append(Clone(early.FOLDER / f"clone-{os.urandom(3).hex()}"))
        return made[-1]

    yield make
    for one in made:
        one.dev("reset", "--yes")
        shutil.rmtree(one.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def lived_in() -> Iterator[Clone]:
    """One that tests share, each of which finds it down: its databases are made once, which takes longest."""
    shared = Clone(early.FOLDER / f"clone-{os.urandom(3).hex()}")
    yield shared
    shared.dev("reset", "--yes")
    shutil.rmtree(shared.folder, ignore_errors=True)


@pytest.fixture
def system(lived_in: Clone) -> Iterator[Clone]:
    yield lived_in
    lived_in.dev("down")


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/health/live", timeout=3) as response:
            return response.status == 200
    except OSError:
        return False


@pytest.mark.needs_system
@pytest.mark.timeout(400)
def test_two_clones_run_side_by_side_and_each_stops_alone(clone: Callable[[], Clone]) -> None:
    one, other = clone(), clone()
    first, second = one.up(), other.up()
    assert first["http"] == f"http://127.0.0.1:{one.port}"
    assert first["ws"] == f"ws://127.0.0.1:{one.port}/ws"
    assert {"gateway-1", "gateway-2", "api-1", "worker-1", "fanout-1", "beat", "postgres", "valkey"} == set(
        first["processes"]
    )
    assert set(first["gateways"]["gateway-1"]) == {"ws", "metrics"}
    assert set(first["urls"]) == {"database", "hot", "broker", "cache"}
    assert first["data"] == str(one.data.root)
    assert not set(first["processes"].values()) & set(second["processes"].values())
    assert answers(first["http"])
    assert answers(second["http"])

    again = one.dev("up", "--detach", "--port", str(ports.choose()))
    assert again.returncode == 0
    assert "nothing was changed" in again.stdout
    assert one.status() == first

    assert one.dev("down").returncode == 0
    assert one.pids() == []
    assert one.dev("status").returncode == 1
    assert answers(second["http"])
    assert other.status() == second


@pytest.mark.needs_system
@pytest.mark.needs_s3
def test_manage_finds_the_files_where_the_system_has_them(clone: Callable[[], Clone]) -> None:
    one = clone()
    run = one.dev("up", "--detach", "--port", str(one.port), "--s3")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "files      in the bucket media on http://127.0.0.1:" in run.stdout
    asked = "from media.storage import storage; print(type(storage()).__name__)"
    assert one.dev("manage", "shell", "-v", "0", "-c", asked).stdout.split() == ["S3"]


@pytest.mark.needs_system
@pytest.mark.timeout(400)
def test_nothing_is_left_after_the_supervisor_is_killed(system: Clone) -> None:
    before = system.up()
    marked = system.pids()
    assert (
        len(marked) > len(before["processes"]) + 2
    )  # Celery's pool children and PostgreSQL's backends among them
    os.kill(json.loads(system.data.state.read_text())["pid"], signal.SIGKILL)
    eventually(lambda: system.pids() == [], 60)
    assert system.dev("status").returncode == 1
    after = system.up()  # the stale record is seen for what it is
    assert answers(after["http"])


@pytest.mark.needs_system
@pytest.mark.timeout(400)
def test_a_killed_worker_takes_its_pool_along_and_is_back(system: Clone) -> None:
    worker = system.up()["processes"]["worker-1"]
    pool = children(worker)
    assert len(pool) >= 2
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not set(pool) & set(system.pids()), 60)
    eventually(lambda: system.status()["processes"]["worker-1"] not in (None, worker), 120)


@pytest.mark.needs_system
@pytest.mark.timeout(400)
def test_ctrl_c_stops_all(system: Clone) -> None:
    process = system.start("up", "--port", str(system.port))
    eventually(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{system.port}"), 120)
    eventually(lambda: system.dev("status").returncode == 0, 60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "./dev chat +15550001" in out  # it says what to type next
    assert "Traceback" not in out + err
    assert system.pids() == []


@pytest.mark.parametrize(
    ("name", "url", "said"),
    [
        ("DATABASE_URL", "postgresql://me:secret@127.0.0.1:1/x", "postgresql://127.0.0.1:1/x"),
        ("HOT_URL", "redis://:secret@127.0.0.1:1/0", "redis://127.0.0.1:1/0"),
        ("BROKER_URL", "amqp://me:secret@127.0.0.1:1//", "amqp://127.0.0.1:1//"),
        ("CACHE_URL", "redis://:secret@127.0.0.1:1/0", "redis://127.0.0.1:1/0"),
        ("DATABASE_URL", "mysql://127.0.0.1/x", "must be a postgresql:// URL"),
        ("HOT_URL", "redis://127.0.0.1:port/0", "is not a URL"),
        ("HOT_URL", "redis:///0", "names no server"),
    ],
)
def test_a_dead_or_wrong_url_is_one_sentence(
    clone: Callable[[], Clone], name: str, url: str, said: str
) -> None:
    system = clone()
    run = system.dev("up", "--detach", "--port", str(system.port), **{name: url})
    assert run.returncode != 0
    assert run.stdout == ""
    lines = run.stderr.strip().splitlines()
    assert len(lines) == 1, run.stderr
    assert lines[0].startswith(f"./dev up: {name}")
    assert said in lines[0]
    assert "secret" not in run.stderr
    assert system.pids() == []


def test_a_port_in_use_is_one_sentence(clone: Callable[[], Clone]) -> None:
    system = clone()
    with socket.socket() as other:
        # Another system's gateways share their port; ours must not join them.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", system.port))
        other.listen()
        run = system.dev("up", "--detach", "--port", str(system.port))
    assert run.returncode != 0
    assert len(run.stderr.strip().splitlines()) == 1
    assert f"port {system.port} is in use" in run.stderr


def test_reset_asks_and_deletes_nothing_but_data_folders(clone: Callable[[], Clone], tmp_path: Path) -> None:
    system = clone()
    system.data.create()
    asked = system.dev("reset")
    assert asked.returncode != 0
    assert system.data.root.exists()
    (tmp_path / "precious").touch()
    refused = system.dev("reset", "--yes", "--data", str(tmp_path))
    assert refused.returncode != 0
    assert (tmp_path / "precious").exists()
    assert system.dev("reset", "--yes").returncode == 0
    assert not system.data.root.exists()
