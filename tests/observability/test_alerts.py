"""The alerts do what their cases say: by promtool, which is Prometheus' own reading of them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from devtools.paths import REPO

FOLDER = REPO / "docker" / "prometheus"


def names(file: str, found: Any = None) -> set[str]:
    """Every alert that a file of rules defines, or a file of cases asks about."""
    found = yaml.safe_load((FOLDER / file).read_text()) if found is None else found
    if isinstance(found, dict):
        own = {str(found[key]) for key in ("alert", "alertname") if key in found}
        return own.union(*(names(file, each) for each in found.values()))
    return set[str]().union(*(names(file, each) for each in found)) if isinstance(found, list) else set()


def promtool(folder: Path, *arguments: str) -> tuple[int, str]:
    run = subprocess.run(
        ["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    return run.returncode, run.stdout + run.stderr


def test_no_case_is_about_an_alert_that_is_not_there() -> None:
    """``exp_alerts: []`` of one that was renamed would always be right."""
    assert names("alerts_test.yml")
    assert names("alerts_test.yml") - names("alerts.yml") == set()


@pytest.mark.needs_packages
def test_every_case_is_as_it_says() -> None:
    code, said = promtool(FOLDER, "check", "rules", "alerts.yml")
    assert code == 0, said
    code, said = promtool(FOLDER, "test", "rules", "alerts_test.yml")
    assert code == 0, said


@pytest.mark.needs_packages
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("whatsapp_hot_up == 0", "whatsapp_hot_up == 2"),
        ("for: 1m", "for: 55m"),
        ("{severity: page}", "{severity: ticket}"),
    ],
    ids=["never", "late", "another severity"],
)
def test_twin_an_alert_that_is_wrong_fails_its_case(tmp_path: Path, before: str, after: str) -> None:
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    rules = tmp_path / "alerts.yml"
    head, found, rest = rules.read_text().partition("alert: HotNodeAway")
    assert found
    rules.write_text(head + found + rest.replace(before, after, 1))
    assert rules.read_text() != (FOLDER / "alerts.yml").read_text()
    code, said = promtool(tmp_path, "test", "rules", "alerts_test.yml")
    assert code != 0
    assert "HotNodeAway" in said
