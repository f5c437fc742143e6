"""C7 for requests that run: so many at once, so many of one address, and checks of health are the last to be turned away."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from whatsapp.infra.busy import Busy
from whatsapp.infra.limits import LIMITS


class Application:
    """Requests that run until ``go``; what was answered, in order."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.running = 0
        self.most = 0
        self.busy = Busy(self._serve, lambda scope: str(scope["client"][0]))

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if scope["path"] == "/fails":
                raise RuntimeError
            await self.go.wait()
        finally:
            self.running -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask(self, path: str = "/", address: str = "a") -> tuple[int, dict[str, Any]]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "path": path, "client": (address, 1), "headers": []}
        await self.busy(scope, None, send)  # type: ignore[arg-type]
        return sent[0]["status"], json.loads(sent[1]["body"] or b"{}")


@pytest.fixture(autouse=True)
def _limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "http_requests", 4)
    monkeypatch.setattr(LIMITS, "http_requests_per_address", 2)


async def test_requests_beyond_the_bound_are_told_so_at_once() -> None:
    application = Application()
    first = [asyncio.create_task(application.ask(address=name)) for name in "abcd"]
    await asyncio.sleep(0)
    status, problem = await application.ask(address="e")
    assert (status, problem["code"], problem["retryAfterMs"]) == (503, "unavailable", 1_000)
    application.go.set()
    assert [status for status, _ in await asyncio.gather(*first)] == [200] * 4
    assert application.most == 4
    assert (await application.ask(address="e"))[0] == 200


async def test_nobody_alone_takes_all_of_them() -> None:
    application = Application()
    greedy = [asyncio.create_task(application.ask(address="a")) for _ in range(2)]
    await asyncio.sleep(0)
    status, problem = await application.ask(address="a")
    assert (status, problem["code"]) == (429, "rate_limited")
    other = asyncio.create_task(application.ask(address="b"))
    await asyncio.sleep(0)
    application.go.set()
    assert [status for status, _ in await asyncio.gather(*greedy, other)] == [200] * 3


async def test_health_is_asked_for_all_the_same() -> None:
    application = Application()
    busy = [asyncio.create_task(application.ask(address=name)) for name in "abcd"]
    await asyncio.sleep(0)
    checks = [asyncio.create_task(application.ask("/health/ready", address=name)) for name in "abcd"]
    await asyncio.sleep(0)
    assert (await application.ask("/health/ready", address="e"))[0] == 503  # these are bounded too
    application.go.set()
    assert [status for status, _ in await asyncio.gather(*busy, *checks)] == [200] * 8


async def test_a_request_that_fails_is_not_counted_for_ever() -> None:
    application = Application()
    for _ in range(10):
        with pytest.raises(RuntimeError):
            await application.ask("/fails")
    application.go.set()
    assert (await application.ask())[0] == 200
    assert not application.busy._by_address
