"""A herd: authentications beyond the rate are told when to come again, and are let in when they do (ADR 0116).

The clock of the gateways is moved, so nobody waits for a slot. The twin has no rate."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

from tests.gateway.metrics import metric, scrape
from tests.gateway.peer import Peer
from tests.gateway.phone import Phone, sign_up
from tests.support.stack import System
from whatsapp.wire import frames

BURST = 3
RATE = {"authentications_per_minute": 1, "authentications_burst": BURST, "slot_least_ms": 1_000}
STEP_MS = 60_000 / 0.9
#: Until nobody has a slot and the bucket is full; an access token lives for an hour.
LATER_MS = 600_000
CAP = 4


@contextmanager
def system(**limits: int) -> Iterator[Any]:
    env = {"WHATSAPP_TEST_BUILD": "1", "TRUSTED_PROXIES": "127.0.0.0/8"}
    with System(gateways=1, worker=False, env=env, limits=limits) as running:
        yield Moved(running)


class Moved:
    """A system and its clock."""

    def __init__(self, running: Any) -> None:
        self.running, self.ahead = running, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.running, name)

    def move(self, ms: int) -> None:
        self.ahead += ms
        (self.running.data / "clock_offset").write_text(str(self.ahead))

    async def count(self, kind: str) -> int:
        return await metric(self.running, "gateway-1", f'whatsapp_admissions_total{{kind="{kind}"}}')


@pytest.fixture(scope="module")
def herded() -> Iterator[Any]:
    with system(**RATE) as running:
        yield running


async def came(stack: Any, phone: Phone, codec: str, *, header: bool = False) -> frames.Reconnect | None:
    """Connect; what it was told when it was turned away, None when it got ``ready``."""
    extra = {"Authorization": f"Bearer {phone.token}"} if header else None
    async with await Peer.open(stack.ws, codec=codec, headers=extra) as peer:
        if not header:
            await peer.send(frames.Auth(phone.token))
        got = await peer.take(lambda got: isinstance(got, frames.Ready | frames.Reconnect), "ready or a slot")
        if isinstance(got, frames.Ready):
            return None
        assert isinstance(got, frames.Reconnect), got
        assert await peer.closed() == 1013
        return got


async def full(stack: Any, codec: str) -> None:
    """Move on to when nobody has a slot, and use the burst up."""
    stack.move(LATER_MS)
    phones = await asyncio.gather(*(sign_up(stack) for _ in range(BURST)))
    for phone in phones:
        assert await came(stack, phone, codec) is None


async def test_beyond_the_rate_each_is_told_its_own_slot_and_let_in_when_it_comes(
    herded: Any, codec: str
) -> None:
    phones = await asyncio.gather(*(sign_up(herded) for _ in range(4)))
    await full(herded, codec)
    slots = []
    for number, phone in enumerate(phones):
        told = await came(herded, phone, codec, header=number % 2 == 1)
        assert told is not None
        assert told.reason == "busy"
        slots.append(told.after_ms)
    # One after the other, a little slower than the rate (plus the jitter, minus the time that this took).
    assert 1_000 <= slots[0] <= 1_100
    for earlier, later in pairwise(slots):
        assert STEP_MS - 10_000 < later - earlier <= STEP_MS + 100
    before, passed = await herded.count("slot"), 0
    for phone, slot in zip(phones, slots, strict=True):
        herded.move(slot - passed)
        passed = slot
        assert await came(herded, phone, codec) is None
    assert await herded.count("slot") == before + 4


async def test_newcomers_wait_behind_those_who_wait(herded: Any, codec: str) -> None:
    waiting, newcomer = await asyncio.gather(sign_up(herded), sign_up(herded))
    await full(herded, codec)
    first = await came(herded, waiting, codec)
    second = await came(herded, newcomer, codec)
    assert first is not None
    assert second is not None
    assert second.after_ms > first.after_ms + STEP_MS - 10_000
    herded.move(first.after_ms)
    assert await came(herded, newcomer, codec) is not None
    assert await came(herded, waiting, codec) is None


async def test_who_comes_too_early_keeps_its_place(herded: Any, codec: str) -> None:
    phone = await sign_up(herded)
    await full(herded, codec)
    first = await came(herded, phone, codec)
    again = await came(herded, phone, codec)
    assert first is not None
    assert again is not None
    assert again.after_ms <= first.after_ms + 100
    assert (await scrape(herded.gateways["gateway-1"]["metrics"]))["whatsapp_admission_slots"] == 1


async def test_a_bad_token_gets_no_slot(herded: Any, codec: str) -> None:
    await full(herded, codec)
    before = await herded.count("turned_away")
    async with await Peer.open(herded.ws, codec=codec) as peer:
        await peer.send(frames.Auth("nonsense"))
        await peer.error("unauthenticated")
        assert await peer.closed() == 4401
    assert await herded.count("turned_away") == before


async def test_to_turn_one_away_asks_neither_postgresql_nor_valkey(herded: Any, codec: str) -> None:
    """Both are frozen: an authentication waits for them, the frame and 1013 come all the same."""
    phone = await sign_up(herded)
    await full(herded, codec)
    herded.kill("postgres", signal.SIGSTOP)
    herded.kill("valkey", signal.SIGSTOP)
    try:
        assert await came(herded, phone, codec) is not None
    finally:
        herded.kill("valkey", signal.SIGCONT)
        herded.kill("postgres", signal.SIGCONT)


async def test_a_device_that_comes_too_often_is_told_when_to_come_again() -> None:
    with system(authentications_per_minute=6_000, authentications_per_device=2) as stack:
        often, other = await asyncio.gather(sign_up(stack), sign_up(stack))
        for _ in range(2):
            assert await came(stack, often, "json") is None
        told = await came(stack, often, "json", header=True)
        assert told is not None
        assert 20_000 < told.after_ms <= 30_000
        assert await came(stack, other, "json") is None
        assert await stack.count("device") == 1
        stack.move(told.after_ms)
        assert await came(stack, often, "json") is None


async def test_twin_without_a_rate_all_are_let_in() -> None:
    with system(**{**RATE, "authentications_per_minute": 0}) as stack:
        phones = await asyncio.gather(*(sign_up(stack) for _ in range(8)))
        assert await asyncio.gather(*(came(stack, phone, "json") for phone in phones)) == [None] * 8


async def test_a_gateway_that_is_full_says_so_and_keeps_who_is_there() -> None:
    with system(connections=CAP) as stack:
        phones = await asyncio.gather(*(sign_up(stack) for _ in range(CAP)))
        peers = [await Peer.open(stack.ws, phone) for phone in phones]
        slots = []
        for _ in range(2):
            async with await Peer.open(stack.ws) as over:
                told = await over.expect(frames.Reconnect)
                assert told.reason == "overloaded"
                assert await over.closed() == 1013
                slots.append(told.after_ms)
        assert all(slot >= 5_000 for slot in slots)
        assert await stack.count("cap") == 2
        found = await scrape(stack.gateways["gateway-1"]["metrics"])
        assert found["whatsapp_connections_limit"] == CAP
        for peer in peers:
            assert not peer.is_closed
            await peer.close()


async def test_one_address_does_not_push_away_the_slots_of_others_at_a_full_gateway() -> None:
    """Nobody asks it for a token: its slots would be minutes away soon."""
    slow = {"authentications_per_minute": 60, "slot_most_ms": 300_000}
    with system(connections=1, unauthenticated_per_address=3, **slow) as stack:
        async with await Peer.open(stack.ws, await sign_up(stack)):
            told = []
            for address in [*["198.51.100.1"] * 20, "198.51.100.2"]:
                headers = {"X-Forwarded-For": address}
                async with await Peer.open(stack.ws, headers=headers) as over:
                    told.append((await over.expect(frames.Reconnect)).after_ms)
                    assert await over.closed() == 1013
            assert all(5_000 <= after <= 10_000 for after in told[4:])
            assert told[-1] < 5_000 + 5 * STEP_MS / 60
