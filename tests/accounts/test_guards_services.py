"""Guards of registration that ask others: CAPTCHAs, and the risk of a number. The services of others are a real HTTP server, also
slow, away and talking nonsense."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from accounts.guards import calls
from tests.accounts.conftest import assert_problem, messages_to, new_number
from tests.accounts.guarding import ask, challenge_of, mobile, solve

pytestmark = pytest.mark.django_db


# -- services of others -----------------------------------------------------------------------------------------------------


class Service:
    """A real HTTP server. ``answer``: of a request's fields the status and the object."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], tuple[int, Any]] = lambda fields: (200, {})
        self.hold = threading.Event()
        self.hold.set()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                if self.headers["Content-Type"].startswith("application/json"):
                    fields = {**json.loads(text), "authorization": self.headers["Authorization"]}
                else:
                    fields = {name: values[0] for name, values in parse_qs(text).items()}
                service.asked.append(fields)
                service.hold.wait(30)
                status, said = service.answer(fields)
                body = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/siteverify"

    def stop(self) -> None:
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.stop()


@pytest.fixture
def captcha(service: Service, settings: Any) -> Service:
    settings.REGISTRATION_CHALLENGE = "always"
    settings.REGISTRATION_CAPTCHA = "accounts.guards.captcha.SiteVerify"
    settings.CAPTCHA_SITE_KEY, settings.CAPTCHA_SECRET = "site", "ours"
    settings.CAPTCHA_VERIFY_URL = service.url
    settings.CAPTCHA_HOSTNAMES = ["chat.example"]

    def answer(fields: dict[str, Any]) -> tuple[int, Any]:
        if fields["secret"] != "ours":
            return 200, {"success": False, "error-codes": ["invalid-input-secret"]}
        if fields["response"] == "elsewhere":
            return 200, {"success": True, "hostname": "evil.example"}
        if fields["response"] != "right":
            return 200, {"success": False, "error-codes": ["invalid-input-response"]}
        return 200, {"success": True, "hostname": "chat.example"}

    service.answer = answer
    return service


def test_a_captcha_is_asked_for_and_verified(captcha: Service) -> None:
    phone = new_number()
    assert challenge_of(ask(phone)) == {"kind": "captcha", "provider": "turnstile", "siteKey": "site"}
    assert captcha.asked == [], "nobody is asked about nothing"
    challenge_of(ask(phone, "wrong"))
    challenge_of(ask(phone, "elsewhere"))
    assert messages_to(phone) == []
    assert ask(phone, "right").status_code == 202
    assert captcha.asked[-1] == {"secret": "ours", "response": "right", "remoteip": "192.0.2.7"}
    assert ask(new_number(), captcha="right").status_code == 202, "under the name that it has always had"


@pytest.mark.parametrize(
    "said",
    [(500, {}), (200, b"<html>"), (200, []), (200, b"[" * 100_000), (302, {})],
    ids=["500", "html", "list", "much", "elsewhere"],
)
@pytest.mark.parametrize(("fails", "status"), [("closed", 503), ("open", 202)])
def test_a_provider_that_makes_no_sense(
    said: tuple[int, Any], fails: str, status: int, captcha: Service, settings: Any
) -> None:
    settings.CAPTCHA_FAILS = fails
    captcha.answer = lambda fields: said
    assert ask(new_number(), "right").status_code == status


@pytest.mark.parametrize(("fails", "status"), [("closed", 503), ("open", 202)])
def test_a_provider_that_is_silent_or_away(fails: str, status: int, captcha: Service, settings: Any) -> None:
    settings.CAPTCHA_FAILS, settings.GUARD_TIMEOUT_MS = fails, 300
    captcha.hold.clear()
    assert ask(new_number(), "right").status_code == status
    settings.CAPTCHA_VERIFY_URL = "http://127.0.0.1:1/siteverify"
    assert ask(new_number(), "right").status_code == status


class Dripping:
    """A provider that answers a byte at a time, each well in time, for as long as somebody listens: ``part`` of the answer is
    what drips. ``whole``: it came to its end."""

    def __init__(self, part: str) -> None:
        said = json.dumps({"success": True, "hostname": "chat.example"}).encode()
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n" % len(said)
        padding = b"X-Padding: " + b"x" * 45 + b"\r\n"
        self.whole = False
        self.fast, self.slow = {"head": (head, padding + b"\r\n" + said), "body": (head + b"\r\n", said)}[
            part
        ]
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/siteverify"
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        with self.listener, self.listener.accept()[0] as connection:
            with connection.makefile("rb") as asked:
                length = next(int(line[15:]) for line in asked if line.lower().startswith(b"content-length:"))
                next(line for line in asked if line == b"\r\n")
                asked.read(length)
            connection.sendall(self.fast)
            try:
                for byte in self.slow:
                    if select.select([connection], [], [], 0.025)[0]:
                        return  # nobody listens any more
                    connection.sendall(bytes((byte,)))
            except OSError:
                return
            self.whole = True


@pytest.mark.parametrize("part", ["head", "body"])
@pytest.mark.parametrize(("fails", "status"), [("closed", 503), ("open", 202)])
def test_a_provider_that_drips_is_bounded_as_a_whole(
    part: str, fails: str, status: int, captcha: Service, settings: Any
) -> None:
    settings.CAPTCHA_FAILS, settings.GUARD_TIMEOUT_MS = fails, 500
    provider = Dripping(part)
    settings.CAPTCHA_VERIFY_URL = provider.url
    assert ask(new_number(), "right").status_code == status
    provider.thread.join(30)
    assert not provider.whole, "it was cut off"
    # ... and holds no place of those that may be asked at once.
    for _ in range(settings.GUARD_AT_ONCE):
        assert calls._AT_ONCE.acquire(timeout=30)
    for _ in range(settings.GUARD_AT_ONCE):
        calls._AT_ONCE.release()


@pytest.mark.parametrize("part", ["head", "body"])
def test_twin_bounded_by_reads_alone_it_is_waited_for(
    part: str, captcha: Service, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.GUARD_TIMEOUT_MS = 500
    monkeypatch.setattr(calls, "_rest", lambda until: None)
    provider = Dripping(part)
    settings.CAPTCHA_VERIFY_URL = provider.url
    assert ask(new_number(), "right").status_code == 202
    provider.thread.join(30)
    assert provider.whole


def test_a_name_that_nobody_resolves_is_not_waited_for(
    captcha: Service, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answered = threading.Event(), threading.Event()

    def resolve(*args: Any, **kwargs: Any) -> Any:
        asked.set()
        answered.wait(30)
        raise socket.gaierror("no answer")

    settings.GUARD_TIMEOUT_MS = 200
    with monkeypatch.context() as patched:
        patched.setattr(socket, "create_connection", resolve)
        answer = ask(new_number(), "right")
    assert_problem(answer, "unavailable", 503)
    assert asked.is_set()
    answered.set()


def test_a_provider_that_failed_says_nothing_about_who_asks(captcha: Service) -> None:
    captcha.answer = lambda fields: (200, {"success": False, "error-codes": ["internal-error"]})
    assert_problem(ask(new_number(), "right"), "unavailable", 503)


def test_a_wrong_secret_of_ours_is_not_the_clients_fault(captcha: Service, settings: Any) -> None:
    settings.CAPTCHA_SECRET = "another"
    assert_problem(ask(new_number(), "right"), "unavailable", 503)


# -- risk -------------------------------------------------------------------------------------------------------------------


def test_the_table_of_risks(settings: Any, tmp_path: Path, limits: Callable[..., None]) -> None:
    limits(work_bits=4)
    file = tmp_path / "risk.json"
    file.write_text(json.dumps({"+49151": 60, "491511": 95, "491512": 0}))
    settings.REGISTRATION_CHALLENGE, settings.PHONE_RISK = "suspicious", "accounts.guards.risk.TableRisk"
    settings.PHONE_RISK_FILE = str(file)
    refused = assert_problem(ask("+4915112345678"), "forbidden", 403)
    assert refused["details"] == {"field": "phoneNumber"}
    assert ask("+4915122345678").status_code == 202
    phone = "+4915142345678"
    assert ask(phone, solve(challenge_of(ask(phone)))).status_code == 202
    assert_problem(ask("+499001234567"), "forbidden", 403)  # a premium rate of the numbering plan
    settings.PHONE_RISK_FILE = str(tmp_path / "none.json")
    assert_problem(ask("+4915122345679"), "unavailable", 503)
    settings.PHONE_RISK_FAILS = "open"
    assert ask("+4915122345679").status_code == 202


def test_a_service_for_risks(service: Service, settings: Any) -> None:
    settings.PHONE_RISK, settings.PHONE_RISK_URL = "accounts.guards.risk.HttpRisk", service.url
    settings.PHONE_RISK_TOKEN = "bearer-of-the-service"
    phone = mobile()
    service.answer = lambda fields: (200, {"score": 90})
    assert_problem(ask(phone), "forbidden", 403)
    assert service.asked == [
        {"phoneNumber": phone, "address": "192.0.2.7", "authorization": "Bearer bearer-of-the-service"}
    ]
    service.answer = lambda fields: (200, {"score": 89.0})
    assert ask(phone).status_code == 202, "nobody is challenged without a policy"
    for nonsense in ("90", True, -1, 101, None):
        service.answer = lambda fields, score=nonsense: (200, {"score": score})
        assert_problem(ask(phone), "unavailable", 503)
    service.answer = lambda fields: (200, b"[" * 60_000)  # deeper than anybody reads
    assert_problem(ask(phone), "unavailable", 503)
