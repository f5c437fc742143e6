"""Uploads in a process of their own: who does the work, and what a client notices of the hand-over and of its end."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest

from tests.clients.cutting import Cutting
from tests.clients.test_media_killed import Program
from tests.clients.test_with_server import people
from tests.gateway.metrics import scrape
from tests.gateway.phone import couple
from tests.gateway.raw import RawSocket
from tests.media.stored import asked, fetched, offset, reached
from tests.media.test_real_clients import Sender
from tests.media.test_uploads import MIB, Uploads, peak
from tests.security.wire import Wire, request
from tests.support import plain
from tests.support.patience import LONG, until
from tests.support.stack import System
from whatsapp.infra import hot_sync

pytestmark = [pytest.mark.needs_system, pytest.mark.timeout(300)]

GATEWAY, API = "gateway-1", "api-1"
SIZE = 96 * MIB
PER_ADDRESS = 24


@pytest.fixture(scope="module")
def running() -> Iterator[System]:
    with System(
        gateways=1,
        apis=1,
        env={"WHATSAPP_TEST_BUILD": "1"},
        limits={"http_connections_per_address": PER_ADDRESS},
    ) as system:
        yield system


@pytest.fixture
def system(running: System) -> System:
    """With its ``api`` process alive, whatever the test before has done to it."""
    if running.processes[API] is None:
        running.restart(API)
    return running


def cpu(system: System, name: str) -> float:
    """Seconds of processor that a process has used."""
    fields = Path(f"/proc/{system.processes[name]}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def handed(system: System, kind: str, name: str = GATEWAY) -> float:
    found = await scrape(system.stack.describe()["metrics"][name])
    return found.get(f'whatsapp_handed_over_total{{kind="{kind}"}}', 0)


def stored(system: System, data: bytes) -> bool:
    """Whether an object of the storage has these bytes, under whatever name."""
    try:
        found = [path for path in (system.data / "media").rglob("*") if path.is_file()]
        return any(path.stat().st_size == len(data) and path.read_bytes() == data for path in found)
    except FileNotFoundError:
        return False  # it has just got its other name


class Work(NamedTuple):
    """What a process has done: seconds of processor, bytes read from wherever, the most memory it has had."""

    cpu: float
    read: int
    memory: int

    @classmethod
    def of(cls, system: System, name: str) -> Work:
        io = Path(f"/proc/{system.processes[name]}/io").read_text()
        return cls(cpu(system, name), int(io.split()[1]), peak(system, name))

    def since(self, before: Work) -> Work:
        return Work(*(now - then for now, then in zip(self, before, strict=True)))


async def upload(system: System) -> tuple[Work, Work]:
    """What the gateway and the ``api`` process do for :data:`SIZE` bytes."""
    ann, _, conversation = await couple(system)
    tus = Uploads(ann)
    path = await tus.begin(conversation, SIZE)
    await tus.offset(path)  # what a process loads at its first request is loaded

    async def body() -> Any:
        for _ in range(SIZE // MIB):
            yield bytes(MIB)

    headers = {
        **tus.headers, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream", "Content-Length": str(SIZE),
    }  # fmt: skip
    before = [Work.of(system, name) for name in (GATEWAY, API)]
    async with plain.AsyncClient(timeout=100, base_url=system.http) as client:
        answer = await client.patch(path, content=body(), headers=headers)
    assert answer.status_code == 204, answer.text
    gateway, api = (
        Work.of(system, name).since(then) for name, then in zip((GATEWAY, API), before, strict=True)
    )
    assert await tus.offset(path) == SIZE
    return gateway, api


async def test_the_gateway_has_no_part_in_an_upload(system: System) -> None:
    gateway, api = await upload(system)
    assert api.read >= SIZE
    assert gateway.read < 2 * MIB, gateway
    # Seen: a sixtieth. It is scheduled and says that it lives all the while, which counts on a busy machine.
    assert gateway.cpu < api.cpu / 5, (gateway, api)
    assert gateway.memory < 8 * MIB, gateway
    assert api.memory < 48 * MIB, api


async def test_twin_without_the_hand_over_it_does_the_work(system: System) -> None:
    off = system.data / "faults" / "off-hand_over"
    off.parent.mkdir(exist_ok=True)
    off.touch()
    try:
        gateway, api = await upload(system)
    finally:
        off.unlink()
    assert gateway.read >= SIZE
    assert api.read < 2 * MIB, api
    assert gateway.cpu > 5 * api.cpu, (gateway, api)


# -- its end ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sender(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sender:
    monkeypatch.setenv("NO_PROXY", "*")
    return Sender(system, tmp_path)


async def test_an_upload_that_is_killed_with_it_goes_on_at_a_gateway(system: System) -> None:
    ann, _, conversation = await couple(system)
    tus = Uploads(ann)
    data = random.Random(1).randbytes(24 * MIB)
    path = await tus.begin(conversation, len(data))
    stop = asyncio.Event()

    async def body() -> Any:
        yield data[: 13 * MIB]
        await stop.wait()
        yield data[13 * MIB :]

    headers = {
        **tus.headers, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(len(data)),
    }  # fmt: skip
    async with plain.AsyncClient(timeout=60, base_url=system.http) as client:
        sending = asyncio.create_task(client.patch(path, content=body(), headers=headers))
        await asyncio.to_thread(reached, ann, path, 10 * MIB)
        system.kill(API)
        stop.set()
        with pytest.raises(httpx.TransportError):
            await sending
    known = await tus.offset(path)
    assert 10 * MIB <= known <= 13 * MIB
    answer = await tus.send(path, known, data[known:])
    assert answer.status_code == 204, answer.text
    assert await asyncio.to_thread(fetched, ann, path) == data
    # And a new one, with nobody to hand it over to.
    again = await tus.begin(conversation, 5)
    assert (await tus.send(again, 0, b"hello")).status_code == 204
    assert list((system.data / "run" / "api").iterdir()) == []  # what the dead one left
    # Once it is back it has the work again.
    system.restart(API)
    before = await handed(system, "taken", API)
    await tus.offset(path)
    assert await handed(system, "taken", API) > before


def test_tuspy_goes_on_when_it_is_killed(sender: Sender, system: System) -> None:
    uploader = sender.uploader(chunk_size=MIB, retries=8, retry_delay=0.25)
    uploader.upload(stop_at=8 * MIB)
    assert offset(sender.phone, uploader.url) == 8 * MIB
    system.kill(API)
    uploader.upload(stop_at=14 * MIB)
    system.restart(API)
    uploader.upload()
    assert sender.arrived(uploader.url)


async def test_tuspy_is_told_what_was_lost_in_the_middle_of_a_request(sender: Sender, system: System) -> None:
    """The whole file is one request, and comes slowly enough to be killed in it."""
    async with Cutting(system.http) as way:
        sender.url, way.slow = f"{way.http}/media/tus", 0.002
        uploader = sender.uploader(chunk_size=2**40, retries=40, retry_delay=0.25)
        going = asyncio.create_task(asyncio.to_thread(uploader.upload))
        await until(lambda: uploader.url, "it has begun")
        path = urlsplit(uploader.url).path
        await asyncio.to_thread(reached, sender.phone, path, 5 * MIB)
        system.kill(API)
        assert 5 * MIB <= await asyncio.to_thread(offset, sender.phone, path) < len(sender.data)
        way.slow = 0.0
        await going
        assert way.bytes_up < len(sender.data) + 15 * MIB  # it did not begin anew
    assert await asyncio.to_thread(fetched, sender.phone, path) == sender.data


async def test_our_client_goes_on_when_it_is_killed(system: System, tmp_path: Path) -> None:
    data = random.Random(3).randbytes(24 * MIB + 5)
    file = tmp_path / "film"
    file.write_bytes(data)
    async with people(system) as (conversation, (ann, bob)):
        await ann.stop()
        ann.session.save(tmp_path / "ann.json")
        async with Program(
            system.http, tmp_path / "ann.json", tmp_path / "ann.db", conversation, file
        ) as program:
            await until(lambda: program.done[-1:] > [6 * MIB], "it has begun", LONG)
            system.kill(API)
            assert program.grown == -1, "it was done before"
            await until(lambda: program.grown >= 0, "it came to its end", LONG)
            assert await program.process.wait() == 0
        assert (tmp_path / "film.got").read_bytes() == data
        assert program.done == sorted(set(program.done))
        await until(lambda: len(bob.history[conversation].entries) == 1, "one message came")


async def test_it_ends_in_its_orderly_way(system: System) -> None:
    """What is under way has its time; what comes then is served by the gateway."""
    ann, _, conversation = await couple(system)
    tus = Uploads(ann)
    data = random.Random(2).randbytes(8 * MIB)
    path = await tus.begin(conversation, len(data))
    begun, go = asyncio.Event(), asyncio.Event()

    async def body() -> Any:
        yield data[: 6 * MIB]
        begun.set()
        await go.wait()
        yield data[6 * MIB :]

    headers = {
        **tus.headers, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(len(data)),
    }  # fmt: skip
    async with plain.AsyncClient(timeout=60, base_url=system.http) as client:
        sending = asyncio.create_task(client.patch(path, content=body(), headers=headers))
        await begun.wait()
        await asyncio.to_thread(reached, ann, path, 5 * MIB)
        os.kill(system.processes[API] or 0, signal.SIGTERM)
        await until(lambda: not list((system.data / "run" / "api").iterdir()), "it takes nobody any more")
        other = await tus.begin(conversation, 5)
        assert (await tus.send(other, 0, b"hello")).status_code == 204
        go.set()
        assert (await sending).status_code == 204
    await asyncio.to_thread(system.wait_dead, API, 15)
    assert await tus.offset(path) == len(data)
    # Its last task may have gone with it, which beat makes good: what counts is what is stored.
    await until(lambda: stored(system, data), "it is stored")


# -- what a connection is afterwards, and what it is told --------------------------------------------------------------------


def upgrade() -> tuple[str, ...]:
    return ("Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")  # fmt: skip


async def test_a_connection_stays_and_opens_no_socket(system: System) -> None:
    before = await handed(system, "taken", API)
    async with await Wire.open(system.stack.port) as wire:
        await wire.send(request("/media/tus", "OPTIONS", headers=("Host: 127.0.0.1",)))
        assert (await wire.answer()).status in (200, 204)
        await wire.send(request("/health/live", headers=("Host: 127.0.0.1",)))
        assert (await wire.answer()).status == 200
        await wire.send(request("/ws", headers=upgrade()))
        answer = await wire.answer()
        assert answer.status == 421
        assert answer.problem()["type"].endswith("unavailable")
        assert answer.header("connection") == "close"
        assert await wire.ended() == b""
    assert await handed(system, "taken", API) == before + 1
    async with await RawSocket.open(system.ws) as opened:  # of a connection of its own
        assert opened.head.startswith("HTTP/1.1 101")


async def test_on_its_own_port_it_has_no_sockets_either(system: System) -> None:
    url = httpx.URL(system.stack.describe()["metrics"][API])
    async with await Wire.open(url.port or 0) as wire:
        await wire.send(request("/ws", headers=upgrade()))
        assert (await wire.answer()).status == 421
    async with plain.AsyncClient(base_url=str(url.copy_with(path="/"))) as client:
        assert (await client.get("/health/ready")).status_code == 200
        assert "whatsapp_handed_over_total" in (await client.get("/metrics")).text


async def test_it_counts_connections_of_an_address_itself(system: System) -> None:
    """The gateway has forgotten them; whoever has too many is told when to come again."""
    wires: list[Wire] = []
    try:
        for _ in range(PER_ADDRESS):
            wires.append(await Wire.open(system.stack.port))
            await wires[-1].send(request("/media/tus", "OPTIONS", headers=("Host: 127.0.0.1",)))
            assert (await wires[-1].answer()).status in (200, 204)
        async with await Wire.open(system.stack.port) as wire:
            await wire.send(request("/media/tus", "OPTIONS", headers=("Host: 127.0.0.1",)))
            answer = await wire.answer()
            assert answer.status == 503
            assert answer.header("retry-after") == "1"
            assert answer.problem()["type"].endswith("unavailable")
        async with plain.AsyncClient(base_url=system.http) as client:
            assert (await client.get("/health/live")).status_code == 200
    finally:
        for wire in wires:
            wire.writer.transport.abort()


async def test_one_that_hangs_holds_up_no_gateway(system: System) -> None:
    """Its queue has an end; what does not fit is served where it came, and what was in it when it goes on."""
    pid = system.processes[API] or 0
    os.kill(pid, signal.SIGSTOP)
    wires: list[Wire] = []
    try:
        full = await handed(system, "full")
        while await handed(system, "full") == full:
            assert len(wires) < 4 * PER_ADDRESS, "its queue is longer than that"
            wires.append(await Wire.open(system.stack.port))
            await wires[-1].send(request("/media/tus", "OPTIONS", headers=("Host: 127.0.0.1",)))
        assert (await wires[-1].answer()).status in (200, 204)
        async with await RawSocket.open(system.ws) as opened:
            assert opened.head.startswith("HTTP/1.1 101")
    finally:
        os.kill(pid, signal.SIGCONT)
    for wire in wires[:-1]:
        assert (await wire.answer()).status in (200, 204)
        wire.writer.transport.abort()
    wires[-1].writer.transport.abort()


async def test_its_socket_is_for_its_user_alone(system: System) -> None:
    folder = system.data / "run" / "api"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_download_is_handed_over_too(sender: Sender, system: System) -> None:
    uploader = sender.uploader()
    uploader.upload()
    assert fetched(sender.phone, uploader.url) == sender.data
    link = asked(sender.phone, "GET", f"/media/{uploader.url.rpartition('/')[2]}/content").headers["Location"]
    assert "/media/blobs/" in link
    before = cpu(system, GATEWAY), cpu(system, API)
    for _ in range(10):
        assert len(asked(sender.phone, "GET", link).content) == len(sender.data)
    gateway, api = cpu(system, GATEWAY) - before[0], cpu(system, API) - before[1]
    assert gateway < api / 4, (gateway, api)


def test_it_is_one_of_the_processes_that_are_shown(system: System) -> None:
    told = system.stack.describe()
    assert told["processes"][API]
    assert set(told["gateways"]) == {GATEWAY}
    assert json.dumps(told["metrics"]).count("/metrics") == len(told["metrics"])
    assert API in told["metrics"]


def test_who_moves_the_log_sees_that_it_lives(system: System) -> None:
    """Its views write to the log: while it runs, the log must not go elsewhere (``manage.py move_log``)."""
    with hot_sync.client(system.hot_url) as hot:
        living = {hot.get(key) for key in hot.scan_iter("gw:{*}:alive", count=1_000)}
    assert {GATEWAY.encode(), API.encode()} <= living
