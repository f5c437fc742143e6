"""The audit of lint: what is known to be vulnerable fails, what could not be asked is said."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from devtools import audit
from devtools.errors import DevError

TODAY = datetime.date(2026, 11, 25)
BAD = {
    "id": "PYSEC-2026-1",
    "aliases": ["CVE-2026-0001", "GHSA-aaaa-bbbb-cccc"],
    "summary": "bad",
    "affected": [
        {
            "package": {"name": "badpkg", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}],
        }
    ],
}

Answers = Callable[[str], tuple[int, Any]]


@pytest.fixture
def service() -> Iterator[Callable[[Answers], list[str]]]:
    """An advisory service of the OSV kind on this machine: ``options = service(answer)``, where ``answer(package)`` gives
    status and JSON."""
    servers = []

    def start(answer: Answers) -> list[str]:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, body = answer(asked["package"]["name"])
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return ["--vulnerability-service", "osv", "--osv-url", f"http://127.0.0.1:{server.server_port}/"]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.txt"
    path.write_text(
        "".join(f"{name}==1.0 \\\n    --hash=sha256:{'0' * 64}\n" for name in ("badpkg", "goodpkg"))
    )
    return path


def test_a_known_vulnerability_fails(service: Any, pins: Path) -> None:
    report = audit.ask([pins], service(lambda name: (200, {"vulns": [BAD]} if name == "badpkg" else {})))
    assert isinstance(report, audit.Report), report
    code, lines = audit.judge(report, [], TODAY)
    assert code == 1
    (line,) = lines
    assert line.startswith("vulnerable: badpkg 1.0: PYSEC-2026-1")
    assert "CVE-2026-0001" in line
    assert "fixed in 2.0" in line


def test_nothing_known_is_ok(service: Any, pins: Path) -> None:
    report = audit.ask([pins], service(lambda name: (200, {})))
    assert isinstance(report, audit.Report), report
    assert (report.packages, audit.judge(report, [], TODAY)) == (2, (0, []))


@pytest.mark.parametrize("status", [500, 429])
def test_a_service_that_fails_is_said(service: Any, pins: Path, status: int) -> None:
    assert isinstance(audit.ask([pins], service(lambda name: (status, {}))), str)


def test_an_answer_that_is_none_is_said(service: Any, pins: Path) -> None:
    assert isinstance(audit.ask([pins], service(lambda name: (200, "a captive portal"))), str)


def test_a_service_that_is_not_there_is_said(pins: Path) -> None:
    options = ["--vulnerability-service", "osv", "--osv-url", "http://127.0.0.1:1/"]
    assert isinstance(audit.ask([pins], options), str)


def test_a_service_that_hangs_is_not_waited_for(service: Any, pins: Path) -> None:
    done = threading.Event()
    options = service(lambda name: (200, {}) if done.wait(30) else (500, {}))
    said = audit.ask([pins], options, patience=2)
    done.set()
    assert said == "no answer within 2 s"


def test_a_mirror_without_advisories_is_a_warning_never_ok() -> None:
    """As PyPI's own service answers on a machine that reaches only a mirror (pip-audit 2.10, recorded)."""
    skipped = [
        {"name": name, "skip_reason": f"Dependency not found on PyPI and could not be audited: {name} (1.0)"}
        for name in ("amqp", "argon2-cffi")
    ]
    code, lines = audit.judge(audit.read({"dependencies": skipped, "fixes": []}), [], TODAY)
    assert code == audit.WARNING
    assert lines == [
        "not audited: 2 of 2 packages: amqp, argon2-cffi (Dependency not found on PyPI and could not be audited)"
    ]


def _report(**more: Any) -> audit.Report:
    return audit.Report(1, [audit.Finding("badpkg 1.0", ["PYSEC-2026-1", "CVE-2026-0001"], [])], **more)


@pytest.mark.parametrize(
    ("until", "code"), [(TODAY, 0), (TODAY - datetime.timedelta(1), 1), (TODAY + datetime.timedelta(90), 0)]
)
def test_an_exception_has_a_reason_and_an_end(until: datetime.date, code: int) -> None:
    exempt = [audit.Exemption("CVE-2026-0001", "not reachable", until)]
    found, lines = audit.judge(_report(), exempt, TODAY)
    assert found == code
    assert ("not reachable" in lines[0]) is (code == 0)
    assert ("the exception ended" in lines[0]) is (code == 1)


def test_an_exception_for_something_else_exempts_nothing() -> None:
    code, lines = audit.judge(_report(), [audit.Exemption("CVE-2026-0002", "x", TODAY)], TODAY)
    assert code == 1
    assert "not needed any more: CVE-2026-0002" in lines[1]


def test_what_is_vulnerable_fails_whatever_was_not_asked() -> None:
    assert audit.judge(_report(unasked={"x": "away"}), [], TODAY)[0] == 1


@pytest.mark.parametrize(
    "text",
    [
        '[[ignore]]\nid = "X"\nuntil = 2026-12-31',
        '[[ignore]]\nid = "X"\nreason = " "\nuntil = 2026-12-31',
        '[[ignore]]\nid = "X"\nreason = "y"',
        '[[ignore]]\nid = "X"\nreason = "y"\nuntil = "2026-12-31"',
        '[[ignore]]\nid = "X"\nreason = "y"\nuntil = 2026-12-31T00:00:00',
        'ignore = ["X"]',
        "[[",
    ],
)
def test_an_exception_without_reason_or_end_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "audit-ignore.toml"
    path.write_text(text)
    with pytest.raises(DevError):
        audit.exemptions(path)


def test_the_projects_own_exceptions_can_be_read() -> None:
    assert isinstance(audit.exemptions(), list)
