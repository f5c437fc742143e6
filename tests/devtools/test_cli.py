"""What ``./dev`` says to who types something wrong, and which tests ``./dev faults --only`` chooses."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from devtools import bootstrap, cassandra, cli, faults, fuzz, ports, running
from devtools.errors import DevError
from devtools.paths import DEFAULT_DATA, REPO, DataFolder
from tests.faults.trials.catalogue import FAULTS


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["up", "--prot", "3"], "usage: ./dev up [-h]"),  # of the command, not of all
        (["up", "--prot", "3"], "unrecognized arguments: --prot 3"),
        (["faults", "--seeds", "0"], "--seeds: 0 is no whole number from 1 on"),
        (["faults", "--jobs", "many"], "--jobs: many is no whole number from 1 on"),
        (["fuzz", "--seconds", "-3"], "--seconds: -3 is no whole number from 1 on"),
    ],
)
def test_a_wrong_word_is_told_with_its_commands_usage(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(words)
    assert said in capsys.readouterr().err


def test_a_bench_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "one_to_many"]) == 2
    error = capsys.readouterr().err
    assert "there is no bench one_to_many; say which: ./dev bench {abuse_cost,bytes,connect" in error


@pytest.mark.skipif(not fuzz.available(), reason="atheris has no wheel here")
def test_an_input_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["fuzz", "json", "--replay", str(tmp_path / "gone")]) == 2
    assert f"there is no file {tmp_path / 'gone'}" in capsys.readouterr().err


def test_a_machine_without_ffmpeg_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = {"processes": {}, "http": "http://127.0.0.1:1", "ws": "ws://127.0.0.1:1/ws", "data": "/data"}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install ffmpeg" in running._addresses(state)
    program = tmp_path / "ffmpeg"
    program.touch(mode=0o755)
    assert "ffmpeg" not in running._addresses(state)


def test_a_part_of_a_data_folder_is_no_data_folder(tmp_path: Path) -> None:
    """``.local`` would keep its files in ``.local/s3`` from then on, and not find those of ``.local/media``."""
    (tmp_path / "secrets.json").touch()
    for part in (tmp_path / "s3", DEFAULT_DATA / "media"):
        with pytest.raises(DevError, match="is a part of the data folder"):
            running.up(argparse.Namespace(data=str(part)))
        assert not part.exists() or part.parent == DEFAULT_DATA
    assert DataFolder(tmp_path / "second").whole is None
    assert DataFolder(tmp_path.parent / "s3").whole is None


def test_apps_of_ones_own_and_those_that_are_brought_along(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "ensure", lambda: None)
    monkeypatch.setenv("PUSH_APPS", "android")
    port = str(ports.choose())
    assert cli.main(["up", "--push", "--port", port, "--data", str(tmp_path / "data")]) == 1
    assert "PUSH_APPS names apps of yours" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_the_api_is_searched_for_no_longer_than_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(command: list[Any], **_: Any) -> subprocess.CompletedProcess[str]:
        ran.append([str(word) for word in command])
        clock[0] += int(ran[-1][ran[-1].index("--seconds") + 1])
        return subprocess.CompletedProcess(command, 0)

    clock = [100.0]
    monkeypatch.setattr(bootstrap, "ensure", lambda development: None)
    monkeypatch.setattr("devtools.record.state", lambda data: {"http": "http://127.0.0.1:9"})
    monkeypatch.setattr("devtools.fuzz.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(subprocess, "run", run)
    assert cli.main(["fuzz", "api", "--seconds", "1500"]) == 0
    assert [command[-1] for command in ran] == ["600", "600", "300"]


@pytest.mark.parametrize("words", [["foo"], ["+15550001", "--to", "../bar"]])
def test_what_is_no_phone_number_is_not_sent_anywhere(words: list[str], tmp_path: Path) -> None:
    chat = [sys.executable, "-m", "devtools.chat", *words, "--plain", "--url", "http://127.0.0.1:9"]
    run = subprocess.run(
        [*chat, "--data", str(tmp_path)], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert f"{words[-1]} is no phone number" in run.stderr


class Chosen:
    """``./dev faults`` without the tests: what it would give to pytest, and whether it fetched Cassandra."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
        self.command: list[str] = []
        self.cassandra = False
        monkeypatch.setattr(bootstrap, "ensure", lambda development: None)
        monkeypatch.setattr(cassandra, "ensure", lambda say: setattr(self, "cassandra", True))
        monkeypatch.setattr(
            faults, "names", lambda: ["kill-valkey", "kill-valkey-then-silence", "freeze-cassandra-node"]
        )

        def run(command: list[Any], **_: Any) -> subprocess.CompletedProcess[str]:
            self.command = [str(word) for word in command]
            return subprocess.CompletedProcess(command, status)

        monkeypatch.setattr(subprocess, "run", run)

    def only(self) -> str:
        return self.command[self.command.index("-k") + 1]


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Chosen]:
    return lambda status: Chosen(monkeypatch, status)


def test_a_fault_by_name_is_that_fault_alone(chosen: Callable[[int], Chosen]) -> None:
    one = chosen(0)
    assert cli.main(["faults", "--only", "kill-valkey"]) == 0
    assert one.only() == "[kill-valkey]"
    assert not one.cassandra


@pytest.mark.parametrize("words", ["trials", "valkey", "test_trials and not cassandra"])
def test_other_words_are_pytests(words: str, chosen: Callable[[int], Chosen]) -> None:
    some = chosen(0)
    assert cli.main(["faults", "--only", words]) == 0
    assert some.only() == words
    assert some.cassandra


def test_a_fault_that_needs_cassandra_gets_it(chosen: Callable[[int], Chosen]) -> None:
    one = chosen(0)
    assert cli.main(["faults", "--only", "freeze-cassandra-node"]) == 0
    assert one.cassandra


def test_nothing_has_that_name(chosen: Callable[[int], Chosen], capsys: pytest.CaptureFixture[str]) -> None:
    chosen(5)
    assert cli.main(["faults", "--only", "kil-valkey"]) == 2
    assert "no long test has kil-valkey in its name; the faults are kill-valkey," in capsys.readouterr().err


def test_the_names_are_those_of_the_catalogue() -> None:
    assert faults.names() == list(FAULTS)
