"""What ``./dev status`` says of the servers behind a system. (With a frozen Cassandra: ``cassandra/system``.)"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from devtools import answering

WELL = {"status": "ok", "parts": {"database": True, "hot": True}}
OPENING = {"status": "degraded", "parts": {"database": True, "hot": True, "log": False}}
OPENED = {"status": "ok", "parts": {"database": True, "hot": True, "log": True}}
AWAY = {"code": "unavailable", "details": {"parts": {"database": False, "hot": True}}}


class Gateway:
    """Gives these answers, the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, object]] = []
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                assert self.path == "/health/ready"
                code, body = gateway.answers[0]
                if len(gateway.answers) > 1:
                    gateway.answers.pop(0)
                self.send_response(code)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, format: str, *args: object) -> None:
                """Not on a terminal."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.http = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    one = Gateway()
    yield one
    one.close()


def test_what_answers_needs_no_word(gateway: Gateway) -> None:
    gateway.answers = [(200, WELL)]
    assert answering.parts(gateway.http) == {"database": True, "hot": True}
    assert answering.words({"database": True, "hot": True}) == []


def test_what_is_away_is_named(gateway: Gateway) -> None:
    gateway.answers = [(503, AWAY)]
    found = answering.parts(gateway.http)
    assert found == {"database": False, "hot": True}
    (line,) = answering.words(found)
    assert line.startswith("PostgreSQL does not answer")


def test_a_session_that_opens_is_waited_for(gateway: Gateway) -> None:
    gateway.answers = [(200, OPENING), (200, OPENED)]
    assert answering.parts(gateway.http) == {"database": True, "hot": True, "log": True}


def test_a_log_that_stays_away_is_named(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "_OPENING_S", 0.0)
    gateway.answers = [(200, OPENING)]
    (line,) = answering.words(answering.parts(gateway.http))
    assert line.startswith("Cassandra does not answer: messages are refused, sockets stay")


@pytest.mark.parametrize("body", ["no object", {"parts": 3}, {}])
def test_no_gateway_or_none_that_makes_sense(gateway: Gateway, body: object) -> None:
    gateway.answers = [(200, body)]
    assert answering.parts(gateway.http) == {"gateways": False}
    assert answering.words(answering.parts("http://127.0.0.1:1")) == ["no gateway answers /health/ready"]
