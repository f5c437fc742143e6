"""What open sockets hear of a PIN and of a changed number, over two gateways; and that they live on."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from typing import Any

from websockets.asyncio.client import ClientConnection

from tests.accounts.conftest import new_number
from tests.accounts.test_live import Live, live  # noqa: F401

PIN = "271828"


async def heard(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """``data`` of the next notice of this kind, reading past everything else."""
    while True:
        frame = json.loads(await asyncio.wait_for(socket.recv(), 10))
        if frame["type"] == "notice" and frame["kind"] == kind:
            data: dict[str, Any] = frame["data"]
            return data


async def test_wrong_pins_and_a_new_number_are_told_and_no_socket_ends(live: Live) -> None:  # noqa: F811
    async def call(method: str, path: str, tokens: dict[str, Any], body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {tokens['token']}"}
        return await live.client.request(method, path, json=body or {}, headers=headers)

    ann, bob = await live.sign_in(new_number()), await live.sign_in(new_number())
    laptop = await live.sign_in(ann["phone"])
    for one, other in ((ann, bob), (bob, ann)):
        added = await call("POST", "/contacts", one, {"phoneNumber": other["phone"]})
        assert added.json()["userId"] == other["userId"]
    group = (await call("POST", "/groups", ann, {"name": "Sailing", "members": [bob["userId"]]})).json()
    own, other, friend = (
        await live.socket(ann, "gateway-1"),
        await live.socket(laptop, "gateway-2"),
        await live.socket(bob, "gateway-2"),
    )
    # A PIN: the other device hears that it is set, all hear that somebody with the code did not know it.
    assert (await call("PUT", "/auth/pin", ann, {"pin": PIN})).status_code == 204
    assert (await heard(other, "pin"))["event"] == "set"
    body = {"phoneNumber": ann["phone"], "deviceName": "elsewhere", "code": await live.code(ann["phone"])}
    refused = await live.post("/auth/verify", {**body, "pin": "314159"})
    assert (refused.status_code, refused.json()["details"]["pinWrong"]) == (403, True)
    for socket in (own, other):
        assert (await heard(socket, "pin"))["event"] == "failed"
    # Another number: the other device and the friend hear it, on whatever gateway.
    phone = new_number()
    change = {"phoneNumber": phone, "code": await live.code(phone), "pin": PIN}
    moved = await call("PUT", "/auth/phone", ann, change)
    assert (moved.status_code, moved.json()["phoneNumber"]) == (200, phone)
    told = {"userId": ann["userId"], "phoneNumber": phone}
    assert await heard(other, "number_changed") == told
    assert await heard(friend, "number_changed") == told
    # Chats and groups go on, on the same sockets and with the same tokens.
    await friend.send(json.dumps({"type": "sync", "have": {}}))
    message = {
        "type": "send_message",
        "messageId": str(uuid.uuid4()),
        "conversationId": group["groupId"],
        "encryptedContent": base64.b64encode(b"still me").decode(),
        "timestamp": int(time.time() * 1000),
    }
    await own.send(json.dumps(message))
    while True:
        frame = json.loads(await asyncio.wait_for(friend.recv(), 10))
        events = frame.get("events", [frame])
        if any(event.get("messageId") == message["messageId"] for event in events):
            break
        if frame["type"] == "sync_batch":
            position = {frame["conversationId"]: frame["through"]}
            await friend.send(json.dumps({"type": "ack", "positions": position}))
    # Whoever registers the old number is somebody else.
    newcomer = await live.sign_in(ann["phone"])
    assert newcomer["userId"] != ann["userId"]
    for socket in (own, other, friend):
        await (await socket.ping())
        await socket.close()
