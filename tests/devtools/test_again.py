"""``--again N``: of few tests that fail, which of them fail again."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from devtools import again

#: What a pytest within a pytest must not take from it.
_HIDDEN = {
    "PYTEST_XDIST_WORKER",
    "PYTEST_XDIST_WORKER_COUNT",
    "WHATSAPP_TEST_FOLDER",
    "DJANGO_SETTINGS_MODULE",
}

_TESTS = """
from pathlib import Path

def test_sound():
    Path({0!r}, "sound").open("a").write("x")

def test_accident():
    before = Path({0!r}, "accident")
    assert before.exists() or before.touch()

def test_broken():
    assert {1}
"""


@pytest.mark.parametrize(
    ("broken", "limit", "code", "runs"),
    [
        (False, 0, 1, 1),  # what failed failed
        (False, 1, 0, 2),
        (True, 1, 1, 1),  # two failed: no accidents
        (True, 2, 1, 2),  # one of them fails again
    ],
)
def test_what_fails_by_accident_is_named_and_passes_when_it_is_alone(
    broken: bool, limit: int, code: int, runs: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test_them.py").write_text(_TESTS.format(str(tmp_path), not broken))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    env = {name: value for name, value in os.environ.items() if name not in _HIDDEN}
    assert again.run(["-n", "0"], env, limit, tmp_path) == code
    said = capfd.readouterr().out
    assert len(re.findall(r"^=+ .*(?:passed|failed).* in [\d.]+s =+$", said, re.MULTILINE)) == runs
    assert re.match(r"=+ .*(passed|failed).* in", said.splitlines()[-1])
    assert ("They run once more" in said) is (runs == 2)
    assert (tmp_path / "sound").read_text() == "x"  # what passed is not run again
    if runs == 2:
        behind = said[said.index("They run once more") :]
        assert "::test_accident" in behind
        assert ("::test_broken" in behind) is broken


def test_what_failed_is_told_in_a_file(tmp_path: Path) -> None:
    """For runs of several parts, whose logs are long; which test and why, a line each, the parts below each other."""
    (tmp_path / "test_them.py").write_text(
        "def test_one():\n    assert 1 == 2, 'not\\nso'\n\ndef test_sound(): pass\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    told = tmp_path / "told"
    env = {name: value for name, value in os.environ.items() if name not in _HIDDEN}
    for many in ("0", "2"):
        arguments = ["-n", many, "-p", "tests.conftest", "-p", "no:cacheprovider", str(tmp_path)]
        assert again.run(arguments, {**env, "WHATSAPP_TEST_FAILURES": str(told)}, 0) == 1
    lines = told.read_text().splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("test_them.py::test_one (call): AssertionError: not so"), line
