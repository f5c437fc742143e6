"""What must hold when nobody is told: sessions that ended while the bus lost the event, keys that change under live sockets,
and what gateways write about devices. On a system whose checks run each second."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.accounts.conftest import new_number
from tests.accounts.test_live import Live, error_and_close
from tests.support import plain
from tests.support.stack import System

pytestmark = pytest.mark.needs_system

OLD, NEW = "old:" + "o" * 48, "new:" + "n" * 48


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("keys") / "token_keys"
    path.write_text(OLD + "\n")
    return path


@pytest.fixture(scope="module")
def system(keys: Path) -> Iterator[System]:
    limits = {"session_check_ms": 1_000, "last_seen_write_ms": 200, "last_seen_step_ms": 1_000}
    with System(worker=False, limits=limits, env={"TOKEN_KEYS_FILE": str(keys)}) as running:
        yield running


@pytest.fixture
async def live(system: System) -> AsyncIterator[Live]:
    async with plain.AsyncClient(base_url=system.http, timeout=20) as client:
        yield Live(system, client)


@pytest.mark.parametrize("gateway", ["gateway-1", "gateway-2"])
@pytest.mark.parametrize(
    ("change", "code", "error"),
    [
        ("UPDATE accounts_account SET banned_until = 4000000000000 WHERE id = '{user}'", 4403, "banned"),
        ("UPDATE accounts_device SET banned_until = 4000000000000 WHERE id = '{device}'", 4403, "banned"),
        ("UPDATE accounts_device SET unlinked_at = 1 WHERE id = '{device}'", 4410, None),
        ("UPDATE accounts_device SET revoked_at = 1 WHERE id = '{device}'", 4401, None),
        ("UPDATE accounts_device SET session_from = 4000000000000 WHERE id = '{device}'", 4401, None),
    ],
)
async def test_the_check_ends_what_no_event_told(
    live: Live, gateway: str, change: str, code: int, error: str | None
) -> None:
    """The row alone changes, as if the bus had lost the event."""
    person, other = await live.sign_in(new_number()), await live.sign_in(new_number())
    socket, spared = await live.socket(person, gateway), await live.socket(other, gateway)
    await asyncio.to_thread(live.stack.sql, change.format(user=person["userId"], device=person["deviceId"]))
    told, closed = await asyncio.wait_for(error_and_close(socket), 10)  # the check runs each second here
    assert closed == code
    assert told.get("code") == error
    if error:
        assert told["details"] == {"until": 4_000_000_000_000, "appealUrl": ""}
    await (await spared.ping())
    await spared.close()


def seen(live: Live, person: dict[str, Any]) -> int:
    return int(live.stack.sql(f"SELECT last_seen_at FROM accounts_device WHERE id = '{person['deviceId']}'"))


async def moved(live: Live, person: dict[str, Any], above: int) -> int:
    """The device's ``last_seen_at`` once it is above ``above``."""
    deadline = time.monotonic() + 15
    while (at := await asyncio.to_thread(seen, live, person)) <= above:
        assert time.monotonic() < deadline, "last_seen_at does not move"
        await asyncio.sleep(0.05)
    return at


async def test_a_device_is_seen_when_it_connects_while_it_stays_and_when_it_leaves(live: Live) -> None:
    person = await live.sign_in(new_number())
    other = await live.sign_in(new_number())
    long_ago = "UPDATE accounts_device SET last_seen_at = 1 WHERE id IN ('{}', '{}')"
    await asyncio.to_thread(live.stack.sql, long_ago.format(person["deviceId"], other["deviceId"]))
    socket = await live.socket(person)
    connected = await moved(live, person, 1)
    stayed = await moved(live, person, connected)
    assert stayed - connected >= 1_000  # never more often than the step
    await socket.close()
    items = (await live.client.get("/devices", headers={"Authorization": f"Bearer {person['token']}"})).json()
    assert items["items"][0]["lastSeenAt"] >= stayed
    # Who only fails to get in is not seen.
    refused = await live.client.get("/me", headers={"Authorization": "Bearer x"})
    assert refused.status_code == 401
    assert await asyncio.to_thread(seen, live, other) == 1


async def test_keys_change_under_live_sockets_and_nobody_is_signed_out(live: Live, keys: Path) -> None:
    person = await live.sign_in(new_number())
    assert jwt.get_unverified_header(person["token"])["kid"] == "old"
    sockets = [await live.socket(person, "gateway-1")]

    def replace(text: str) -> None:
        draft = keys.with_suffix(".new")
        draft.write_text(text)
        os.replace(draft, keys)

    async def me(token: str, gateway: str) -> int:
        url = live.stack.gateways[gateway]["http"] + "/me"
        return (await live.client.get(url, headers={"Authorization": f"Bearer {token}"})).status_code

    async def signed_by(kid: str) -> dict[str, Any]:
        """The next pair of tokens once new ones are signed by this key."""
        nonlocal person
        deadline = time.monotonic() + 10
        while True:
            answer = await live.post("/auth/refresh", {"refreshToken": person["refreshToken"]})
            assert answer.status_code == 200, answer.text
            person = {**person, **answer.json()}
            if jwt.get_unverified_header(person["token"])["kid"] == kid:
                return person
            assert time.monotonic() < deadline, "the new key is not used"
            await asyncio.sleep(0.05)

    old = person["token"]
    replace(f"{NEW}\n{OLD}\n")
    new = (await signed_by("new"))["token"]
    for gateway in ("gateway-1", "gateway-2"):
        # Both gateways know both, though one of them may not have looked at the file since.
        assert [await me(new, gateway), await me(old, gateway)] == [200, 200]
    # A file that is half written or wrong takes no key away.
    replace("new:short")
    deadline = time.monotonic() + 10
    for gateway in ("gateway-1", "gateway-2"):
        while "TOKEN_KEYS_FILE cannot be read" not in live.stack.log(gateway):
            assert await me(new, gateway) == 200
            assert time.monotonic() < deadline, "the wrong file was not looked at"
            await asyncio.sleep(0.05)
        assert [await me(new, gateway), await me(old, gateway)] == [200, 200]
        assert "short" not in live.stack.log(gateway)
    # The old socket is open and useful; a socket with the old token can still be opened.
    await sockets[0].send(json.dumps({"type": "sync", "have": {}, "ref": "s"}))
    while json.loads(await asyncio.wait_for(sockets[0].recv(), 5))["type"] != "sync_complete":
        pass
    await (await live.socket({**person, "token": old}, "gateway-2")).close()  # takes the place of the first
    kept = await live.socket(person, "gateway-1")
    # The old key leaves: its tokens are refused, sockets and refresh tokens live on.
    replace(NEW)
    deadline = time.monotonic() + 10
    while [await me(old, gateway) for gateway in ("gateway-1", "gateway-2")] != [401, 401]:
        assert time.monotonic() < deadline, "the old key is still good"
        await asyncio.sleep(0.05)
    await (await kept.ping())
    latest = await signed_by("new")
    assert await me(latest["token"], "gateway-2") == 200
    await kept.close()
    replace(OLD)
