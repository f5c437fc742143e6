"""Web Push: clients say where we go, and we go to no place inside."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from notifications.senders.interface import Outcome, PushApp, Result
from notifications.senders.public_network import PublicNetwork, allowed
from notifications.senders.webpush import WebPushSender
from tests.notifications.webpush_app import PUSH, Browser, Service, options


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with Service(tmp_path) as service:
        yield service


@pytest.fixture
async def sender(service: Service) -> AsyncIterator[WebPushSender]:
    sender = WebPushSender.from_options(PushApp("web", "webpush", options(service)))
    yield sender
    await sender.close()


BROWSER = Browser()


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://10.0.0.1/push/1",
        "https://elsewhere.example/push/1",
        "http://fcm.googleapis.com/push/1",
        "https://fcm.googleapis.com:8443/push/1",
        "https://127.0.0.1@elsewhere.example/",
        "",
    ],
)
async def test_an_endpoint_that_is_not_allowed_is_not_asked(sender: WebPushSender, endpoint: str) -> None:
    assert await sender.send(BROWSER.target(endpoint), PUSH) == Result(Outcome.REFUSED, "Endpoint")


async def test_this_machine_is_asked_only_where_that_is_set(service: Service) -> None:
    without = options(service)
    del without["loopback"]
    sender = WebPushSender.from_options(PushApp("web", "webpush", without))
    result = await sender.send(BROWSER.target(service.subscribe()), PUSH)
    await sender.close()
    assert result == Result(Outcome.REFUSED, "Endpoint")
    assert not service.posts


@pytest.mark.parametrize("protected", [True, False], ids=["", "twin"])
async def test_a_public_name_that_leads_inside_is_not_asked(
    service: Service, monkeypatch: pytest.MonkeyPatch, protected: bool
) -> None:
    """Who registers ``push.attacker.example`` where every host is allowed may let it resolve to anything. The twin shows that
    a connection would be made."""
    endpoint = service.subscribe()
    port = service.h2.port
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    here = options(service, hosts=f"*:{port}", loopback="0" if protected else "1")
    sender = WebPushSender.from_options(PushApp("web", "webpush", here))
    result = await sender.send(BROWSER.target(endpoint.replace("127.0.0.1", "push.attacker.example")), PUSH)
    await sender.close()
    if protected:
        assert result == Result(Outcome.REFUSED, "NotPublic")
    else:
        assert result == Result(Outcome.LATER, "Unreachable")  # the certificate is for another name


async def test_the_network_connects_to_what_it_has_looked_at(service: Service) -> None:
    network = PublicNetwork(loopback=True)
    stream = await network.connect_tcp("localhost", service.h2.port, timeout=5)
    await stream.aclose()


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("8.8.8.8", True),
        ("2607:f8b0:4005:80a::200a", True),
        ("::ffff:8.8.8.8", True),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::1", False),
    ],
)
def test_which_addresses_are_public(address: str, may: bool) -> None:
    assert allowed(address, loopback=False) is may
    assert allowed(address, loopback=True) is may


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_not_public_unless_that_is_set(address: str) -> None:
    assert not allowed(address, loopback=False)
    assert allowed(address, loopback=True)
