"""A figure names the commit it was measured on, and says so when the code was changed since."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench import machine


def test_the_commit_says_whether_the_code_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        run = subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return run.stdout.strip()

    monkeypatch.setattr(machine, "REPO", tmp_path)
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "first")
    head = git("rev-parse", "--short", "HEAD")
    assert machine.commit() == head
    (tmp_path / "file").write_text("two")
    assert machine.commit() == f"{head} with uncommitted changes"


def test_without_a_repository_it_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "REPO", tmp_path)
    assert machine.commit() == "?"
