"""People over HTTP: the API as a client sees it, on real PostgreSQL; codes are read from the development SMS file."""

from __future__ import annotations

import itertools
import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from accounts import events
from accounts.models import Account
from whatsapp.infra.limits import LIMITS

_numbers = itertools.count(secrets.randbelow(5_000_000) + 1_000_000)


def new_number() -> str:
    """A development number that no other test uses."""
    return f"+1555{next(_numbers)}"


def messages_to(phone: str) -> list[dict[str, Any]]:
    path = settings.WHATSAPP_DATA / "sms.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if line["to"] == phone]


def code_for(phone: str) -> str:
    """The code of the newest message to this number."""
    found = re.search(r"\d{6}", messages_to(phone)[-1]["body"])
    assert found is not None
    return found[0]


class Api:
    """JSON in and out; ``token`` is sent when given."""

    def __init__(self, token: str = "") -> None:
        self.token = token

    def __call__(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, **extra: Any
    ) -> Any:
        sent = dict(headers or {})
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return Client(raise_request_exception=False).generic(
            method, path, data, content_type="application/json", headers=sent, **extra
        )

    def get(self, path: str, **options: Any) -> Any:
        return self("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        return self("POST", path, body, **options)

    def put(self, path: str, body: Any = None, **options: Any) -> Any:
        return self("PUT", path, body, **options)

    def patch(self, path: str, body: Any = None, **options: Any) -> Any:
        return self("PATCH", path, body, **options)

    def delete(self, path: str, **options: Any) -> Any:
        return self("DELETE", path, **options)


@dataclass
class Person:
    """Somebody with one linked device."""

    phone: str
    user_id: str
    device_id: str
    token: str = field(repr=False)
    refresh_token: str = field(repr=False)

    @property
    def api(self) -> Api:
        return Api(self.token)


def verify(phone: str, **fields: Any) -> Any:
    """Ask for a code and give it back; the answer of ``/auth/verify``."""
    assert Api().post("/auth/register", {"phoneNumber": phone}).status_code == 202
    return Api().post(
        "/auth/verify", {"phoneNumber": phone, "code": code_for(phone), "deviceName": "phone", **fields}
    )


def sign_in(phone: str = "", **fields: Any) -> Person:
    """A person on a new device."""
    phone = phone or new_number()
    answer = verify(phone, **fields)
    assert answer.status_code == 200, answer.content
    body = answer.json()
    return Person(phone, body["userId"], body["deviceId"], body["token"], body["refreshToken"])


def account_of(person: Person) -> Account:
    found: Account = Account.objects.get(pk=person.user_id)
    return found


def register(phone: str, **options: Any) -> Any:
    """Ask for a code."""
    return Api().post("/auth/register", {"phoneNumber": phone}, **options)


def give(phone: str, code: str, **fields: Any) -> Any:
    """Give a code back."""
    return Api().post("/auth/verify", {"phoneNumber": phone, "code": code, "deviceName": "phone", **fields})


def wrong(phone: str) -> str:
    """A code that is not the number's newest."""
    return f"{(int(code_for(phone)) + 1) % 1_000_000:06}"


def ask(phone: str, device_id: str, address: str = "192.0.2.1") -> Any:
    """Ask for a code as an installation."""
    return Api().post("/auth/register", {"phoneNumber": phone, "deviceId": device_id}, REMOTE_ADDR=address)


def assert_problem(answer: Any, code: str, status: int) -> dict[str, Any]:
    """``answer`` is the RFC 9457 document of this error."""
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"].endswith(f"/{code}")
    assert (body["code"], body["status"]) == (code, status)
    assert body["title"]
    assert body["detail"]
    return body


def parallel(number: int, call: Any) -> list[Any]:
    """Results of ``number`` calls in threads that start together, each on a connection of its own."""
    barrier = threading.Barrier(number)
    results: list[Any] = []

    def run() -> None:
        barrier.wait()
        try:
            results.append(call())
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Results of different calls that start together, in the order in which they ended."""
    turns = iter(calls)
    return parallel(len(calls), lambda: next(turns)())


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Limits that hinder tests are raised; a test of a limit lowers it: ``limits(code_attempts=2)``."""

    def set_limits(**values: int) -> None:
        for name, value in values.items():
            monkeypatch.setattr(LIMITS, name, value)

    set_limits(
        registrations_per_ip_day=100_000,
        registration_tries_per_ip_day=100_000,
        registration_tries_per_network_day=100_000,
        otp_sends_per_hour=1_000,
        accounts_per_number_day=1_000,
        wrong_codes_per_address_day=100_000,
    )
    return set_limits


@pytest.fixture(autouse=True)
def _memory_layer(settings: Any) -> None:
    """The channel layer of one process: what is told to the gateways can be read back."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


@pytest.fixture
def told() -> Callable[[str], Callable[[], list[dict[str, Any]]]]:
    """``read = told(user_id)`` listens to ``user.<id>``; ``read()`` gives the events since."""
    from asgiref.sync import async_to_sync
    from channels.layers import get_channel_layer

    def listen(user_id: str) -> Callable[[], list[dict[str, Any]]]:
        layer = get_channel_layer()
        channel = async_to_sync(layer.new_channel)()
        async_to_sync(layer.group_add)(f"user.{user_id}", channel)

        def read() -> list[dict[str, Any]]:
            events = []
            # The layer keeps a queue only while something is in it.
            while channel in layer.channels:
                events.append(async_to_sync(layer.receive)(channel))
            return events

        return read

    return listen


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """``clock(ms)`` moves the time that every service reads."""
    import sys

    import whatsapp.urls  # noqa: F401  (every module that reads the clock is loaded now)
    from whatsapp.infra import clock as module

    offset = 0
    real = module.now_ms

    def moved() -> int:
        return real() + offset

    for name, loaded in list(sys.modules.items()):
        if (
            name.split(".")[0] in {"accounts", "chats", "groups", "media", "notifications"}
            and getattr(loaded, "now_ms", None) is real
        ):
            monkeypatch.setattr(loaded, "now_ms", moved)

    def move(by_ms: int) -> None:
        nonlocal offset
        offset += by_ms

    return move


@pytest.fixture
def enqueued(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Tasks that were enqueued; there is no broker here."""
    found: list[Any] = []
    monkeypatch.setattr("delivery.tasks.enqueue_soon", lambda task, *args: found.append(task))
    return found


@pytest.fixture
def lists_changed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Users whose gateways were told that other devices take envelopes."""
    found: list[str] = []
    monkeypatch.setattr(events, "devices_changed", lambda *, user_id: found.append(user_id))
    return found
