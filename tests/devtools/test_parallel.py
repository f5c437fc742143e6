"""``./dev test`` in two processes: each has its own folder, servers and ports; the last line is still pytest's summary."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from devtools import quality
from devtools.paths import REPO
from tests.support.by_file import LONGEST, ByFile

_TEST = """
import os
from devtools import ports
from tests.support import early

def test_where(postgres_server, valkey_server):
    whole = ports.allowed()
    found = early.FOLDER, early.POSTGRES_PORT, early.VALKEY_PORT, whole.start, whole.stop, os.environ["WHATSAPP_DATA"]
    print("FOUND", *found, flush=True)
    assert postgres_server.sql("SELECT 1") == "1"
"""

#: Nothing here needs its applications, and three processes would load them. The configuration's own option would then be unknown.
_WITHOUT_DJANGO = (
    "-p", "no:django", "-W", "ignore::pytest.PytestConfigWarning",
    "-o", "addopts=--import-mode=importlib -p no:valkey -p tests.support.early",
)  # fmt: skip


def test_each_process_has_its_own_of_everything(tmp_path: Path) -> None:
    """And the end of the run leaves no folder behind."""
    (tmp_path / "conftest.py").write_text("from tests.conftest import postgres_server, valkey_server\n")
    for name in ("one", "two"):
        (tmp_path / f"test_{name}.py").write_text(_TEST)
    hidden = {"PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "WHATSAPP_TEST_FOLDER"}
    run = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-c", REPO / "pyproject.toml", "-n", "2", "--dist", "loadfile", "-rA",
            "-p", "no:cacheprovider", *_WITHOUT_DJANGO, tmp_path,
        ],
        cwd=REPO,
        env={name: value for name, value in os.environ.items() if name not in hidden},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.fullmatch(r"=+ 2 passed in [\d.]+s( \(.*\))? =+", run.stdout.splitlines()[-1])
    found = [line.split()[1:] for line in run.stdout.splitlines() if line.startswith("FOUND")]
    assert len(found) == 2
    first, second = found
    assert not {first[0], first[5], *first[1:3]} & {second[0], second[5], *second[1:3]}
    shares = [range(int(words[3]), int(words[4])) for words in found]
    assert not set(shares[0]) & set(shares[1])
    assert all(int(port) in share for words, share in zip(found, shares, strict=True) for port in words[1:3])
    assert not any(Path(words[0]).exists() for words in found)


@pytest.mark.parametrize(
    ("arguments", "parallel"),
    [
        ([], True),
        (["tests/wire", "-q", "-k", "name"], True),
        (["--all", "-p", "no:cacheprovider"], True),
        (["-n", "0"], False),
        (["-n4"], False),
        (["--dist=worksteal", "-n", "3"], False),
        (["--pdb"], False),
        (["-s"], False),
    ],
)
def test_two_processes_unless_somebody_says_otherwise(
    arguments: list[str], parallel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[Any]] = []
    monkeypatch.setattr(quality.bootstrap, "ensure", lambda **_: None)
    monkeypatch.setattr(quality.packages, "ensure", lambda: None)
    monkeypatch.setattr(quality.cassandra, "ensure", lambda _: None)
    monkeypatch.setattr(
        quality.subprocess, "run", lambda words, **_: ran.append(words) or SimpleNamespace(returncode=0)
    )
    assert quality.test(arguments) == 0
    assert (ran[0][3:7] == ["-n", "2", "--dist", "loadfile"]) is parallel


@pytest.mark.parametrize("arguments", [["--all"], ["--store", "cassandra", "tests/gateway"], ["tests/wire"]])
def test_what_is_slow_the_first_time_is_done_before_a_test_has_its_deadline(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the first tests on Cassandra fail on a machine that never had it."""
    done: list[str] = []
    monkeypatch.setattr(quality.bootstrap, "ensure", lambda **_: None)
    monkeypatch.setattr(quality.packages, "ensure", lambda: None)
    monkeypatch.setattr(quality.cassandra, "ensure", lambda _: done.append("cassandra"))
    monkeypatch.setattr(
        quality.subprocess, "run", lambda *_, **__: done.append("pytest") or SimpleNamespace(returncode=0)
    )
    assert quality.test(arguments) == 0
    assert done == (["pytest"] if arguments == ["tests/wire"] else ["cassandra", "pytest"])


class _Node:
    def send_runtest_some(self, _: list[int]) -> None:
        pass


def test_the_longest_files_go_first() -> None:
    """So that no process waits long for the other at the end."""
    node: Any = _Node()
    scheduler = ByFile.__new__(ByFile)  # its __init__ wants a run's configuration
    scheduler.workqueue = OrderedDict(
        (name, {}) for name in ("tests/a.py", LONGEST[1], "tests/b.py", LONGEST[0])
    )
    scheduler.assigned_work = {}
    scheduler.registered_collections = {node: []}
    for _ in range(4):
        scheduler._assign_work_unit(node)
    assert list(scheduler.assigned_work[node]) == [LONGEST[0], LONGEST[1], "tests/a.py", "tests/b.py"]


def test_the_longest_files_are_there() -> None:
    assert [name for name in LONGEST if not (REPO / name).exists()] == []


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        (["--store", "cassandra"], "600"),
        (["--store", "cassandra", "--timeout", "40"], "40"),
        (["tests/wire"], ""),
    ],
)
def test_a_test_on_cassandra_has_time_for_its_node(
    arguments: list[str], seconds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline of the project is for tests whose servers start in a moment; pytest takes the last that it is told."""
    ran: list[list[Any]] = []
    monkeypatch.setattr(quality.bootstrap, "ensure", lambda **_: None)
    monkeypatch.setattr(quality.cassandra, "ensure", lambda _: None)
    monkeypatch.setattr(
        quality.subprocess, "run", lambda words, **_: ran.append(words) or SimpleNamespace(returncode=0)
    )
    assert quality.test(arguments) == 0
    told = [value for name, value in zip(ran[0], ran[0][1:], strict=False) if name == "--timeout"]
    assert (told or [""])[-1] == seconds
