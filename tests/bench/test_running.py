"""A bench that lacks a package of the operating system says so before it starts a system."""

from __future__ import annotations

import pytest

from bench import connect, running
from devtools.packages import Package

ABSENT = (Package("haproxy", "/nowhere/haproxy", "the balancer"),)


def test_what_is_missing_is_told_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("sys.argv", ["connect"])
    monkeypatch.setattr(connect, "HAPROXY", ABSENT)
    monkeypatch.setattr(running, "running", lambda *_: pytest.fail("a system was started"))
    assert connect.main() == 1
    said = capsys.readouterr().err
    assert "bench connect needs packages of the operating system that are not installed" in said
    assert "apt-get install --no-install-recommends haproxy" in said
