"""Web Push end to end: Firefox subscribes, a push goes through a push service, and the service worker of the reference client
shows what Firefox has decrypted."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from notifications import vapid
from notifications.content import clear
from notifications.senders.interface import Outcome, Push, PushApp, Target, Urgency
from notifications.senders.webpush import WebPushSender
from tests.notifications.web_client import Pages, icon, opened, served, shows
from tests.notifications.webpush_app import Service
from tests.support.firefox import Page
from tests.support.patience import until

pytestmark = [pytest.mark.needs_packages, pytest.mark.timeout(400)]

KEY = ec.generate_private_key(ec.SECP256R1())
PUSH = Push(
    "018f-1",
    "collapse-1_-",
    Urgency.MESSAGE,
    3_600,
    1,
    json.dumps({"type": "message", "text": "hello, Grüße"}).encode(),
)


@pytest.fixture
def pages(request: pytest.FixtureRequest) -> Iterator[Pages]:
    with served(once=getattr(request, "param", True)) as pages:
        yield pages


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with Service(tmp_path) as service:
        yield service


@pytest.fixture
async def page(tmp_path: Path, service: Service, pages: Pages) -> AsyncIterator[Page]:
    async with opened(tmp_path, service, pages) as page:
        yield page


@pytest.fixture
async def sender(service: Service) -> AsyncIterator[WebPushSender]:
    options = {
        "private_key": vapid.private_text(KEY),
        "subject": "mailto:operations@example.org",
        "ca_file": str(service.ca_file),
        "loopback": "1",
    }
    sender = WebPushSender.from_options(PushApp("web", "webpush", options))
    yield sender
    await sender.close()


async def subscribed(page: Page, key: str) -> Target:
    """As ``PUT /devices/{id}/push`` reads it."""
    found = await page.evaluate(f"subscribed({json.dumps(key)})")
    keys = {
        name: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) for name, text in found["keys"].items()
    }
    return Target("user", "device", "web", found["endpoint"], keys["p256dh"], keys["auth"])


HELLO = {"title": "Ada", "body": "hello, Grüße", "tag": PUSH.collapse}


async def test_firefox_shows_what_only_it_can_read_and_takes_it_back(
    service: Service, sender: WebPushSender, page: Page
) -> None:
    target = await subscribed(page, sender.public_key)
    assert (await sender.send(target, PUSH)).outcome is Outcome.ACCEPTED
    await shows(page, [HELLO])
    await icon(page, 1)
    assert b"hello" not in service.accepted[0].body
    await until(lambda: not service.waiting(target.token), "Firefox has acknowledged it")

    # another conversation has nothing to read; a newer one takes the place of the first
    await sender.send(target, PUSH._replace(id="2", collapse="other", content=None, badge=2))
    newer = PUSH._replace(id="3", content=b'{"type":"message","text":"newer"}', badge=3)
    await sender.send(target, newer)
    other = {"title": "New message", "body": "", "tag": "other"}
    await shows(page, [{**HELLO, "body": "newer"}, other])
    await icon(page, 3)

    # read elsewhere
    silent = PUSH._replace(
        id="4", collapse="", urgency=Urgency.SILENT, content=clear([PUSH.collapse]), badge=0
    )
    assert (await sender.send(target, silent._replace(collapse="silent"))).outcome is Outcome.ACCEPTED
    await shows(page, [other])
    await icon(page, 0)
    assert len(service.accepted) == 4


@pytest.mark.parametrize("pages", [True, False], ids=["", "twin"], indirect=True)
async def test_a_push_that_comes_again_is_shown_once(
    service: Service, sender: WebPushSender, page: Page, request: pytest.FixtureRequest
) -> None:
    """Its answer was lost and Firefox had it; somebody has put it away since."""
    target = await subscribed(page, sender.public_key)
    await sender.send(target, PUSH)
    await shows(page, [HELLO])
    await page.evaluate(
        "worker.then(async (it) => { for (const n of await it.getNotifications()) n.close(); })"
    )
    await shows(page, [])
    await sender.send(target, PUSH)
    await sender.send(target, PUSH._replace(id="2", collapse="other", content=None, badge=5))
    other = {"title": "New message", "body": "", "tag": "other"}
    await shows(page, [other] if request.node.callspec.params["pages"] else [HELLO, other])


async def test_a_subscription_for_another_key_is_made_anew(
    service: Service, sender: WebPushSender, page: Page
) -> None:
    before = await subscribed(page, vapid.public_text(ec.generate_private_key(ec.SECP256R1())))
    assert (await sender.send(before, PUSH)).outcome is Outcome.MISCONFIGURED
    after = await subscribed(page, sender.public_key)
    assert after.token != before.token
    assert (await subscribed(page, sender.public_key)).token == after.token
    assert (await sender.send(before, PUSH)).outcome is Outcome.GONE
    assert (await sender.send(after, PUSH)).outcome is Outcome.ACCEPTED
    await shows(page, [HELLO])
