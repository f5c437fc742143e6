"""On a running system: actions end live sockets, the page "sessions online" follows them, workers write their runs down."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import redis
import websockets
from websockets.asyncio.client import ClientConnection, connect

from devtools.paths import REPO
from tests.accounts.conftest import new_number
from tests.accounts.test_live import Live, close_code, live  # noqa: F401  (fixture)
from tests.support import plain
from tests.support.stack import System
from whatsapp.staff import gateways

PASSWORD = "for this machine"


class Browser:
    """A member of staff who is signed in, with the cookies of a browser."""

    def __init__(self, stack: Any, name: str) -> None:
        self.stack = stack
        self.name = name
        self.http = plain.AsyncClient(base_url=stack.http, timeout=30)

    async def sign_in(self) -> None:
        printed = manage(self.stack, "development_admin", self.name, "--password", PASSWORD)
        found = re.search(r"code\s+(\d{6})", printed)
        assert found is not None, printed
        await self.post("/admin/login/", {"username": self.name, "password": PASSWORD})
        answer = await self.post("/admin/second-factor/", {"code": found[1]})
        assert (answer.status_code, answer.headers["location"]) == (302, "/admin/")

    async def post(self, path: str, fields: dict[str, str]) -> httpx.Response:
        page = await self.http.get(path)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        assert token is not None, page.text[:500]
        return await self.http.post(path, data={**fields, "csrfmiddlewaretoken": token[1]})

    @property
    def cookies(self) -> str:
        known = {one.name: one.value for one in self.http.cookies.jar}  # of two of a name the later one
        return "; ".join(f"{name}={value}" for name, value in known.items())

    async def watch(self, gateway: str = "", **headers: str) -> ClientConnection:
        base = self.stack.gateways[gateway]["http"] if gateway else self.stack.http
        sent = {"Origin": base, "Cookie": self.cookies, **headers}
        sent.pop("Origin") if not sent["Origin"] else None
        return await connect(
            f"{base.replace('http', 'ws', 1)}/admin/online/ws", additional_headers=sent, max_size=2**20
        )


def manage(stack: Any, *arguments: str) -> str:
    run = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=REPO,
        env=stack.env,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout


#: Of one browser of each system, that all tests share: signing in takes a while.
_cookies: dict[str, str] = {}
_quiet_cookies: dict[str, str] = {}


@asynccontextmanager
async def signed_in(stack: Any, cookies: dict[str, str]) -> AsyncIterator[Browser]:
    """A browser with these cookies; if there are none yet it signs in, and leaves its own there."""
    found = Browser(stack, "admin")
    if not cookies:
        await found.sign_in()
        cookies.update(found.http.cookies)
    else:
        found.http.cookies.update(cookies)
    try:
        yield found
    finally:
        await found.http.aclose()


@pytest.fixture
async def browser(stack: Any) -> AsyncIterator[Browser]:
    async with signed_in(stack, _cookies) as found:
        yield found


async def until(
    socket: ClientConnection, fits: Callable[[dict[str, Any]], bool], seconds: float = 20
) -> dict[str, Any]:
    """The first message that fits."""
    async with asyncio.timeout(seconds):
        while True:
            message: dict[str, Any] = json.loads(await socket.recv())
            if fits(message):
                return message


def rows_of(message: dict[str, Any], user: str) -> list[dict[str, Any]]:
    return [row for row in message.get("rows", ()) if row["user"] == user]


async def test_the_page_follows_who_comes_and_goes(stack: Any, live: Live, browser: Browser) -> None:  # noqa: F811
    page = await browser.watch("gateway-1")
    await until(page, lambda message: message["type"] == "sessions")
    tokens = await live.sign_in(new_number())
    user = tokens["userId"]
    socket = await live.socket(tokens, "gateway-2")
    message = await until(page, lambda message: bool(rows_of(message, user)))
    (row,) = rows_of(message, user)
    assert (row["gateway"], row["device"], row["codec"]) == ("gateway-2", tokens["deviceId"], "JSON")
    assert row["version"] == "3.2"
    assert abs(row["since"] - time.time() * 1000) < 60_000
    assert {entry["name"] for entry in message["gateways"]} == {"gateway-1", "gateway-2"}
    await page.send(json.dumps({"page": 1, "user": user, "gateway": "gateway-1"}))
    await until(page, lambda message: message["total"] == 0)
    await page.send(json.dumps({"page": 1, "user": user, "gateway": ""}))
    await until(page, lambda message: message["total"] == 1 and bool(rows_of(message, user)))
    await socket.close()
    await until(page, lambda message: message["total"] == 0)
    await page.close()


async def test_staff_end_a_session_and_the_socket_closes(stack: Any, live: Live, browser: Browser) -> None:  # noqa: F811
    tokens = await live.sign_in(new_number())
    socket = await live.socket(tokens)
    answer = await browser.post(
        f"/admin/online/end/?device={tokens['deviceId']}", {"reason": "asked for by its owner"}
    )
    assert answer.headers["location"] == "/admin/online/"
    assert await asyncio.wait_for(close_code(socket), 10) == 4401


async def test_bans_and_unlinking_from_the_admin_reach_live_sockets(
    stack: Any,
    live: Live,  # noqa: F811
    browser: Browser,
) -> None:
    banned, unlinked = await live.sign_in(new_number()), await live.sign_in(new_number())
    sockets = [await live.socket(banned, "gateway-1"), await live.socket(unlinked, "gateway-2")]
    ban = f"/admin/accounts/account/{banned['userId']}/ban/"
    assert (await browser.post(ban, {"days": "1", "reason": "reported by many"})).status_code == 302
    unlink = f"/admin/accounts/device/{unlinked['deviceId']}/unlink/"
    assert (await browser.post(unlink, {"reason": "asked for by its owner"})).status_code == 302
    assert await asyncio.wait_for(close_code(sockets[0]), 10) == 4403
    assert await asyncio.wait_for(close_code(sockets[1]), 10) == 4410


@pytest.mark.parametrize(
    "what", ["no cookie", "no origin", "another origin", "another port", "half signed in"]
)
async def test_the_live_socket_is_for_staff_on_the_admins_own_page(
    stack: Any, browser: Browser, what: str
) -> None:
    headers = {
        "no cookie": {"Cookie": ""},
        "no origin": {"Origin": ""},
        "another origin": {"Origin": "https://evil.example"},
        "another port": {"Origin": "http://127.0.0.1:9"},
    }.get(what, {})
    if what == "half signed in":
        browser.http.cookies.clear()
        await browser.post("/admin/login/", {"username": browser.name, "password": PASSWORD})
    with pytest.raises(websockets.InvalidStatus) as refused:
        await browser.watch(**headers)
    assert refused.value.response.status_code == 403


async def test_odd_questions_end_the_socket(stack: Any, browser: Browser) -> None:
    odd = (
        "x",
        "[]",
        "{}",
        '{"page": "a", "user": "", "gateway": ""}',
        "x" * 600,
        '{"page": 1, "user": "u", "gateway": ""}',
    )
    for text in odd:
        page = await browser.watch()
        await page.send(text)
        assert await asyncio.wait_for(close_code(page), 10) == 4400, text


async def test_a_page_is_bounded_and_pages_on(stack: Any, live: Live, browser: Browser) -> None:  # noqa: F811
    from whatsapp.staff.online.query import MAX_PAGES

    page = await browser.watch()
    await page.send(json.dumps({"page": 10**9, "user": "", "gateway": ""}))
    message = await until(page, lambda message: message["page"] > 1)
    assert message["page"] == MAX_PAGES
    assert len(message["rows"]) <= 50
    await page.close()


@pytest.fixture(scope="module")
def quiet() -> Iterator[System]:
    """Two gateways to which nobody else connects; the second may be dead."""
    with System(worker=False) as system:
        yield system


@pytest.fixture
async def watcher(quiet: System) -> AsyncIterator[Browser]:
    async with signed_in(quiet, _quiet_cookies) as found:
        yield found


async def test_nobody_watching_costs_no_subscription(quiet: System, watcher: Browser) -> None:
    hot = redis.Redis.from_url(quiet.hot_url)

    def subscribed() -> int:
        clients: Any = hot.client_list()
        return sum(int(client["sub"]) for client in clients)

    await eventually(lambda: subscribed() == 0)
    pages = [await watcher.watch(), await watcher.watch()]
    for page in pages:
        await until(page, lambda message: message["type"] == "sessions")
    assert subscribed() > 0
    for page in pages:
        await page.close()
    await eventually(lambda: subscribed() == 0)


async def eventually(fits: Callable[[], bool] | Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while True:
            answer = fits()
            if (await answer) if isinstance(answer, Awaitable) else answer:
                return
            await asyncio.sleep(0.1)


async def test_a_killed_gateway_is_shown_as_gone_and_the_page_goes_on(
    quiet: System, watcher: Browser
) -> None:
    page = await watcher.watch("gateway-1")
    await until(page, lambda message: len(message["gateways"]) == 2)
    quiet.kill("gateway-2")
    silent = await until(
        page, lambda message: any(entry["sessions"] is None for entry in message["gateways"])
    )
    assert [entry["name"] for entry in silent["gateways"] if entry["sessions"] is None] == ["gateway-2"]
    await until(page, lambda message: [entry["name"] for entry in message["gateways"]] == ["gateway-1"], 40)
    hot = redis.Redis.from_url(quiet.hot_url)
    assert {report.name: report.state for report in gateways.read(hot)} == {
        "gateway-1": "ready",
        "gateway-2": "gone",
    }
    assert "gone" in (await watcher.http.get("/admin/")).text
    await page.close()


async def test_run_now_is_run_by_a_worker_and_written_down(stack: Any, browser: Browser) -> None:
    job = stack.sql("SELECT id FROM django_celery_beat_periodictask WHERE name = 'delivery-trim-outbox'")
    await browser.post(f"/admin/jobs/{job}/run/", {"reason": "to see that it works"})

    def recorded() -> bool:
        rows = stack.sql(
            "SELECT outcome, job FROM staff_taskrun WHERE task = 'delivery.tasks.trim_outbox' ORDER BY id DESC LIMIT 1"
        )
        return rows.strip() == "succeeded|delivery-trim-outbox"

    await eventually(lambda: asyncio.to_thread(recorded))
    page = (await browser.http.get("/admin/staff/taskrun/?task=delivery.tasks.trim_outbox")).text
    assert "succeeded" in page


async def test_the_dashboard_counts_sessions_and_messages(stack: Any, live: Live, browser: Browser) -> None:  # noqa: F811
    import uuid

    ann, bob = await live.sign_in(new_number()), await live.sign_in(new_number())
    headers = {"Authorization": f"Bearer {ann['token']}"}
    answer = await live.client.put(f"/conversations/direct/{bob['userId']}", json={}, headers=headers)
    conversation = answer.json()["conversationId"]
    socket = await live.socket(ann)
    for number in range(1, 6):
        message = {
            "type": "send_message", "ref": str(number), "messageId": str(uuid.uuid4()), "timestamp": 1,
            "conversationId": conversation, "encryptedContent": "aGk=", "seqNum": number,
        }  # fmt: skip
        await socket.send(json.dumps(message))
        while json.loads(await asyncio.wait_for(socket.recv(), 10))["type"] != "status_update":
            pass

    async def counted() -> bool:
        page = (await browser.http.get("/admin/")).text
        numbers = dict(re.findall(r'data-card="([^"]+)">(?:≈ )?([\d,]+)<', page))
        return (
            int(numbers["Messages a minute"].replace(",", "")) >= 5 and int(numbers["Sessions online"]) >= 1
        )

    await eventually(counted, 40)
    await socket.close()


async def test_who_has_signed_out_watches_no_more(stack: Any, browser: Browser) -> None:
    """The last of the tests: the browser that they share signs out."""
    before = browser.cookies
    await (await browser.watch()).close()
    page = (await browser.http.get("/admin/")).text
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert token is not None
    await browser.http.post("/admin/logout/", data={"csrfmiddlewaretoken": token[1]})
    _cookies.clear()
    with pytest.raises(websockets.InvalidStatus) as refused:
        await browser.watch(Cookie=before)
    assert refused.value.response.status_code == 403
