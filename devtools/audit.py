"""Known vulnerabilities of the pinned packages: ``python -m devtools.audit``, a part of ``./dev lint``.

pip-audit asks an advisory service about each pin of requirements*.txt; nothing is resolved or installed. What the service says
fails lint unless ``devtools/audit-ignore.toml`` names it, with a reason and a day on which the exception ends. What could not
be asked (no network, a mirror without advisories) is said in a line "not audited: …", which is a warning: exit code 3.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devtools.errors import DevError
from devtools.paths import REPO, VENV_PYTHON

FILES = ("requirements.txt", "requirements-dev.txt")
IGNORED = REPO / "devtools" / "audit-ignore.toml"
#: s; all of it, and one request.
PATIENCE, REQUEST = 40, 5
WARNING = 3


@dataclass(frozen=True)
class Exemption:
    """One advisory that does not fail lint until ``until``."""

    id: str
    reason: str
    until: datetime.date


@dataclass
class Finding:
    package: str
    ids: list[str]
    fixed: list[str]


@dataclass
class Report:
    """What the service knew. ``unasked``: packages without an answer, and why."""

    packages: int = 0
    findings: list[Finding] = field(default_factory=list)
    unasked: dict[str, str] = field(default_factory=dict)


def exemptions(path: Path = IGNORED) -> list[Exemption]:
    """``[[ignore]]`` tables of id, reason, until (a date). Raises :class:`DevError` when one has no reason or no end."""
    try:
        entries = tomllib.loads(path.read_text()).get("ignore", [])
        found = [Exemption(entry["id"], entry["reason"].strip(), entry["until"]) for entry in entries]
    except FileNotFoundError:
        return []
    except (OSError, tomllib.TOMLDecodeError, KeyError, AttributeError, TypeError) as error:
        raise DevError(f"{path.name}: every [[ignore]] needs id, reason and until ({error})") from None
    for entry in found:
        if not entry.reason or type(entry.until) is not datetime.date:
            raise DevError(f"{path.name}: {entry.id} needs a reason, and until = a day such as 2026-12-31")
    return found


def read(answer: dict[str, Any]) -> Report:
    """pip-audit's JSON."""
    report = Report()
    for package in answer["dependencies"]:
        report.packages += 1
        name = package["name"]
        if "skip_reason" in package:
            report.unasked[name] = package["skip_reason"]
        for found in package.get("vulns", ()):
            ids = [found["id"], *found.get("aliases", ())]
            report.findings.append(
                Finding(f"{name} {package['version']}", ids, found.get("fix_versions", []))
            )
    return report


def judge(report: Report, exempt: Sequence[Exemption], today: datetime.date) -> tuple[int, list[str]]:
    """Exit code (0, 1, or 3 for a warning) and the lines to show."""
    lines, failed = [], False
    known = {entry.id: entry for entry in exempt}
    used: set[str] = set()
    for finding in report.findings:
        entry = next((known[name] for name in finding.ids if name in known), None)
        mend = f"fixed in {', '.join(finding.fixed)}" if finding.fixed else "no fix yet"
        text = f"{finding.package}: {', '.join(finding.ids)} ({mend})"
        if entry is None:
            failed = True
            lines.append(f"vulnerable: {text}")
            continue
        used.add(entry.id)
        if entry.until < today:
            failed = True
            lines.append(f"vulnerable: {text}; the exception ended on {entry.until}")
        else:
            lines.append(f"accepted until {entry.until}: {text}: {entry.reason}")
    if not report.unasked:
        lines += [
            f"not needed any more: {entry.id} of {IGNORED.name}" for entry in exempt if entry.id not in used
        ]
    if report.unasked:
        names = sorted(report.unasked)
        shown = f": {', '.join(names)}" if len(names) <= 5 else ""
        reason = report.unasked[names[0]].partition(":")[0]  # the rest of it names the package
        lines.append(f"not audited: {len(names)} of {report.packages} packages{shown} ({reason})")
    return (1 if failed else WARNING if report.unasked else 0), lines


def ask(files: Sequence[Path], options: Sequence[str] = (), patience: float = PATIENCE) -> Report | str:
    """Run pip-audit on the pins. A sentence instead of a report when there was no answer."""
    command = [
        str(VENV_PYTHON),
        "-m",
        "pip_audit",
        "--disable-pip",
        "--no-deps",
        "--format",
        "json",
        "--desc",
        "off",
    ]
    command += ["--progress-spinner", "off", "--timeout", str(REQUEST), *options]
    for file in files:
        command += ["--requirement", str(file)]
    try:
        run = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=patience, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {patience:.0f} s"
    try:
        return read(json.loads(run.stdout))
    except (ValueError, KeyError, TypeError):
        said = [line for line in run.stderr.strip().splitlines() if line.strip()]
        return said[-1][-300:] if said else f"pip-audit ended with {run.returncode} and said nothing"


def main() -> int:
    options = []
    if service := os.environ.get("AUDIT_OSV_URL"):
        options = ["--vulnerability-service", "osv", "--osv-url", service]
    try:
        exempt = exemptions()
    except DevError as error:
        print(error)
        return 1
    report = ask([REPO / name for name in FILES], options)
    if isinstance(report, str):
        print(f"not audited: {report}")
        return WARNING
    code, lines = judge(report, exempt, datetime.datetime.now(datetime.UTC).date())
    print("\n".join(lines) or f"{report.packages} packages, no known vulnerability")
    return code


if __name__ == "__main__":
    sys.exit(main())
