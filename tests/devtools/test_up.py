"""``./dev up``, ``status``, ``down`` and ``reset`` as a newcomer runs them, in clones of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools import external, ports, record, unprivileged
from devtools.errors import DevError
from devtools.paths import REPO, VENV, DataFolder
from devtools.processes import children, of_stack
from tests.devtools.test_supervisor import eventually
from tests.support import early
from tests.support.stack import _caller, _copy_template

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
        # The same files as ours: a dozen processes would compile all of Django's at once, to be thrown away.
        self.compiled = _compiled(folder)
        self.compiled.parent.mkdir(parents=True, exist_ok=True)
        self.compiled.symlink_to(_compiled(REPO))

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

    def up(self, *options: str) -> dict[str, Any]:
        run = self.dev("up", "--detach", "--port", str(self.port), *options)
        assert run.returncode == 0, run.stdout + run.stderr
        assert f"ws://127.0.0.1:{self.port}/ws" in run.stdout
        return self.status()

    def status(self) -> dict[str, Any]:
        return json.loads(self.dev("status", "--json").stdout)

    def pids(self) -> list[int]:
        return of_stack(self.data.id, unprivileged.data_folder(self.data.postgres))

    def remove(self) -> None:
        if state := record.state(self.data):
            os.kill(state["pid"], signal.SIGKILL)  # all else ends with it; an orderly end takes longer
        self.dev("reset", "--yes")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.compiled.unlink()


def _compiled(folder: Path) -> Path:
    """Where Python keeps what it compiled of the files in ``folder``."""
    assert sys.pycache_prefix is not None
    return Path(sys.pycache_prefix) / folder.relative_to("/")


def _new() -> Clone:
    return Clone(early.FOLDER / f"clone-{os.urandom(3).hex()}")


@pytest.fixture(scope="module")
def system() -> Iterator[Clone]:
    """One that all tests share, whatever the one before left running: its databases are made by its first ``up``."""
    shared = _new()
    yield shared
    shared.remove()


@pytest.fixture
def down(system: Clone) -> Clone:
    """The shared one, of which nothing runs."""
    if record.state(system.data):
        assert system.dev("down").returncode == 0
    return system


@pytest.fixture
def another() -> Iterator[Clone]:
    """Another one, which finds a database that was made before."""
    made = _new()
    made.data.create()
    _copy_template(made.data, servers=True)
    yield made
    made.remove()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/health/live", timeout=3) as response:
            return response.status == 200
    except OSError:
        return False


@pytest.mark.needs_system
@pytest.mark.timeout(400)
def test_a_killed_worker_takes_its_pool_along_and_is_back(system: Clone) -> None:
    worker = system.up()["processes"]["worker-1"]
    pool = children(worker)
    assert len(pool) >= 2
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not set(pool) & set(system.pids()), 60)
    eventually(lambda: record.state(system.data)["processes"]["worker-1"] not in (None, worker), 120)


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
def test_two_clones_run_side_by_side_and_each_stops_alone(system: Clone, another: Clone) -> None:
    one, other = system, another
    first, second = one.up(), other.up("--gateways", "1")
    assert first["http"] == f"http://127.0.0.1:{one.port}"
    assert first["ws"] == f"ws://127.0.0.1:{one.port}/ws"
    assert {"gateway-1", "gateway-2", "api-1", "worker-1", "fanout-1", "beat", "postgres", "valkey"} == set(
        first["processes"]
    )
    assert set(first["gateways"]["gateway-1"]) == {"ws", "metrics"}
    assert set(first["urls"]) == {"database", "hot", "broker", "cache"}
    assert first["data"] == str(one.data.root)
    assert set(first["processes"]) - set(second["processes"]) == {"gateway-2"}
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
@pytest.mark.timeout(400)
def test_manage_finds_the_files_where_the_system_has_them(down: Clone) -> None:
    run = down.dev("up", "--detach", "--port", str(down.port), "--gateways", "1", "--s3")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "files      in the bucket media on http://127.0.0.1:" in run.stdout
    asked = "from media.storage import storage; print(type(storage()).__name__)"
    assert down.dev("manage", "shell", "-v", "0", "-c", asked).stdout.split() == ["S3"]


@pytest.mark.needs_system
@pytest.mark.timeout(400)
def test_ctrl_c_stops_all(down: Clone) -> None:
    process = down.start("up", "--port", str(down.port), "--gateways", "1")
    # What is ready is written down, and `status` says the same.
    eventually(
        lambda: process.poll() is not None or record.state(down.data).get("phase") == "running",
        180,
    )
    assert down.dev("status").returncode == 0
    assert answers(f"http://127.0.0.1:{down.port}")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "./dev chat +15550001" in out  # it says what to type next
    assert "Traceback" not in out + err
    assert down.pids() == []


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
def test_a_dead_or_wrong_url_is_one_sentence(name: str, url: str, said: str) -> None:
    with pytest.raises(DevError) as refused:
        external.check(external.chosen({name: url}))
    (line,) = str(refused.value).splitlines()
    assert line.startswith(name)
    assert said in line
    assert "secret" not in line


def test_nothing_starts_beside_a_dead_url(down: Clone) -> None:
    dead = {"HOT_URL": "redis://:secret@127.0.0.1:1/0", "CACHE_URL": "redis://127.0.0.1:1/0"}
    run = down.dev("up", "--detach", "--port", str(down.port), **dead)
    assert run.returncode != 0
    assert run.stdout == ""
    lines = run.stderr.strip().splitlines()
    assert [line.partition(": the server at ")[0] for line in lines] == ["./dev up: HOT_URL", "CACHE_URL"]
    assert "secret" not in run.stderr
    assert down.pids() == []


def test_a_port_in_use_is_one_sentence(down: Clone) -> None:
    with socket.socket() as other:
        # Another system's gateways share their port; ours must not join them.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", down.port))
        other.listen()
        run = down.dev("up", "--detach", "--port", str(down.port))
    assert run.returncode != 0
    assert len(run.stderr.strip().splitlines()) == 1
    assert f"port {down.port} is in use" in run.stderr


def test_reset_asks_and_deletes_nothing_but_data_folders(down: Clone, tmp_path: Path) -> None:
    down.data.create()
    asked = down.dev("reset")
    assert asked.returncode != 0
    assert down.data.root.exists()
    (tmp_path / "precious").touch()
    refused = down.dev("reset", "--yes", "--data", str(tmp_path))
    assert refused.returncode != 0
    assert (tmp_path / "precious").exists()
    assert down.dev("reset", "--yes").returncode == 0
    assert not down.data.root.exists()
