"""A system as in production, behind a balancer that says over what a request came."""

from __future__ import annotations

import sys
import urllib.parse
from collections.abc import Callable, Iterator

import pytest

from tests.support.stack import System
from whatsapp.infra import clock as clock_module

ORIGIN = "https://chat.example"
HOST = "chat.example"


@pytest.fixture(scope="session")
def production() -> Iterator[System]:
    """One gateway with production's settings, codes in a file. Tests leave it running."""
    system = System(
        gateways=1,
        worker=False,
        env={
            "WHATSAPP_ENV": "production",
            "ALLOWED_HOSTS": f"{HOST},127.0.0.1",
            "WEB_ORIGINS": f"{ORIGIN},http://localhost:5173",
            "SMS_SENDER": "accounts.sms.FileSender",
        },
    )
    with system:
        yield system


@pytest.fixture(scope="session")
def port(production: System) -> int:
    found = urllib.parse.urlsplit(production.http).port
    assert found is not None
    return found


@pytest.fixture(scope="session")
def private_port(production: System) -> int:
    found = urllib.parse.urlsplit(production.gateways["gateway-1"]["http"]).port
    assert found is not None
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """``clock(ms)`` moves the time that every service reads."""
    real = clock_module.now_ms
    offset = 0

    def moved() -> int:
        return real() + offset

    for name, loaded in list(sys.modules.items()):
        if name.split(".")[0] in {"accounts", "chats"} and getattr(loaded, "now_ms", None) is real:
            monkeypatch.setattr(loaded, "now_ms", moved)

    def move(by_ms: int) -> None:
        nonlocal offset
        offset += by_ms

    return move
