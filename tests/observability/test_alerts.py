"""The alerts do what their cases say: by promtool, which is Prometheus' own reading of them."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
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


def test_each_alert_has_a_case_in_which_it_fires() -> None:
    cases = [
        case
        for test in yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    assert names("alerts.yml") - {case["alertname"] for case in cases if case["exp_alerts"]} == set()


_SHOWN = """
import django
django.setup()
from prometheus_client import generate_latest
from whatsapp.celery import app
import whatsapp.urls
app.loader.import_default_modules()
from whatsapp.infra import metrics
for family in metrics._families:
    for sample in family.collect().samples:
        print(sample.name, *sorted(f"{name}={value}" for name, value in sample.labels.items()))
"""


def test_what_an_alert_wants_to_see_increase_begins_at_0() -> None:
    """A counter that begins at 1 has not increased, and what happens once would never be told. Whoever does not know the labels
    before asks for what was not there before (``unless … offset``)."""
    shown = subprocess.run(
        [sys.executable, "-c", _SHOWN], cwd=REPO, capture_output=True, text=True, check=True, timeout=120
    )
    series = {tuple(line.split()) for line in shown.stdout.splitlines()}
    asked, missing = 0, []
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            # Who asks for more than some will see the others.
            if not rule["expr"].strip().endswith("> 0") or "unless" in rule["expr"]:
                continue
            for name, matchers in re.findall(r"increase\((\w+)(?:\{(.*?)\})?\[", rule["expr"]):
                for wanted in _each(matchers):
                    asked += 1
                    if not any(one[0] == name and wanted <= set(one[1:]) for one in series):
                        missing.append((rule["alert"], name, *sorted(wanted)))
    assert asked > 8
    assert missing == []


def _each(matchers: str) -> list[set[str]]:
    """``kind=~"a|b"`` → ``{kind=a}``, ``{kind=b}``."""
    found = [(label, values.split("|")) for label, values in re.findall(r'(\w+)=~?"(.*?)"', matchers)]
    return [
        {f"{label}={value}" for (label, _), value in zip(found, chosen, strict=True)}
        for chosen in itertools.product(*(values for _, values in found))
    ]


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
