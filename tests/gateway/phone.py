"""A device that was signed up over REST, as somebody's phone does it; its socket is :class:`tests.gateway.peer.Peer`."""

from __future__ import annotations

import asyncio
import json
import random
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from tests.support import plain
from tests.support.patience import PATIENCE, until


class Runs(Protocol):
    """What is needed of :class:`tests.support.stack.System`."""

    @property
    def http(self) -> str: ...
    @property
    def ws(self) -> str: ...
    @property
    def gateways(self) -> dict[str, dict[str, str]]: ...
    @property
    def data(self) -> Path: ...


def new_id() -> str:
    return str(uuid.uuid4())


def number() -> str:
    """A development phone number that nobody else in this session has, as good as certainly."""
    return f"+1555{random.randrange(10**6, 10**7)}"


@dataclass
class Phone:
    """One device of a user. ``user`` and ``device`` are ids."""

    system: Runs
    number: str
    user: str
    device: str
    token: str
    refresh_token: str

    async def rest(
        self, method: str, path: str, body: Any = None, *, base: str = "", token: str | None = None
    ) -> httpx.Response:
        """One REST call with this device's token (``token``: another one, "" for none)."""
        token = self.token if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await rest(base or self.system.http, method, path, body, headers)

    async def direct(self, other: Phone | str, *, strangers: bool = False) -> str:
        """The id of the 1:1 conversation with another user. Both accept each other, unless they are to be ``strangers``; who is
        named by id cannot."""
        user = other if isinstance(other, str) else other.user
        answer = await self._answer("PUT", f"/conversations/direct/{user}", {})
        conversation = str(answer.json()["conversationId"])
        if not strangers:
            both = (self,) if isinstance(other, str) else (self, other)
            await asyncio.gather(*[phone.accept(conversation) for phone in both])
        return conversation

    async def accept(self, conversation: str) -> None:
        """Answer a message request."""
        await self._answer("PATCH", f"/conversations/{conversation}", {"accepted": True})

    async def _answer(self, method: str, path: str, body: Any) -> httpx.Response:
        """``unavailable`` is asked again, as it says: a process opens its session with Cassandra when it is first used, which on
        a busy machine takes longer than a request waits."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while (answer := await self.rest(method, path, body)).status_code == 503:
            assert asyncio.get_running_loop().time() < deadline, answer.text
            await asyncio.sleep(0.1)
        assert answer.status_code == 200, answer.text
        return answer


async def rest(
    base: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> httpx.Response:
    async with plain.AsyncClient(timeout=PATIENCE) as client:
        return await client.request(method, base + path, json=body, headers=headers)


async def sign_up(system: Runs, phone_number: str = "", *, name: str = "phone") -> Phone:
    """Register and verify; with the number of somebody known it adds a device. ``unavailable`` is tried again, from the
    beginning: a test before may have killed PostgreSQL, and each pool finds out by itself."""
    phone_number = phone_number or number()
    sms = system.data / "sms.jsonl"
    for left in reversed(range(10)):
        offset = sms.stat().st_size if sms.exists() else 0
        answer = await rest(system.http, "POST", "/auth/register", {"phoneNumber": phone_number})
        if answer.status_code == 202:
            code = await until(
                lambda offset=offset: _code(sms, offset, phone_number), "the SMS with the code"
            )
            body = {"phoneNumber": phone_number, "code": code, "deviceName": name}
            answer = await rest(system.http, "POST", "/auth/verify", body)
        if answer.status_code != 503 or not left:
            break
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return Phone(
        system, phone_number, found["userId"], found["deviceId"], found["token"], found["refreshToken"]
    )


async def link(phone: Phone, *, name: str = "laptop") -> Phone:
    """Another device of the same user."""
    return await sign_up(phone.system, phone.number, name=name)


async def link_by_code(phone: Phone, *, days: int = 0, name: str = "laptop") -> Phone:
    """Another device of the same user, let in by its primary device with so many days of history."""
    offer = (await rest(phone.system.http, "POST", "/auth/link", {"deviceName": name})).json()
    path, secret = f"/auth/link/{offer['linkId']}", offer["qr"].rpartition(":")[2]
    answer = await phone.rest("PUT", path, {"secret": secret, "historyDays": days})
    assert answer.status_code == 200, answer.text
    answer = await rest(phone.system.http, "GET", path, headers={"X-Link-Secret": offer["pollSecret"]})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return Phone(
        phone.system, phone.number, found["userId"], found["deviceId"], found["token"], found["refreshToken"]
    )


async def couple(system: Runs) -> tuple[Phone, Phone, str]:
    """Two people and their conversation."""
    ann, bob = await asyncio.gather(sign_up(system), sign_up(system))
    return ann, bob, await ann.direct(bob)


def _code(sms: Path, offset: int, phone_number: str) -> str | None:
    if not sms.exists():
        return None
    with sms.open("rb") as file:
        file.seek(offset)
        for line in file.read().splitlines():
            try:
                message = json.loads(line)
            except ValueError:
                continue  # half written
            if message["to"] == phone_number and (found := re.search(r"\b\d{6}\b", message["body"])):
                return found.group()
    return None


async def saved(system: Any, phone: Phone, conversation: str, acked: int) -> None:
    """Wait until this device's position is durable: it is written behind, by less than a second."""
    async with system.stored() as log:

        async def is_saved() -> bool:
            return bool((await log.position(phone.device, conversation))[0] == acked)

        await until(is_saved, f"position {acked} is saved")
