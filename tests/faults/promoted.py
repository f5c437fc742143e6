"""Load on a system whose primary is lost: people who chat, and the ledger's crowd."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.faults.ledger import BLOCKED, KEY, REMOVED, SIGNED_OUT, Ledger
from tests.faults.people import Device
from tests.faults.rig import Cast, Rig
from tests.support.patience import until

CROWD = 24  # so that receipts in the group name who has read


class Load:
    """People who chat, and the ledger's crowd, until told to stop."""

    def __init__(self, cast: Cast, ledger: Ledger) -> None:
        self.cast, self.ledger = cast, ledger
        self.stop = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    async def _chat(self, device: Device, conversation: str) -> None:
        while not self.stop.is_set():
            await device.say(conversation, "x", timeout=60)
            await asyncio.sleep(0.02)  # a backlog of hundreds, not of thousands

    @property
    def confirmed(self) -> int:
        """Messages and other things."""
        return sum(1 for sent in self.cast.history.sends if sent.seq) + self.ledger.count()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        cast = self.cast
        self.tasks = [
            asyncio.create_task(self._chat(cast.ann, cast.conversation)),
            asyncio.create_task(self._chat(cast.phone, self.ledger.group)),
            asyncio.create_task(self.ledger.live()),
        ]
        try:
            yield
        finally:
            for task in self.tasks:
                task.cancel()
            _, left = await asyncio.wait(self.tasks, timeout=30)
            assert not left, "the load does not end"

    async def end(self) -> None:
        """Everybody comes to an end in good order."""
        self.stop.set()
        await asyncio.gather(*self.tasks)


async def loaded(rig: Rig, cast: Cast) -> Load:
    ledger = await Ledger.open(rig.system, cast.ann.phone, cast.phone.phone, CROWD)
    cast.history.talk(ledger.group, [cast.ann.phone.user, cast.phone.phone.user])
    return Load(cast, ledger)


async def under_way(load: Load) -> None:
    """Some of everything is confirmed."""
    await until(
        lambda: (
            all(load.ledger.count(kind) > 3 for kind in (KEY, BLOCKED, REMOVED, SIGNED_OUT))
            and len(load.cast.history.sends) > 60
        ),
        "some of everything is confirmed",
        60,
    )


async def goes_on(load: Load) -> None:
    """Until many more messages are confirmed."""
    sends, confirmed = len(load.cast.history.sends), load.confirmed
    await until(
        lambda: len(load.cast.history.sends) > sends + 60 and load.confirmed > confirmed + 60,
        "messages are confirmed again",
        60,
    )
