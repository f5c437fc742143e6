"""What ``./dev test --all`` does about packages of the operating system."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from devtools import packages
from devtools.errors import DevError
from devtools.packages import Package


@pytest.fixture
def absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that is missing until its proof appears."""
    proof = tmp_path / "program"
    monkeypatch.setattr(packages, "NEEDED", (Package("a-browser", str(proof), "opens pages"),))
    return proof


def test_nothing_is_done_when_all_is_there(absent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent.touch()
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing was missing"))
    packages.ensure()


def test_who_is_not_root_is_told_what_to_type(absent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(DevError, match=r"(?s)a-browser +opens pages.*sudo apt-get install .* a-browser"):
        packages.ensure()


def test_root_on_debian_installs_without_a_question(absent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert options["env"]["DEBIAN_FRONTEND"] == "noninteractive"
        assert options["stdin"] == subprocess.DEVNULL
        assert options["timeout"]
        ran.append([word for word in command if not word.startswith(("-o", "Acquire", "DPkg"))])
        if "install" in command:
            absent.touch()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", run)
    packages.ensure()
    assert ran == [
        ["apt-get", "-q", "update"],
        ["apt-get", "-q", "install", "-y", "--no-install-recommends", "a-browser"],
    ]


def test_a_failure_of_apt_is_said_in_its_words(absent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    said = subprocess.CompletedProcess([], 100, "", "E: something\nE: Unable to fetch some archives\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: said)
    with pytest.raises(DevError, match="Unable to fetch"):
        packages.ensure()
