"""The broker dies while a task is under way that is not acknowledged: the worker connects again, and the same process goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from delivery.lanes import lane_of, lease_key
from tests.faults.history import History
from tests.faults.people import Device
from tests.faults.rig import Rig, grow_up
from tests.gateway.phone import sign_up
from tests.groups.test_sockets import make
from tests.support.patience import LONG, until
from tests.support.stack import System

pytestmark = pytest.mark.needs_system


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with System(env={"WHATSAPP_TEST_BUILD": "1"}, fanout=True) as system:
        yield Rig(system)


@asynccontextmanager
async def busy(rig: Rig) -> AsyncIterator[Device]:
    """Somebody writes to a group all the time, so that the task of its lane does not end. Who reads has everything when they are
    through."""
    phones = [await sign_up(rig.system) for _ in range(2)]
    group = await make(*phones)
    await grow_up(rig, [phone.user for phone in phones])
    history = History()
    history.talk(group, [phone.user for phone in phones])
    devices = [Device(history, phone, [rig.one, rig.two]) for phone in phones]
    await asyncio.gather(*[device.online() for device in devices])
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            await devices[0].say(group, "on and on", timeout=LONG)

    writing = asyncio.create_task(write())
    try:
        await until(
            lambda: devices[1].got > 20 and rig.hot.exists(lease_key(lane_of(group))), "the lane is busy"
        )
        yield devices[1]
        stop.set()
        await writing
        await until(lambda: not history.missing(devices[1].id), "everything is here", LONG)
        history.check()
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await asyncio.gather(*[device.leave() for device in devices], return_exceptions=True)
        await rig.repair()


async def test_a_worker_outlives_its_broker(rig: Rig) -> None:
    async with busy(rig) as reader:
        worker = rig.system.processes["fanout-1"]
        for _ in range(3):
            rig.system.kill("valkey")
            await until(lambda: "Connection to broker lost" in rig.system.log("fanout-1"), "it has noticed")
            await rig.run("valkey")
            got = reader.got
            await until(lambda n=got: reader.got > n + 20, "the lane goes on", LONG)
        assert rig.system.processes["fanout-1"] == worker


async def test_a_worker_outlives_a_broker_that_is_full(rig: Rig) -> None:
    """As when its disk is: every write is refused, and what is read is answered."""
    async with busy(rig) as reader:
        worker = rig.system.processes["fanout-1"]
        rig.hot.config_set("maxmemory", 1)
        try:
            await until(lambda: "Connection to broker lost" in rig.system.log("fanout-1"), "it has noticed")
        finally:
            rig.hot.config_set("maxmemory", 0)
        got = reader.got
        await until(lambda: reader.got > got + 20, "the lane goes on", LONG)
        assert rig.system.processes["fanout-1"] == worker


async def test_twin_without_it_the_worker_ends(rig: Rig) -> None:
    async with busy(rig):
        with rig.off("broker"):
            rig.system.kill("valkey")
            await rig.died("fanout-1")
        await rig.run("valkey")
        await rig.run("fanout-1")
