"""docker/haproxy.cfg before real gateways: TLS, WebSockets, health, draining, and who a client is."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.deploy.balanced import ADDRESSES, API, NAME, Balanced
from tests.deploy.names import Names
from tests.gateway.metrics import scrape
from tests.gateway.peer import Peer, texts
from tests.gateway.phone import Phone, sign_up
from tests.support.patience import until
from tests.support.stack import System
from whatsapp.wire import frames

pytestmark = [pytest.mark.needs_packages, pytest.mark.needs_system, pytest.mark.timeout(240)]

REGISTRATIONS = 20  # of one address


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """Engines and one gateway that the balancer does not know: people sign up there."""
    env = {
        "WHATSAPP_ENV": "production",
        "ALLOWED_HOSTS": f"{NAME},127.0.0.1",
        "WEB_ORIGINS": f"https://{NAME}",
        "SMS_SENDER": "accounts.sms.FileSender",
        "TRUSTED_PROXIES": "127.0.0.0/8",
    }
    with System(
        gateways=1, worker=False, env=env, limits={"registrations_per_ip_day": REGISTRATIONS}
    ) as system:
        yield system


@pytest.fixture(scope="module")
def running(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balanced]:
    known = {"gateway": ADDRESSES, "api": [API]}
    with Names(known) as names, Balanced(system, names, tmp_path_factory.mktemp("balanced")) as running:
        yield running


@pytest.fixture
async def balanced(running: Balanced) -> Balanced:
    """With all its processes up, whatever the test before has done to them."""
    await up(running, *ADDRESSES, API)
    return running


async def up(balanced: Balanced, *addresses: str) -> None:
    """Start what is dead of the processes at these addresses, and wait until the balancer knows."""
    for address in addresses:
        if balanced.children[address].pid is None:
            balanced.children[address].start()
    await state(balanced, **dict.fromkeys(addresses, "UP"))


async def state(balanced: Balanced, **wanted: str) -> None:
    """Until the balancer thinks so of the gateways at these addresses."""

    async def as_wanted() -> bool:
        found = await asyncio.to_thread(balanced.state)
        return all(found.get(address, "").startswith(word) for address, word in wanted.items())

    await until(as_wanted, f"the balancer's view is {wanted}", timeout=60)


def mobile() -> str:
    """A number as production takes it; its messages go to a file."""
    return f"+4915112{random.randrange(10**6):06}"


async def pair(system: System) -> tuple[Phone, Phone, str]:
    ann, bob = await sign_up(system, mobile()), await sign_up(system, mobile())
    return ann, bob, await ann.direct(bob)


async def ask(
    balanced: Balanced,
    path: str,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
    source: str = "",
) -> httpx.Response:
    """One request over a connection of its own."""
    transport = httpx.AsyncHTTPTransport(verify=balanced.tls(), local_address=source or None)
    async with httpx.AsyncClient(transport=transport, timeout=15) as client:
        return await client.request(
            "GET" if body is None else "POST",
            f"https://127.0.0.1:{balanced.port}{path}",
            json=body,
            headers={"Host": NAME, **(headers or {})},
            extensions={"sni_hostname": NAME},
        )


async def open_socket(balanced: Balanced, phone: Phone, **options: Any) -> Peer:
    return await Peer.open(
        f"wss://{NAME}/ws", phone, host="127.0.0.1", port=balanced.port, ssl=balanced.tls(), **options
    )


async def test_the_configuration_is_valid(balanced: Balanced) -> None:
    checked = balanced.check()
    assert checked.returncode == 0, checked.stderr
    assert "[WARNING]" not in checked.stdout + checked.stderr


async def test_clients_speak_tls_and_nothing_else(balanced: Balanced) -> None:
    answer = await ask(balanced, "/health/ready")
    assert answer.status_code == 200
    assert "max-age" in answer.headers["strict-transport-security"]  # the gateway knows that it was TLS
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection(
            "127.0.0.1", balanced.port, ssl=balanced.tls(), server_hostname="evil.example"
        )
    with socket.create_connection(("127.0.0.1", balanced.port), timeout=5) as plain:
        plain.sendall(b"GET /health/live HTTP/1.1\r\nHost: chat.example\r\n\r\n")
        assert b"200" not in plain.recv(1_000)
    old = balanced.tls()
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")  # else it would not even ask
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", balanced.port, ssl=old, server_hostname=NAME)


async def test_people_on_two_gateways_talk_through_it(balanced: Balanced, system: System) -> None:
    ann, bob, conversation = await pair(system)
    async with await open_socket(balanced, ann) as a, await open_socket(balanced, bob) as b:
        assert await asyncio.to_thread(balanced.sockets) == dict.fromkeys(ADDRESSES, 1)
        for text in ("one", "two"):
            await a.say(conversation, text)
        assert texts(await b.messages(2)) == ["one", "two"]
        await b.say(conversation, "three")
        assert texts(await a.messages(1)) == ["three"]


async def test_nobody_chooses_the_address_that_is_counted(balanced: Balanced, system: System) -> None:
    """A header that claims another address each time is removed: who asks too often is refused."""

    async def register(base: str, count: int) -> httpx.Response:
        claimed = {"X-Forwarded-For": f"192.0.2.{count}", "Forwarded": f"for=192.0.2.{count}"}
        body = {"phoneNumber": mobile()}
        if base:
            async with httpx.AsyncClient(trust_env=False) as client:
                return await client.post(f"{base}/auth/register", json=body, headers=claimed)
        return await ask(balanced, "/auth/register", body, headers=claimed, source="127.0.24.200")

    codes = [(await register("", count)).status_code for count in range(REGISTRATIONS + 1)]
    assert codes == [202] * REGISTRATIONS + [429]
    # Somebody who reaches a gateway past the balancer would be believed: that is why nobody must.
    assert (await register(system.http, 200)).status_code == 202


async def test_gateways_and_apis_count_the_same_addresses(balanced: Balanced, system: System) -> None:
    """What the balancer says of a client is believed by both, and what anybody else says by neither."""

    async def register(base: str, told: str) -> int:
        async with httpx.AsyncClient(trust_env=False) as client:
            headers = {"X-Forwarded-For": told, "Host": NAME}
            answer = await client.post(
                f"{base}/auth/register", json={"phoneNumber": mobile()}, headers=headers
            )
            return answer.status_code

    codes = [await register(balanced.serving, f"198.51.100.{n}, 203.0.113.9") for n in range(REGISTRATIONS)]
    assert codes == [202] * REGISTRATIONS
    assert await register(balanced.serving, "203.0.113.9") == 429
    assert await register(system.http, "203.0.113.9") == 429
    assert await register(balanced.serving, "203.0.113.10") == 202


async def served(balanced: Balanced, address: str) -> float:
    """How often a process was asked for tus."""
    found = await scrape(f"http://{address}:{balanced.private_ports[address]}/metrics")
    return sum(
        number
        for name, number in found.items()
        if name.startswith("whatsapp_http_requests_total{") and 'route="media/tus"' in name
    )


async def test_files_go_to_their_own_process_and_to_gateways_without_it(balanced: Balanced) -> None:
    before = await served(balanced, API)
    for _ in range(4):
        assert (await ask(balanced, "/media/tus")).status_code == 401
        assert (await ask(balanced, "/health/live")).status_code == 200
    assert await served(balanced, API) == before + 4
    assert [await served(balanced, address) for address in ADDRESSES] == [0, 0]
    balanced.children[API].kill()
    await state(balanced, **{API: "DOWN"})
    for _ in range(4):
        assert (await ask(balanced, "/media/tus")).status_code == 401
    assert sum([await served(balanced, address) for address in ADDRESSES]) == 4


async def test_a_killed_gateway_gets_nothing_and_without_any_it_is_a_503_until_one_is_back(
    running: Balanced,
) -> None:
    """The test before has killed what serves files: nothing here needs it."""
    dead, other = ADDRESSES
    await up(running, *ADDRESSES)
    running.children[dead].kill()
    await state(running, **{dead: "DOWN", other: "UP"})
    codes = [(await ask(running, "/health/ready")).status_code for _ in range(10)]
    assert codes == [200] * 10
    for child in running.children.values():
        child.kill()
    await state(running, **dict.fromkeys((*ADDRESSES, API), "DOWN"))
    assert (await ask(running, "/health/ready")).status_code == 503
    running.children[dead].start()
    await state(running, **{dead: "UP"})
    assert (await ask(running, "/health/ready")).status_code == 200


async def test_a_gateway_that_drains_is_left_without_an_error(balanced: Balanced, system: System) -> None:
    """Requests go on while it drains; its sockets are closed with 1012 and open again at the other one; no message is lost."""
    ann, bob, conversation = await pair(system)
    leaving, staying = ADDRESSES
    async with await open_socket(balanced, ann) as first, await open_socket(balanced, bob) as second:
        await first.say(conversation, "before")
        stop = asyncio.Event()
        codes: list[int] = []

        async def go_on() -> None:
            while not stop.is_set():
                codes.append((await ask(balanced, "/health/live")).status_code)

        asking = asyncio.create_task(go_on())
        balanced.children[leaving].send(signal.SIGTERM)
        await state(balanced, **{leaving: "DOWN", staying: "UP"})
        await until(
            lambda: first.is_closed or second.is_closed, "the socket of the gateway that leaves is closed"
        )
        assert await asyncio.to_thread(balanced.children[leaving].wait, 30)
        stop.set()
        await asking
        assert set(codes) == {200}
        gone, there = (first, second) if first.is_closed else (second, first)
        assert await gone.closed() == 1012
        assert gone.phone is not None
        async with await open_socket(balanced, gone.phone) as again:
            await again.say(conversation, "after")
            await there.take(
                lambda got: isinstance(got, frames.Message) and got.encrypted_content == b"after",
                "the message after the move",
            )
