"""What ``./dev status`` says of a system that does not run as a whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from devtools import cli, record
from devtools.paths import DataFolder
from devtools.processes import start_ticks

NEXT = "./dev chat +15550001"


def written(folder: Path, **state: Any) -> DataFolder:
    """As a supervisor that lives as long as this process writes it."""
    data = DataFolder(folder)
    nobody = {"processes": {"gateway-1": None, "postgres": None}, "gateways": {}}
    given = {
        "phase": "running",
        "starting": [],
        "restarts": {},
        "http": "http://127.0.0.1:1",
        "ws": "ws://127.0.0.1:1/ws",
    }
    me = {"pid": os.getpid(), "ticks": start_ticks(os.getpid()), "data": str(folder)}
    record.write_json(data.state, {**me, **given, **nobody, **state})
    return data


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({}, "gateway-1    DOWN"),
        ({"phase": "stopping"}, "stopping (data folder"),
        ({"processes": {"gateway-1": os.getpid()}, "phase": "starting"}, "starting (data folder"),
        ({"processes": {"gateway-1": os.getpid()}, "gateways": {"gateway-1": {}}}, "no gateway answers"),
    ],
    ids=["all down", "stopping", "starting", "nobody answers"],
)
def test_what_is_down_is_not_offered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], state: dict[str, Any], said: str
) -> None:
    data = written(tmp_path, **state)
    assert cli.main(["status", "--data", str(data.root)]) == 1
    shown = capsys.readouterr().out
    assert said in shown
    assert NEXT not in shown


def test_what_runs_says_what_to_type_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = written(tmp_path, processes={"postgres": os.getpid()})
    assert cli.main(["status", "--data", str(data.root)]) == 0
    assert NEXT in capsys.readouterr().out
