"""``./dev nodetool``: what it says when there is nothing to look after, and that no other user may read its password."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools import cli, nodetool
from devtools.errors import DevError


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["nodetool", *words])
    return capsys.readouterr().err


def test_a_folder_without_nodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has no node of Cassandra" in said(capsys, "--data", str(tmp_path), "cassandra-1", "status")


def test_which_nodes_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        (tmp_path / "cassandra" / f"node-{number}").mkdir(parents=True)
    for words in (["cassandra-3", "status"], ["cassandra-1"], []):
        assert "./dev nodetool cassandra-1|cassandra-2 status" in said(
            capsys, "--data", str(tmp_path), *words
        )


def test_of_one_node_there_is_no_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cassandra" / "node-1").mkdir(parents=True)
    assert "say which, and what: ./dev nodetool cassandra-1 status\n" in said(
        capsys, "--data", str(tmp_path), "cassandra-1"
    )


def test_without_a_node_one_is_chosen_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        (tmp_path / "cassandra" / f"node-{number}").mkdir(parents=True)
    assert "node-1 was not started" in said(capsys, "--data", str(tmp_path), "status")
    monkeypatch.setattr(
        "devtools.record.state", lambda data: {"processes": {"cassandra-1": None, "cassandra-2": 7}}
    )
    assert "node-2 was not started" in said(capsys, "--data", str(tmp_path), "status")


def test_a_node_from_before_there_was_a_door(tmp_path: Path) -> None:
    with pytest.raises(DevError, match="was not started for nodetool"):
        nodetool.command([], tmp_path, ["status"])


def test_the_password_is_its_owners_alone(tmp_path: Path) -> None:
    nodetool.write(tmp_path, 7199, "a secret")
    nodetool.write(tmp_path, 7199, "another")  # at each start
    for name in ("jmx.password", "nodetool.password"):
        assert (tmp_path / name).read_text() == "whatsapp another\n"
        assert (tmp_path / name).stat().st_mode & 0o77 == 0
