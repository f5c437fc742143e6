"""What happens to an open socket when its device, its session or its account ends: on a running system, within a second."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.accounts.conftest import new_number
from tests.support import early, plain
from whatsapp.infra.layer import BusLayer

REPO = Path(__file__).resolve().parents[2]


class Live:
    """REST and sockets of a running system."""

    def __init__(self, stack: Any, client: httpx.AsyncClient) -> None:
        self.stack = stack
        self.client = client

    async def post(self, path: str, body: Any = None, token: str = "") -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.client.post(path, json=body or {}, headers=headers)

    async def code(self, phone: str) -> str:
        """A new code for this number."""
        assert (await self.post("/auth/register", {"phoneNumber": phone})).status_code == 202
        lines = [json.loads(line) for line in (self.stack.data / "sms.jsonl").read_text().splitlines()]
        found = re.search(r"\d{6}", [line for line in lines if line["to"] == phone][-1]["body"])
        assert found is not None
        return found[0]

    async def sign_in(self, phone: str, **fields: Any) -> dict[str, Any]:
        code = await self.code(phone)
        body = {"phoneNumber": phone, "code": code, "deviceName": "phone", **fields}
        answer = await self.post("/auth/verify", body)
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return {**tokens, "phone": phone}

    async def socket(self, tokens: dict[str, Any], gateway: str = "") -> ClientConnection:
        """A socket that is ``ready``, on the named gateway or on any."""
        url = self.stack.gateways[gateway]["ws"] if gateway else self.stack.ws
        socket = await connect(url, additional_headers={"Authorization": f"Bearer {tokens['token']}"})
        ready = json.loads(await asyncio.wait_for(socket.recv(), 5))
        assert (ready["type"], ready["deviceId"]) == ("ready", tokens["deviceId"])
        return socket


@pytest.fixture
async def live(stack: Any) -> AsyncIterator[Live]:
    async with plain.AsyncClient(base_url=stack.http, timeout=20) as client:
        yield Live(stack, client)


async def close_code(socket: ClientConnection) -> int | None:
    """The code by which the server closes, reading past what it still sends."""
    with pytest.raises(websockets.ConnectionClosed):
        while True:
            await asyncio.wait_for(socket.recv(), 3)
    return socket.close_code


@pytest.mark.parametrize("gateway", ["gateway-1", "gateway-2"])
async def test_removing_a_device_closes_its_socket_on_any_gateway(live: Live, gateway: str) -> None:
    phone = new_number()
    first = await live.sign_in(phone)
    second = await live.sign_in(phone)
    kept, ended = await live.socket(first), await live.socket(second, gateway)
    began = time.monotonic()
    answer = await live.client.delete(
        f"/devices/{second['deviceId']}", headers={"Authorization": f"Bearer {first['token']}"}
    )
    assert answer.status_code == 204
    assert await close_code(ended) == 4410
    assert time.monotonic() - began < (4 if early.WORKER else 1)
    # The other device's socket lives.
    await (await kept.ping())
    await kept.close()


async def test_logout_closes_the_socket(live: Live) -> None:
    person = await live.sign_in(new_number())
    socket = await live.socket(person)
    assert (await live.post("/auth/logout", token=person["token"])).status_code == 204
    assert await close_code(socket) == 4410


async def test_a_stolen_refresh_token_closes_the_socket_and_keeps_the_device(live: Live) -> None:
    phone = new_number()
    person = await live.sign_in(phone)
    socket = await live.socket(person)
    newest = (await live.post("/auth/refresh", {"refreshToken": person["refreshToken"]})).json()
    assert (await live.post("/auth/refresh", {"refreshToken": person["refreshToken"]})).status_code == 401
    assert await close_code(socket) == 4401
    refused = await connect(live.stack.ws, additional_headers={"Authorization": f"Bearer {newest['token']}"})
    assert await close_code(refused) == 4401
    again = await live.sign_in(phone, refreshToken=newest["refreshToken"])
    assert again["deviceId"] == person["deviceId"]
    await (await live.socket(again)).close()


@pytest.mark.parametrize("gateway", ["gateway-1", "gateway-2"])
async def test_verifying_a_device_again_closes_the_socket_of_its_earlier_session(
    live: Live, gateway: str
) -> None:
    """The earlier tokens are void from then on; the socket opened with one of them and still may not go on."""
    phone = new_number()
    person = await live.sign_in(phone)
    earlier, other = await live.socket(person, gateway), await live.socket(await live.sign_in(phone))
    began = time.monotonic()
    again = await live.sign_in(phone, refreshToken=person["refreshToken"])
    assert again["deviceId"] == person["deviceId"]
    assert await close_code(earlier) == 4401
    assert time.monotonic() - began < (12 if early.WORKER else 3)
    async with await live.socket(again, gateway) as socket:
        await (await socket.ping())
    await (await other.ping())
    await other.close()


async def test_a_revocation_spares_the_session_that_caused_it(live: Live, settings: Any) -> None:
    """Its event may arrive when the new session's socket is open already."""
    settings.HOT_URL = live.stack.hot_url
    person = await live.sign_in(new_number())
    claims = jwt.decode(person["token"], options={"verify_signature": False})
    issued = round(claims["iat"] * 1000)
    event = {"type": "session.revoked", "deviceId": person["deviceId"]}
    group, layer = f"user.{person['userId']}", BusLayer()
    async with await live.socket(person) as socket:
        await layer.group_send(group, {**event, "sessionFrom": issued})
        await layer.group_send(group, {"type": "notice", "kind": "device_linked", "data": {}})
        assert json.loads(await asyncio.wait_for(socket.recv(), 5))["type"] == "notice"
        await layer.group_send(group, {**event, "sessionFrom": issued + 1})
        assert await close_code(socket) == 4401


async def test_the_other_devices_are_noticed_of_a_new_one(live: Live) -> None:
    phone = new_number()
    socket = await live.socket(await live.sign_in(phone))
    added = await live.sign_in(phone, deviceName="laptop")
    notice = json.loads(await asyncio.wait_for(socket.recv(), 5))
    assert notice["data"].pop("at")
    assert notice == {
        "type": "notice",
        "kind": "device_linked",
        "data": {"deviceId": added["deviceId"], "name": "laptop"},
    }
    await socket.close()


async def error_and_close(socket: ClientConnection) -> tuple[dict[str, Any], int | None]:
    """The last ``error`` frame before the close, and the code of that."""
    error: dict[str, Any] = {}
    with pytest.raises(websockets.ConnectionClosed):
        while True:
            frame = json.loads(await asyncio.wait_for(socket.recv(), 5))
            error = frame if frame["type"] == "error" else error
    return error, socket.close_code


def by_staff(stack: Any, code: str) -> None:
    """Run what the admin's actions run, in a process of the system."""
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "-c", textwrap.dedent(code)],
        cwd=REPO,
        env=stack.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


async def test_a_ban_tells_why_and_until_when_and_closes_all_sockets_of_the_account(live: Live) -> None:
    phone = new_number()
    people = [await live.sign_in(phone), await live.sign_in(phone)]
    sockets = [await live.socket(person, f"gateway-{n}") for n, person in enumerate(people, 1)]
    other = await live.socket(await live.sign_in(new_number()))
    await asyncio.to_thread(
        by_staff,
        live.stack,
        f"""
        from accounts.models import Account
        from accounts.services import bans
        bans.ban(account=Account.objects.get(pk={people[0]["userId"]!r}), until=4_000_000_000_000)
        """,
    )
    for socket in sockets:
        error, code = await error_and_close(socket)
        assert (code, error["code"], error["retryable"]) == (4403, "banned", False)
        assert error["details"] == {"until": 4_000_000_000_000, "appealUrl": ""}
    # Coming back is answered alike, by the socket and by REST.
    refused = await connect(
        live.stack.ws, additional_headers={"Authorization": f"Bearer {people[0]['token']}"}
    )
    error, code = await error_and_close(refused)
    assert (code, error["details"]["until"]) == (4403, 4_000_000_000_000)
    answer = await live.post("/auth/refresh", {"refreshToken": people[1]["refreshToken"]})
    assert (answer.status_code, answer.json()["code"]) == (403, "banned")
    await (await other.ping())
    await other.close()


async def test_a_banned_device_is_out_whatever_account_it_signs_in_to(live: Live) -> None:
    installation = str(uuid.uuid4())
    first = await live.sign_in(new_number(), deviceId=installation)
    second = await live.sign_in(new_number(), deviceId=installation)
    spared = await live.sign_in(first["phone"])
    sockets = [await live.socket(first, "gateway-1"), await live.socket(second, "gateway-2")]
    kept = await live.socket(spared)
    await asyncio.to_thread(
        by_staff,
        live.stack,
        f"""
        from accounts.models import Device
        from accounts.services import bans
        bans.ban_device(device=Device.objects.get(pk={first["deviceId"]!r}), until=4_000_000_000_000)
        """,
    )
    for socket in sockets:
        error, code = await error_and_close(socket)
        assert (code, error["code"], error["details"]["until"]) == (4403, "banned", 4_000_000_000_000)
    refused = await connect(live.stack.ws, additional_headers={"Authorization": f"Bearer {second['token']}"})
    assert (await error_and_close(refused))[1] == 4403
    asked = await live.post("/auth/register", {"phoneNumber": new_number(), "deviceId": installation})
    assert (asked.status_code, asked.json()["code"]) == (403, "banned")
    await (await kept.ping())  # the account's other device
    await kept.close()
