"""Somebody writes, and a browser without a socket shows it: gateway, worker, push service, Firefox."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from notifications import vapid
from tests.gateway.peer import Peer
from tests.gateway.phone import couple, link
from tests.notifications.web_client import Pages, icon, opened, served, shows
from tests.notifications.webpush_app import Service
from tests.support.patience import LONG, until
from tests.support.stack import System

pytestmark = [pytest.mark.needs_packages, pytest.mark.needs_system, pytest.mark.timeout(500)]


@pytest.fixture
def pages() -> Iterator[Pages]:
    with served() as pages:
        yield pages


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with Service(tmp_path) as service:
        yield service


@pytest.fixture
async def system(service: Service, pages: Pages) -> AsyncIterator[System]:
    env = {
        "WEB_ORIGINS": pages.origin,
        "PUSH_APPS": "web",
        "PUSH_WEB_PROVIDER": "webpush",
        "PUSH_WEB_PRIVATE_KEY": vapid.private_text(ec.generate_private_key(ec.SECP256R1())),
        "PUSH_WEB_SUBJECT": "mailto:operations@example.org",
        "PUSH_WEB_LOOPBACK": "1",
        "PUSH_WEB_CA_FILE": str(service.ca_file),
    }
    system = System(env=env)
    await asyncio.to_thread(system.__enter__)
    try:
        yield system
    finally:
        await asyncio.to_thread(system.__exit__, None, None, None)


async def test_a_message_is_shown_by_a_browser_and_taken_back_when_it_was_read_elsewhere(
    tmp_path: Path, service: Service, pages: Pages, system: System
) -> None:
    ann, bob, conversation = await couple(system)
    phone = await link(bob, name="phone")
    async with opened(tmp_path, service, pages) as page:
        session = {"base": system.http, "token": bob.token, "deviceId": bob.device}
        answer = await page.evaluate(f"registered({json.dumps(session)})")
        assert (answer["app"], answer["provider"]) == ("web", "webpush")

        async with await Peer.open(system.ws, ann) as peer, await Peer.open(system.ws, phone) as other:
            status = await peer.say(conversation, "hello, Grüße")

            async def shown() -> bool:
                found = await page.evaluate("shown()")
                return [(one["title"], one["body"]) for one in found] == [("somebody", "hello, Grüße")]

            await until(shown, "Firefox shows the message", LONG)
            await icon(page, 1)
            assert not any(b"hello" in message.body for message in service.accepted)

            await other.messages(1)
            await other.ack(conversation, status.seq)
            await other.read(conversation, status.seq)
            await shows(page, [])
            await icon(page, 0)
