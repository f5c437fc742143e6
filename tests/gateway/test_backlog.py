"""Long backlogs, which go by the Celery task and arrive as if they did not (C3, C4, C7)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.metrics import metric
from tests.gateway.peer import Peer, events_of, fill, texts
from tests.gateway.phone import Runs, couple, link, sign_up
from tests.gateway.test_amendments import done, edit
from tests.support.stack import System
from whatsapp.wire import frames

EVENTS = 10_000


async def test_ten_thousand_events_arrive_in_order_by_the_drain_task(stack: Runs, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    url = stack.gateways["gateway-1"]["ws"]
    async with await Peer.open(url, ann, codec) as a:
        await fill(a, conversation, EVENTS)
    parts = await metric(stack, "gateway-1", 'whatsapp_drains_total{kind="part"}')
    async with await Peer.open(url, bob, codec, sync=False) as b:
        await b.send(frames.Sync())
        got: list[Any] = []
        left = EVENTS
        while left:
            batch = await b.expect(frames.SyncBatch)
            assert len(batch.events) <= 100
            assert batch.through == batch.events[-1].seq
            got += batch.events
            left = EVENTS - len(got)
            assert batch.remaining == left
            if len(got) in (100, 5_000):  # withheld: nothing more
                for _ in range(3):
                    await b.round_trip()
                assert not b.waiting()
            await b.ack(conversation, batch.through)
        await b.expect(frames.SyncComplete)
        assert [event.seq for event in got] == list(range(1, EVENTS + 1))
        assert texts(got) == [str(number) for number in range(1, EVENTS + 1)]
        assert max(b.sizes) <= 512 * 1024
    assert await metric(stack, "gateway-1", 'whatsapp_drains_total{kind="part"}') > parts


async def test_live_events_join_a_backlog_that_is_drained(stack: Runs, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    carl = await sign_up(stack)
    other = await carl.direct(bob)
    async with await Peer.open(stack.ws, ann, codec) as a, await Peer.open(stack.ws, carl, codec) as c:
        await fill(a, conversation, 1_200)
        async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
            await b.send(frames.Sync())
            batch = await b.expect(frames.SyncBatch)
            await fill(a, conversation, 50, lambda n: f"live {n}")
            await c.say(other, "elsewhere")
            await b.ack(conversation, batch.through)
            got = [*batch.events, *events_of(await b.batches())]
            there = [event for event in got if event.conversation_id == conversation]
            assert [event.seq for event in there] == list(range(1, 1_251))
            assert texts([e for e in got if e.conversation_id == other]) == ["elsewhere"]


@pytest.fixture(scope="module")
def workerless() -> Iterator[Any]:
    with System(gateways=1, worker=False, limits={"drain_events": 150, "drain_wait_ms": 300}) as system:
        yield system


@pytest.mark.needs_system
async def test_without_a_worker_the_gateway_reads_on_alone(workerless: Any, codec: str) -> None:
    ann, bob, conversation = await couple(workerless)
    late = await metric(workerless, "gateway-1", 'whatsapp_drains_total{kind="late"}')
    async with await Peer.open(workerless.ws, ann, codec) as a:
        await fill(a, conversation, 450)
    async with await Peer.open(workerless.ws, bob, codec, sync=False) as b:
        batches = await b.sync()
        assert [event.seq for event in events_of(batches)] == list(range(1, 451))
        assert [batch.remaining for batch in batches] == [350, 250, 150, 50, 0]
    assert await metric(workerless, "gateway-1", 'whatsapp_drains_total{kind="late"}') == late + 1


async def test_a_backlog_that_begins_with_superseded_edits(stack: Runs) -> None:
    ann, bob, conversation = await couple(stack)
    url = stack.gateways["gateway-1"]["ws"]
    async with await Peer.open(url, ann) as a:
        sent = await a.say(conversation, "v0")
        await asyncio.gather(*[done(a, edit(conversation, sent.message_id, f"v{n}")) for n in range(1, 251)])
        await fill(a, conversation, 600)
    async with await Peer.open(url, bob, sync=False) as b:
        got = events_of(await b.sync({conversation: 0}, limit=100))
        assert [event.seq for event in got] == [1, *range(251, 852)]
        assert got[0].encrypted_content == b"v250"
    async with await Peer.open(url, await link(bob), sync=False) as b:
        got = events_of(await b.sync({conversation: 1}, limit=100))
        assert [event.seq for event in got] == list(range(251, 852))
