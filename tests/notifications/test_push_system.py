"""Push in a whole system: from a socket over the workers to the provider, whose two services run beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from devtools.push_servers.fcm import Google
from tests.faults.rig import stays
from tests.gateway.peer import Peer
from tests.gateway.phone import Phone, couple, link
from tests.notifications.fcm_app import at_google, options
from tests.support.patience import LONG, until
from whatsapp.infra import hot_sync

#: One after the other: each has a system of its own.
pytestmark = pytest.mark.needs_system


@asynccontextmanager
async def _system(
    folder: Path, own_stack: Callable[..., Any], **others: Any
) -> AsyncIterator[tuple[Any, Google]]:
    """With an app ``android`` whose provider stands beside it."""
    async with at_google(folder) as (google, authority):
        variables = {
            f"PUSH_ANDROID_{name.upper()}": value for name, value in options(google, authority).items()
        }
        env = {"PUSH_APPS": "android", "PUSH_ANDROID_PROVIDER": "fcm", **variables}
        yield await asyncio.to_thread(own_stack, env=env, **others), google


async def _reached(phone: Phone, token: str) -> None:
    answer = await phone.rest("PUT", f"/devices/{phone.device}/push", {"app": "android", "token": token})
    assert answer.status_code == 200, answer.text


def _told(google: Google, token: str, kind: str = "message") -> list[dict[str, str]]:
    return [one.data for one in google.sent if one.token == token and one.data["type"] == kind]


async def test_who_is_absent_is_told_once_and_what_is_read_elsewhere_is_withdrawn(
    own_stack: Callable[..., Any], tmp_path: Path
) -> None:
    async with _system(tmp_path, own_stack, limits={"push_unacked_ms": 2_000}) as (system, google):
        ann, bob, conversation = await couple(system)
        laptop = await link(bob)
        await _reached(ann, "token-of-ann")
        await _reached(bob, "token-of-bob")
        async with await Peer.open(system.ws, ann) as writer:
            await writer.say(conversation, "are you there?")
            await until(lambda: _told(google, "token-of-bob"), "who is absent is told", LONG)
            [first] = _told(google, "token-of-bob")
            assert first["badge"] == "1"
            # Once, and the writer hears nothing.
            await stays(lambda: len(_told(google, "token-of-bob")) == 1, "it is told again", 3.0)
            assert not [one for one in google.sent if one.token == "token-of-ann"]

            async with await Peer.open(system.ws, laptop) as other:
                await other.sync()
                await other.read(conversation, 1)
                await until(lambda: _told(google, "token-of-bob", "silent"), "the phone hears of it", LONG)
                assert _told(google, "token-of-bob", "silent")[-1]["badge"] == "0"

            # Connected, but nobody acknowledges.
            async with await Peer.open(system.ws, bob) as silent:
                await silent.sync()
                await writer.say(conversation, "still there?")
                await until(lambda: len(_told(google, "token-of-bob")) == 2, "a silent device is told", LONG)
            assert {one["collapse"] for one in _told(google, "token-of-bob")} == {first["collapse"]}


async def test_what_was_to_be_told_survives_the_loss_of_the_broker_and_of_the_hot_node(
    own_stack: Callable[..., Any], tmp_path: Path
) -> None:
    async with _system(tmp_path, own_stack) as (system, google):
        ann, bob, conversation = await couple(system)
        await _reached(bob, "token-of-bob")
        system.kill("push-1")
        async with await Peer.open(system.ws, ann) as writer:
            await writer.say(conversation, "hello")
            with hot_sync.client(system.stack.env["HOT_URL"]) as hot:
                await until(lambda: hot.keys("{push:*}:due"), "it is due", LONG)
                hot.flushall()  # the broker is there too
                assert not hot.keys("{push:*}:due")
            assert not google.sent
            await asyncio.to_thread(system.restart, "push-1")
            await until(lambda: _told(google, "token-of-bob"), "it is told all the same", LONG)
            await stays(lambda: len(_told(google, "token-of-bob")) == 1, "it is told again", 3.0)


async def test_absent_members_of_a_group_are_told_by_the_workers_of_the_lanes(
    own_stack: Callable[..., Any], tmp_path: Path
) -> None:
    async with _system(tmp_path, own_stack, fanout=True) as (system, google):
        ann, bob, _ = await couple(system)
        answer = await ann.rest("POST", "/groups", {"name": "two", "members": [bob.user]})
        assert answer.status_code == 201, answer.text
        await _reached(bob, "token-of-bob")
        async with await Peer.open(system.ws, ann) as writer:
            await writer.say(answer.json()["groupId"], "hello")
            await until(lambda: _told(google, "token-of-bob"), "who is absent is told", LONG)
