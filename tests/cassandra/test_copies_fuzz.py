"""Gateways with bad connections, one without copies, and a hot node that forgets: whatever comes in whatever order, nothing that
was acknowledged is lost or told twice, and readers pass nothing (R18 to R25). ``WHATSAPP_SEED``, ``WHATSAPP_ROUNDS`` for more."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from typing import Any

import pytest

from delivery.store.cassandra import append, claims, judge
from delivery.store.cassandra.session import Cassandra, Row, Statement
from delivery.store.errors import Blocked
from delivery.store.interface import Unavailable
from delivery.store.values import Outcome, PageRequest, Send
from tests.cassandra.hotnode import Gateways, HotNode, gateways, hot_node, short
from tests.contract.people import T0, People, new_id
from whatsapp.infra import clock

__all__ = ["gateways", "hot_node", "short"]  # fixtures

pytestmark = [pytest.mark.usefixtures("short", "hasty"), pytest.mark.slow]

DEVICES, MESSAGES = 4, 12
TOLD = (Outcome.STORED, Outcome.DUPLICATE)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims whose ends a test need not wait for."""
    for module in (append, claims):
        monkeypatch.setattr(module, "CLAIM_MS", 3_000)
    monkeypatch.setattr(claims, "SETTLE_MS", 4_000)
    monkeypatch.setattr(claims, "_LEFT_MS", 500)
    monkeypatch.setattr(append, "_ALIVE_MS", 200)
    for module in (append, judge):
        monkeypatch.setattr(module, "FOLLOWED_MS", 1_000)


class Bad(Cassandra):
    """A session on which any write may be lost, late, slow, or done without a word."""

    chance = random.Random()
    share = 0.0
    late: set[asyncio.Task[Any]] = set()

    async def _badly(self, write: Any) -> Any:
        """``write``: makes the coroutine."""
        chance = self.chance
        if chance.random() >= self.share:
            return await write()
        what = chance.choice(("lost", "late", "slow", "slow", "silent"))
        if what == "slow":
            await asyncio.sleep(chance.uniform(0, 2.5))
            return await write()
        if what == "silent":
            await write()
        elif what == "late":

            async def later() -> None:
                await asyncio.sleep(chance.uniform(0, 2.5))
                await write()

            task = asyncio.ensure_future(later())
            self.late.add(task)
        raise Unavailable(what)

    async def run(self, cql: str, *params: Any) -> None:
        await self._badly(lambda: super(Bad, self).run(cql, *params))

    async def batch(self, statements: Sequence[Statement], *, logged: bool = False) -> None:
        if len(statements) == 1:  # which runs it
            return await self.run(statements[0][0], *statements[0][1])
        return await self._badly(lambda: super(Bad, self).batch(statements, logged=logged))  # type: ignore[no-any-return]

    async def swap(self, cql: str, *params: Any) -> tuple[bool, Row | None]:
        return await self._badly(lambda: super(Bad, self).swap(cql, *params))  # type: ignore[no-any-return]

    async def rows(self, cql: str, *params: Any, serial: bool = False) -> list[Row]:
        if self.chance.random() < self.share / 4:
            await asyncio.sleep(self.chance.uniform(0, 0.5))
        return await super().rows(cql, *params, serial=serial)


class World:
    def __init__(self, stores: list[Any], people: People, node: HotNode, chance: random.Random) -> None:
        self.stores, self.people, self.node, self.chance = stores, people, node, chance
        self.acked: dict[str, int] = {}
        self.read: list[tuple[int, str]] = []
        self.position = 0
        self.going = True

    async def device(self, device: str) -> list[str]:
        """Sends in order, two at a time, each until it has its ✓."""
        sent: list[str] = []
        waiting: list[Send] = []
        number = 0
        while waiting or number < MESSAGES:
            while len(waiting) < 2 and number < MESSAGES:
                number += 1
                waiting.append(self.people.send(device=device, seq_num=number))
                sent.append(waiting[-1].message_id)
            store = self.chance.choice(self.stores)
            try:
                results = (
                    await store.append(new_id(), waiting, self.chance.choice((T0, clock.now_ms())))
                ).results
            except Blocked as blocked:
                results = blocked.results
            except Unavailable:
                await asyncio.sleep(self.chance.uniform(0, 0.3))
                continue
            for one, result in zip(list(waiting), results, strict=True):
                if result is None:
                    continue
                if result.outcome in TOLD:
                    before = self.acked.setdefault(one.message_id, result.seq)
                    assert before == result.seq, f"one message, two numbers: {before} and {result.seq}"
                    waiting.remove(one)
                else:
                    assert result.outcome is Outcome.OUT_OF_ORDER, result
                    assert one is not waiting[0] or one.seq_num == result.expected, (one.seq_num, result)
            await asyncio.sleep(self.chance.uniform(0, 0.05))
        return sent

    async def reader(self) -> None:
        """From where it was, over any gateway."""
        while self.going:
            store = self.chance.choice(self.stores)
            try:
                await self._page(store)
            except Unavailable:
                pass
            await asyncio.sleep(self.chance.uniform(0, 0.1))

    async def _page(self, store: Any) -> bool:
        request = PageRequest(self.people.conversation, self.people.bob, self.position)
        (page,) = await store.pages([request])
        self.read += [(event.seq, event.message_id) for event in page.events]
        self.position = max(self.position, page.through)
        return not page.wait_ms and page.through >= page.head

    async def hot(self) -> None:
        while self.going:
            await asyncio.sleep(self.chance.uniform(0.2, 1.2))
            what = self.chance.choice(("flush", "delete", "freeze"))
            if what == "flush":
                await asyncio.to_thread(self.node.flush)
            elif what == "delete":
                keys = await asyncio.to_thread(self.node.copies, self.people.conversation)
                if keys:
                    with self.node.redis as node:
                        await asyncio.to_thread(node.delete, *keys)
            elif what == "freeze":
                try:
                    (document,) = (await self.stores[-1]._documents.read([self.people.conversation])).values()
                    if document.hot is not None:
                        copies = self.stores[-1]._documents.hot.copies
                        (copy,) = await copies.read([(self.people.conversation, document.hot)])
                        await copies.freeze(self.people.conversation, document.hot, copy.version)
                except (Unavailable, AttributeError):
                    pass


@pytest.mark.parametrize("number", range(int(os.environ.get("WHATSAPP_ROUNDS", "2"))))
async def test_nothing_acknowledged_is_lost_whatever_comes(
    gateways: Gateways, hot_node: HotNode, number: int
) -> None:
    seed = int(os.environ.get("WHATSAPP_SEED", "1")) + number
    chance = random.Random(seed)
    Bad.chance, Bad.share, Bad.late = chance, 0.0, set()
    stores = [await gateways.open(Bad) for _ in range(3)]
    stores[1]._documents.hot.makes = False
    people = await People(stores[0]).meet()
    world = World(stores, people, hot_node, chance)
    Bad.share = 0.15
    beside = [asyncio.ensure_future(world.reader()), asyncio.ensure_future(world.hot())]
    devices = [new_id() for _ in range(DEVICES)]
    sent = await asyncio.gather(*(world.device(device) for device in devices))
    Bad.share = 0.0
    await asyncio.gather(*Bad.late, return_exceptions=True)
    world.going = False
    await asyncio.gather(*beside)
    async with asyncio.timeout(60):
        while True:
            try:
                if await world._page(stores[0]):
                    break
            except Unavailable:
                pass
            await asyncio.sleep(0.1)
    log = world.read
    world.read, world.position = [], 0
    while not await world._page(stores[2]):
        await asyncio.sleep(0.1)
    final = world.read
    assert len(world.acked) == DEVICES * MESSAGES
    assert [seq for seq, _ in final] == sorted({seq for seq, _ in final})
    where: dict[str, list[int]] = {}
    for seq, message_id in final:
        where.setdefault(message_id, []).append(seq)
    assert where == {message_id: [seq] for message_id, seq in world.acked.items()}, f"seed {seed}"
    assert set(final) <= set(log), f"seed {seed}: a reader has passed {set(final) - set(log)}"
    for some in sent:
        seqs = [world.acked[one] for one in some]
        assert seqs == sorted(seqs), f"seed {seed}: not in the order of their device"
