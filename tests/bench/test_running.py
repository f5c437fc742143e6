"""What every bench says: that a package of the operating system is missing, and what its checks found."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

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


@pytest.mark.parametrize(
    ("problems", "said"),
    [({}, "checks: all was well\n"), ({"idle": 1}, "CHECKS FAILED: {'idle': 1} ['0 pings']\n")],
)
def test_a_failed_check_is_told(
    problems: dict[str, int], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bench: Any = SimpleNamespace(problems=Counter(problems), examples=["0 pings"])
    assert running.verdict(bench, "all was well")["problems"] == problems
    assert capsys.readouterr().out == said
