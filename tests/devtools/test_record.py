"""Which data folder a command means that names none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from devtools import record
from devtools.paths import DataFolder
from devtools.processes import start_ticks


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], DataFolder]:
    """Starts a system by name, as a supervisor does; it lives as long as this process."""
    monkeypatch.setattr("devtools.record.CHECKOUT_RECORD", tmp_path / "stack.json")
    monkeypatch.setattr("devtools.record.DEFAULT_DATA", tmp_path / "default")

    def start(name: str) -> DataFolder:
        data = DataFolder(tmp_path / name)
        record.write_json(data.state, {"pid": os.getpid(), "ticks": start_ticks(os.getpid())})
        record.remember(data)
        return data

    return start


def test_the_last_that_was_started_then_the_one_before(
    started: Callable[[str], DataFolder], tmp_path: Path
) -> None:
    one, other = started("one"), started("other")
    assert record.find(None).root == other.root
    record.forget(other)
    assert record.find(None).root == one.root
    record.forget(one)
    assert record.find(None).root == tmp_path / "default"
    assert not (tmp_path / "stack.json").exists()


def test_the_first_one_ends_and_the_last_one_stays(started: Callable[[str], DataFolder]) -> None:
    one, other = started("one"), started("other")
    record.forget(one)
    assert record.find(None).root == other.root


def test_what_was_killed_is_forgotten_at_the_next_start(started: Callable[[str], DataFolder]) -> None:
    dead = started("dead")
    record.write_json(dead.state, {"pid": os.getpid(), "ticks": 1})  # another process's start
    other = started("other")
    record.forget(other)
    assert record.find(None).root != dead.root


def test_one_started_again_is_noted_once(started: Callable[[str], DataFolder]) -> None:
    one = started("one")
    other = started("other")
    started("one")
    record.forget(one)
    assert record.find(None).root == other.root


def test_a_name_goes_first(started: Callable[[str], DataFolder], tmp_path: Path) -> None:
    started("one")
    assert record.find(str(tmp_path / "named")).root == tmp_path / "named"
