"""A worker that dies around a provider's answer: what it was to send is sent once more at most, as the same notification."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from devtools.push_servers.apns import Apns, Shown
from notifications.worker import CLAIM_MS
from tests.faults.rig import Rig, stays
from tests.gateway.peer import Peer
from tests.gateway.phone import couple
from tests.notifications.apns_app import App
from tests.support.patience import LONG, until

#: Each has a system of its own.
pytestmark = [pytest.mark.needs_system, pytest.mark.slow, pytest.mark.timeout(6 * LONG)]
TOKEN = "ab" * 32


@asynccontextmanager
async def absent(
    folder: Path, own_stack: Callable[..., Any], *off: str
) -> AsyncIterator[tuple[Rig, Apns, Callable[[], Any]]]:
    """Somebody who is absent, and a function that writes to them. ``off``: protections that are taken away."""
    app = App(folder)
    async with app.apns.server:
        env = {f"PUSH_IOS_{name.upper()}": value for name, value in app.options().items()}
        env |= {"PUSH_APPS": "ios", "PUSH_IOS_PROVIDER": "apns", "WHATSAPP_TEST_BUILD": "1"}
        system = await asyncio.to_thread(own_stack, env=env)
        rig = Rig(system)
        ann, bob, conversation = await couple(system)
        answer = await bob.rest("PUT", f"/devices/{bob.device}/push", {"app": "ios", "token": TOKEN})
        assert answer.status_code == 200, answer.text
        with rig.off(*off):
            async with await Peer.open(system.ws, ann) as writer:
                yield rig, app.apns, lambda: writer.say(conversation, "hello")


async def killed(rig: Rig, point: str, write: Callable[[], Any]) -> None:
    """The worker dies at this point of the next notification, and is started again when its claim has ended."""
    rig.arm(point)
    await write()
    await asyncio.to_thread(rig.system.wait_dead, "push-1", LONG)
    rig.move_clock(CLAIM_MS + 1_000)
    await asyncio.to_thread(rig.system.restart, "push-1")


def alerts(apns: Apns) -> list[Shown]:
    """What tells of a message; the rest is the badge."""
    return [one for one in apns.shown.values() if "alert" in one.payload["aps"]]


async def test_who_dies_before_its_provider_has_it_sends_it_later(
    own_stack: Callable[..., Any], tmp_path: Path
) -> None:
    async with absent(tmp_path, own_stack) as (rig, apns, write):
        await killed(rig, "push-send", write)
        await until(lambda: alerts(apns), "it is sent", LONG)
        await stays(lambda: apns.accepted == 1, "it is sent again", 3.0)


async def test_twin_what_is_written_before_is_lost(own_stack: Callable[..., Any], tmp_path: Path) -> None:
    async with absent(tmp_path, own_stack, "push_after") as (rig, apns, write):
        await killed(rig, "push-send", write)
        await until(lambda: apns.accepted, "the badge is told", LONG)
        await stays(lambda: not alerts(apns), "the message is told", 3.0)


async def test_who_dies_behind_the_answer_sends_the_same_again(
    own_stack: Callable[..., Any], tmp_path: Path
) -> None:
    async with absent(tmp_path, own_stack) as (rig, apns, write):
        await killed(rig, "push-accepted", write)
        await until(lambda: apns.accepted == 2, "it is sent again", LONG)
        await stays(lambda: apns.accepted == 2, "it is sent a third time", 3.0)
        first, second = apns.requests[-2:]
        for name in ("apns-id", "apns-collapse-id"):
            assert first.headers[name] == second.headers[name]
        assert len(apns.shown) == 1
