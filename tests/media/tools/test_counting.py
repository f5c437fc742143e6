"""Each run of a tool is counted by how it ended, with the processor time that it took."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from media.tools import sandbox
from media.tools.folders import Folder
from tests.media.tools.boxed import SMALL, bash, processes, until
from whatsapp.infra import metrics


def counts(tool: str) -> dict[str, float]:
    return {outcome: number for (name, outcome), number in metrics.MEDIA_TOOLS.values.items() if name == tool}


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, float]]:
    """By how much the counters of a tool have grown since the test began."""
    monkeypatch.setattr(metrics.MEDIA_TOOLS, "values", {})
    monkeypatch.setattr(metrics.MEDIA_TOOLS_CPU, "values", {})
    return counts


def test_outcomes(folder: Folder, grown: Callable[[str], dict[str, float]]) -> None:
    bash(folder, ":")
    bash(folder, ":")
    for code, bounds in (("exit 3", SMALL), ("while :; do :; done", SMALL)):
        with pytest.raises(sandbox.Refused):
            bash(folder, code, bounds)
    with pytest.raises(sandbox.Late):
        sandbox.run(folder, sandbox.Tool(program="sleep"), ["600"], bounds=replace(SMALL, deadline_s=0.2))
    with pytest.raises(sandbox.Missing):
        sandbox.run(folder, sandbox.Tool(program="nosuchtool"), [], bounds=SMALL)
    assert grown("bash") == {"done": 2, "unreadable": 1, "resources": 1}
    assert grown("sleep") == {"late": 1}
    assert grown("nosuchtool") == {"missing": 1}
    cpu = metrics.MEDIA_TOOLS_CPU.values
    assert cpu["bash",] > 0.5, "it had a second, and used it"
    assert cpu["sleep",] < 0.5


def test_a_tool_that_the_kernel_kills_for_memory_is_seen(
    folder: Folder, grown: Callable[[str], dict[str, float]]
) -> None:
    def kill(line: str) -> None:
        """As the kernel does it: SIGKILL, and no bound was met."""
        for found in until(lambda: processes(f"x 603.{os.getpid()}"), "the tool"):
            if "confine" not in found:
                os.kill(int(found.split()[0]), signal.SIGKILL)

    sleep: dict[str, Any] = {"execute": ("/usr/bin/sleep",), "environment": {"PATH": "/usr/bin"}}
    with pytest.raises(sandbox.Busy):
        bash(folder, f"echo now; exec -a x sleep 603.{os.getpid()}", lines=kill, **sleep)
    assert grown("bash") == {"killed": 1}


def test_who_gives_up_blames_nobody(folder: Folder, grown: Callable[[str], dict[str, float]]) -> None:
    def enough(line: str) -> None:
        raise KeyError(line)

    with pytest.raises(KeyError):
        bash(folder, "echo now; read x", lines=enough)
    assert grown("bash") == {"given_up": 1}
