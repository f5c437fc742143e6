"""PostgreSQL is killed or stopped while people chat: `unavailable` is retryable, sockets stay, all resumes by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.faults.people import Device
from tests.faults.rig import Rig, meeting
from tests.gateway.metrics import scrape
from tests.support.patience import PATIENCE, until
from whatsapp.wire import frames
from whatsapp.wire.errors import Code

pytestmark = [
    pytest.mark.needs_system,
    pytest.mark.sql_only(
        "it takes PostgreSQL away; cassandra/system, cassandra/chaos and cluster/nodes take nodes away"
    ),
]

Fault = Callable[[Rig], None]


def killed(rig: Rig) -> None:
    rig.system.kill("postgres")


def stopped(rig: Rig) -> None:
    rig.system.stop_part("postgres")


async def back(rig: Rig) -> None:
    """Backends of a killed server may need a moment to end before a new one takes the folder."""
    for _ in range(20):
        try:
            await rig.run("postgres")
            return
        except Exception:
            await asyncio.sleep(0.2)
    await rig.run("postgres")


@pytest.mark.parametrize("fault", [killed, stopped])
async def test_c1_unavailable_and_back(rig: Rig, fault: Fault) -> None:
    async with meeting(rig) as cast:
        await cast.say(3)
        await asyncio.to_thread(fault, rig)
        refused = cast.ann.prepare(cast.conversation, "while it is away")
        assert not await cast.ann.attempt(refused, PATIENCE)
        error = cast.ann.answers[-1]
        assert isinstance(error, frames.Error)
        assert (error.code, error.retryable, error.message_id) == (Code.UNAVAILABLE, True, refused.message_id)
        # A device that comes now is asked to come again; the others stay.
        returning = asyncio.create_task(cast.laptop.online(timeout=60))
        await back(rig)
        await until(lambda: cast.ann.attempt(refused), "the same message has its ✓")
        await cast.say(3)
        await returning
        await cast.all_here(cast.phone, cast.laptop)
        assert not cast.ann.closes, "sockets stay"
        assert not cast.phone.closes, "sockets stay"


async def test_c2_appends_in_flight_have_one_seq(rig: Rig) -> None:
    """Sends over both gateways while the server dies twice: whatever the outcome of an append was, a retry finds it."""
    async with meeting(rig) as cast:
        stop = asyncio.Event()

        async def chatter(device: Device) -> None:
            while not stop.is_set():
                await device.say(cast.conversation, "x", timeout=60)

        await cast.say(5)
        talking = [asyncio.create_task(chatter(device)) for device in (cast.ann, cast.phone)]
        for _ in range(2):
            count = len(cast.history.sends)
            await until(lambda n=count: len(cast.history.sends) > n + 100, "100 more sends", 30)
            rig.system.kill("postgres")
            await back(rig)
        count = len(cast.history.sends)
        await until(lambda: len(cast.history.sends) > count + 100, "100 more sends", 30)
        stop.set()
        await asyncio.gather(*talking)
        await cast.laptop.online()
        assert any(sent.attempts > 1 for sent in cast.history.sends), "the server died under a send"
        await cast.all_here(*cast.devices, timeout=30)
        async with rig.system.stored() as log:
            rows = await log.events(cast.conversation)
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
        assert len({row.message_id for row in rows}) == len(rows)
        assert not cast.ann.closes, "sockets stay"
        assert not cast.phone.closes, "sockets stay"


async def test_c7_the_first_refusal_comes_at_once(rig: Rig) -> None:
    async with meeting(rig) as cast:
        await cast.say(3)
        rig.system.kill("postgres")
        try:
            await cast.ann.attempt(cast.ann.prepare(cast.conversation, "while it is away"), timeout=5)
            assert isinstance(cast.ann.answers[-1], frames.Error)
        finally:
            await back(rig)


async def test_a_server_that_stays_away_is_left_alone_and_taken_back(rig: Rig) -> None:
    """The circuit breaker of the appends opens; one trial after five seconds closes it when the server is back."""

    async def appends(name: str) -> float:
        shown = [await scrape(urls["metrics"]) for urls in rig.system.gateways.values()]
        return sum(
            one.get(f'whatsapp_breaker_{name}{{node="postgresql",operation="append"}}', 0) for one in shown
        )

    async with meeting(rig) as cast:
        await cast.say(1)
        await asyncio.to_thread(killed, rig)
        waiting = cast.ann.prepare(cast.conversation, "again and again")
        while not await appends("refused_total"):
            assert not await cast.ann.attempt(waiting, PATIENCE)
        assert await appends("opened_total") == 1
        assert await appends("state") > 0
        await back(rig)
        await until(lambda: cast.ann.attempt(waiting), "the same message has its ✓", 60)
        assert await appends("state") == 0
        await cast.say(3)
        await cast.all_here(cast.phone)
