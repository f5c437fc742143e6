"""A gateway joins a running system and one leaves it for good, while people write to each other."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.people import Device
from tests.faults.rig import Rig, meeting
from tests.support.patience import LONG, until

pytestmark = pytest.mark.needs_system


async def test_a_gateway_joins_and_one_leaves_under_load(rig: Rig) -> None:
    stack = rig.system.stack
    async with meeting(rig) as cast:
        stop = asyncio.Event()

        async def chatter(device: Device) -> None:
            while not stop.is_set():
                await device.say(cast.conversation, "x", timeout=LONG)

        async def more(count: int) -> None:
            wanted = len(cast.history.sends) + count
            await until(lambda: len(cast.history.sends) > wanted, f"{count} more sends", LONG)

        talking = [asyncio.create_task(chatter(device)) for device in (cast.ann, cast.phone)]
        await more(50)
        await asyncio.to_thread(stack.join_gateway, "gateway-3")
        three = rig.system.gateways["gateway-3"]["ws"]
        try:
            # Ann moves there; what she and the phone, still at the second, write crosses from the first message on.
            cast.ann.urls = [three]
            await cast.ann.cut()
            await more(100)
            assert cast.ann.alive
            # The second one leaves; the phone is sent away by it and finds the third by itself.
            cast.phone.urls = [rig.two, three]
            leaving = rig.two
            await asyncio.to_thread(rig.system.stop_part, "gateway-2")
            assert 1012 in cast.phone.closes
            await more(100)
            stop.set()
            await asyncio.gather(*talking)
            cast.laptop.urls = [leaving, three]
            await cast.laptop.online()
            await cast.all_here(*cast.devices)
        finally:
            stop.set()
            await asyncio.gather(*talking, return_exceptions=True)
            await asyncio.to_thread(stack.leave_gateway, "gateway-3")
            for device in cast.devices:
                device.urls = [rig.one]
