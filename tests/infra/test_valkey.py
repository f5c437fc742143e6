"""The client of the hot node against a real Valkey: pipelines, errors, lost connections, epochs, the bus (R1, C6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import pytest

from devtools import ports
from tests.gateway.phone import new_id
from tests.infra.parts import started
from tests.support.patience import until
from tests.support.servers import Valkey as Server
from whatsapp.infra.bus import FLIGHT_BYTES, PUBLISH_BYTES, Bus, alive_key
from whatsapp.infra.hot import Hot, parse_epoch
from whatsapp.infra.valkey import Address, BadUrl, HotUnavailable, Script, Valkey


@asynccontextmanager
async def client(server: Server) -> AsyncIterator[Valkey]:
    valkey = Valkey(server.url())
    await valkey.start(wait=True)
    try:
        yield valkey
    finally:
        await valkey.stop()


def restart(server: Server) -> None:
    assert server.child is not None
    server.child.kill()
    server.child.start()
    server.child.wait_ready()


async def test_a_pipeline_is_answered_in_order(own_valkey: Server) -> None:
    key = new_id()
    async with client(own_valkey) as valkey:
        assert await valkey.run([("SET", key, b"\x00\xff"), ("GET", key), ("STRLEN", key)]) == [
            b"OK",
            b"\x00\xff",
            2,
        ]
        many = await asyncio.gather(*[valkey.run([("ECHO", str(n)), ("ECHO", "x")]) for n in range(500)])
        assert [answers[0] for answers in many] == [str(n).encode() for n in range(500)]
        assert await valkey.run([]) == []


async def test_an_error_reply_fails_its_pipeline_only(own_valkey: Server) -> None:
    key = new_id()
    async with client(own_valkey) as valkey:
        first = valkey.run([("SET", key, "text"), ("INCR", key), ("SET", key, "after")])
        second = valkey.run([("GET", key)])
        failed, fine = await asyncio.gather(first, second, return_exceptions=True)
        assert isinstance(failed, hiredis.ReplyError)
        assert fine == [b"after"]


async def test_noscript_falls_back_to_the_text(own_valkey: Server) -> None:
    """A failover answers NOSCRIPT to a whole pipeline; each script runs, and the order of the answers stays."""
    async with client(own_valkey) as valkey:
        script = valkey.add_script(Script("return {KEYS[1], ARGV[1]}"))
        for _ in range(2):
            await valkey.run([("SCRIPT", "FLUSH")])
            answers = await valkey.run([script.call(["a"], [1]), ("ECHO", "x"), script.call(["b"], [2])])
            assert answers == [[b"a", b"1"], b"x", [b"b", b"2"]]


async def test_a_failing_script_is_an_error_reply(own_valkey: Server) -> None:
    async with client(own_valkey) as valkey:
        script = valkey.add_script(Script("return redis.call('INCR', KEYS[1], 'too', 'many')"))
        await valkey.run([("SCRIPT", "FLUSH")])
        with pytest.raises(hiredis.ReplyError):
            await valkey.run([script.call(["a"], [])])


async def test_a_lost_connection_fails_what_waits_and_comes_back(own_valkey: Server) -> None:
    async with client(own_valkey) as valkey:
        waiting = asyncio.ensure_future(valkey.run([("BLPOP", new_id(), 0)]))
        await asyncio.sleep(0)
        await asyncio.to_thread(restart, own_valkey)
        with pytest.raises(HotUnavailable):
            await waiting
        await until(lambda: valkey.connected, "connected again")
        assert await valkey.run([("PING",)]) == [b"PONG"]


@pytest.mark.parametrize("turns", range(4))
async def test_it_stops_also_when_it_was_woken_a_moment_before(own_valkey: Server, turns: int) -> None:
    """``asyncio.wait_for`` of Python 3.11 forgets a cancellation that comes with the result: the keeper would go on, and who
    waits for its end would wait for ever."""
    valkey = Valkey(own_valkey.url())
    await valkey.start(wait=True)
    for _ in range(10):
        await asyncio.sleep(0)  # its keeper waits
    valkey._wake.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    stopping = asyncio.create_task(valkey.stop())
    done, _ = await asyncio.wait([stopping], timeout=10)
    assert valkey._keeper is not None
    valkey._keeper.cancel()
    assert done == {stopping}


async def test_nothing_is_queued_while_the_node_is_away() -> None:
    valkey = Valkey(f"redis://127.0.0.1:{ports.choose()}/0")
    await valkey.start()
    try:
        with pytest.raises(HotUnavailable):
            await valkey.run([("PING",)])
    finally:
        await valkey.stop()
    with pytest.raises(HotUnavailable):
        await valkey.start(wait=True)


async def test_a_wrong_password_is_told(own_valkey: Server) -> None:
    url = own_valkey.url().replace("redis://:", "redis://:wrong")
    with pytest.raises(HotUnavailable, match=r"(?i)wrongpass|invalid"):
        await Valkey(url).start(wait=True)


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "greeting"),
    [
        ("redis://h:1/0", "h", 1, "", []),
        ("redis://:p%40ss@h/2", "h", 6379, "", [("AUTH", "p@ss"), ("SELECT", "2")]),
        ("rediss://u:p@[::1]:7", "::1", 7, "", [("AUTH", "u", "p")]),
        ("unix:///run/v.sock?db=3", None, None, "/run/v.sock", [("SELECT", "3")]),
    ],
)
def test_addresses(url: str, host: Any, port: Any, path: str, greeting: Any) -> None:
    address = Address(url)
    assert (address.path, address.greeting) == (path, greeting)
    if host:
        assert (address.host, address.port) == (host, port)


@pytest.mark.parametrize("url", ["http://h", "h:6379", "redis://h:port", ""])
def test_a_wrong_address_is_told(url: str) -> None:
    with pytest.raises(BadUrl):
        Address(url)


# -- epoch and term ------------------------------------------------------------------------------------------------------------


async def test_r1_a_flush_is_a_new_epoch_and_a_new_term(own_valkey: Server) -> None:
    async with started(Hot(own_valkey.url())) as hot:
        for command in ("FLUSHALL", "FLUSHDB"):
            epoch, term = hot.epoch, hot.term
            begun: list[str] = []
            hot.on_term.append(lambda begun=begun: begun.append(hot.epoch))
            await hot.run([(command,)])
            await until(lambda term=term: hot.term not in (0, term), "the new term", 3)
            assert hot.epoch != epoch
            assert hot.epoch.rsplit(".", 1)[0] == epoch.rsplit(".", 1)[0]  # the run id does not see a flush
            assert begun == [hot.epoch]


async def test_r1_a_restart_is_a_new_epoch(own_valkey: Server) -> None:
    async with started(Hot(own_valkey.url(), channel=new_id())) as hot:
        epoch, term = hot.epoch, hot.term
        await asyncio.to_thread(restart, own_valkey)
        await until(lambda: hot.term not in (0, term), "the new term")
        assert hot.epoch.split(".")[0] != epoch.split(".")[0]


async def test_r6_a_lost_subscription_alone_begins_a_new_term(own_valkey: Server) -> None:
    async with started(Hot(own_valkey.url(), channel=new_id())) as hot, client(own_valkey) as other:
        epoch, term = hot.epoch, hot.term
        await other.run([("CLIENT", "KILL", "TYPE", "PUBSUB")])
        await until(lambda: hot.term not in (0, term), "the new term")
        assert hot.epoch == epoch


def test_r1_what_an_epoch_is_made_of() -> None:
    info = "run_id:{}\r\nmaster_replid:{}\r\ncmdstat_flushall:calls={},x\r\ncmdstat_flushdb:calls={},x\r\n"
    same = parse_epoch(info.format("a" * 40, "b" * 40, 1, 2))
    assert parse_epoch(info.format("a" * 40, "b" * 40, 1, 2).encode()) == same
    others = [
        ("c" * 40, "b" * 40, 1, 2),
        ("a" * 40, "c" * 40, 1, 2),
        ("a" * 40, "b" * 40, 2, 2),
        ("a" * 40, "b" * 40, 1, 3),
    ]
    assert all(parse_epoch(info.format(*other)) != same for other in others)
    with pytest.raises(HotUnavailable):
        parse_epoch("redis_version:9\r\n")


# -- the bus -------------------------------------------------------------------------------------------------------------------


async def test_the_bus_keeps_order_between_two_processes(own_valkey: Server) -> None:
    url = own_valkey.url()
    async with started(Bus(url, new_id())) as one, started(Bus(url, new_id())) as other:
        got: list[Any] = []
        other.subscribe("t", got.append)
        for number in range(2_000):
            one.send(other.process, "t", [number, "ü", b"\xff", None])
            if number % 100 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(got) == 2_000, "all items")
        assert got == [[number, "ü", b"\xff", None] for number in range(2_000)]


async def test_c7_long_items_are_published_apart_and_in_order(
    own_valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = own_valkey.url()
    async with started(Bus(url, new_id())) as one, started(Bus(url, new_id())) as other:
        got: list[Any] = []
        other.subscribe("t", lambda payload: got.append(payload[0]))
        pipelines: list[list[int]] = []
        run = one.hot.run

        async def seen(commands: Any) -> Any:
            pipelines.append([len(command[2]) for command in commands if command[0] == "SPUBLISH"])
            return await run(commands)

        monkeypatch.setattr(one.hot, "run", seen)
        for number in range(200):
            one.send(other.process, "t", [number, b"x" * (30_000 if number % 70 else 1_500_000)])
        await until(lambda: len(got) == 200, "all items")
        assert got == list(range(200))
        published = [length for lengths in pipelines for length in lengths]
        assert all(length <= PUBLISH_BYTES or length < 1_510_000 for length in published)
        assert len([length for length in published if length > PUBLISH_BYTES]) == 3, "each long one is alone"
        assert max(map(sum, pipelines)) <= FLIGHT_BYTES


async def test_an_item_to_the_own_process_needs_no_node(own_valkey: Server) -> None:
    bus = Bus(own_valkey.url(), new_id())  # not started
    got: list[Any] = []
    bus.subscribe("t", got.append)
    bus.send(bus.process, "t", 1)
    assert got == [1]


async def test_a_handler_that_fails_and_foreign_bytes_end_nothing(own_valkey: Server) -> None:
    url = own_valkey.url()
    async with started(Bus(url, new_id())) as one, started(Bus(url, new_id())) as other:
        got: list[Any] = []

        def handler(payload: Any) -> None:
            got.append(payload)
            if payload == 0:
                raise ValueError("no")

        other.subscribe("t", handler)
        await one.hot.run([("SPUBLISH", f"gw:{{{other.process}}}", b"\xc1nonsense")])
        one.send(other.process, "nobody listens", 1)
        one.send(other.process, "t", 0)
        one.send(other.process, "t", 1)
        await until(lambda: got == [0, 1], "both items")


async def test_a_living_process_is_seen_and_a_stopped_one_is_not(own_valkey: Server) -> None:
    async with client(own_valkey) as valkey:
        bus = Bus(own_valkey.url(), new_id())
        async with started(bus):

            async def seen() -> bool:
                return bool((await valkey.run([("GET", alive_key(bus.process))]))[0])

            await until(seen, "it says that it lives")
            await valkey.run([("FLUSHALL",)])
            await until(seen, "and again behind a flush", 3)
        assert await valkey.run([("EXISTS", alive_key(bus.process))]) == [0]


async def test_the_bus_works_again_behind_a_restart(own_valkey: Server) -> None:
    url = own_valkey.url()
    async with started(Bus(url, new_id())) as one, started(Bus(url, new_id())) as other:
        got: list[Any] = []
        other.subscribe("t", got.append)
        terms = one.hot.term, other.hot.term
        await asyncio.to_thread(restart, own_valkey)
        await until(
            lambda: one.hot.term not in (0, terms[0]) and other.hot.term not in (0, terms[1]), "both are back"
        )
        one.send(other.process, "t", "hello")
        await until(lambda: got == ["hello"], "the item")
