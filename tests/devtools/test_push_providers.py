"""``./dev up --push``: notifications for who has no account with Apple or Google, written to a file of the data folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.gateway.peer import Peer
from tests.gateway.phone import Phone, couple
from tests.support.patience import LONG, until
from tests.support.stack import System

pytestmark = pytest.mark.needs_system


def _pushes(system: System, token: str) -> list[dict[str, Any]]:
    file = system.stack.data.pushes
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [one for one in found if one["token"] == token]


async def _reached(phone: Phone, app: str, token: str) -> None:
    answer = await phone.rest("PUT", f"/devices/{phone.device}/push", {"app": app, "token": token})
    assert answer.status_code == 200, answer.text


async def test_what_the_providers_accept_is_written_down(own_stack: Callable[..., System]) -> None:
    system = await asyncio.to_thread(own_stack, push=True)
    ann, bob, conversation = await couple(system)
    [ios, android, web] = (await bob.rest("GET", "/push/apps")).json()["items"]
    assert (ios["provider"], android["provider"], web["provider"]) == ("apns", "fcm", "webpush")
    assert len(web["vapidKey"]) == 87
    async with await Peer.open(system.ws, ann) as writer:
        token = "3f5a" * 16
        await _reached(bob, "ios", token)
        await writer.say(conversation, "are you there?")
        await until(lambda: _pushes(system, token), "a phone of Apple is told", LONG)
        [push] = _pushes(system, token)
        assert push["payload"]["aps"]["alert"] == {"loc-key": "NEW_MESSAGE"}
        assert push["headers"]["apns-push-type"] == "alert"
        assert system.stack.data.pushes.stat().st_mode & 0o077 == 0

        # Its keys and ports stay, so those who send notice nothing.
        await asyncio.to_thread(system.restart, "push-providers")
        await _reached(bob, "android", "token-of-bob")
        await writer.say(conversation, "and now?")
        await until(lambda: _pushes(system, "token-of-bob"), "a phone of Google is told", LONG)
        assert _pushes(system, "token-of-bob")[0]["payload"]["type"] == "message"

        await _reached(bob, "android", "dead-token")
        await writer.say(conversation, "gone?")
        left = "SELECT count(*) FROM notifications_pushtarget"
        await until(lambda: system.sql(left) == "0", "a dead token is removed", LONG)
        assert not _pushes(system, "dead-token")
