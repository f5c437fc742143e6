"""Long backlogs (C4): the worker is killed in its drain, is late, loses its stream; the gateway goes on alone."""

from __future__ import annotations

import signal

import pytest

from delivery.store.interface import Unavailable
from delivery.store.values import Appended, Send
from tests.faults.history import Sent
from tests.faults.rig import Cast, Rig, meeting, stays
from tests.gateway.phone import new_id
from tests.support.cassandra import on_cassandra
from tests.support.patience import LONG, until
from whatsapp.infra import clock

pytestmark = pytest.mark.needs_system

BATCH = 500
#: How long a gateway waits for a task: one that has gone on alone too early has no stream that a test could look at.
WAIT_S = 20.0 if on_cassandra() else 2.0
LIMITS = {"drain_wait_ms": int(1000 * WAIT_S)}


async def backlog(rig: Rig, cast: Cast, count: int) -> None:
    """``count`` messages of Ann that Bob's laptop has not got; written at the store by a process that is gone, so that the
    sweep marks them. Bob's phone is away."""
    await cast.phone.leave()
    writer = new_id()
    async with rig.system.stored() as log:

        async def append(wave: list[Sent]) -> list[Appended]:
            try:
                return list(
                    (await log.store.append(writer, [send_of(sent) for sent in wave], clock.now_ms())).results
                )
            except Unavailable:  # it took longer than a store may; what is there is a duplicate the next time
                return []

        for start in range(0, count, BATCH):
            wave = [cast.ann.prepare(cast.conversation, f"{start + i}".ljust(300)) for i in range(BATCH)]
            results = await until(lambda wave=wave: append(wave), "a wave is stored", LONG)
            for sent, result in zip(wave, results, strict=True):
                sent.seq = result.seq
    await until(lambda: cast.marks(rig, cast.laptop).get(cast.conversation.encode()) == count + 3, "marked")


def send_of(sent: Sent) -> Send:
    return Send(
        sent.conversation, sent.user, sent.device, sent.message_id, "text", sent.content, b"\0" * 16, 1
    )


def streams(rig: Rig, cast: Cast) -> list[bytes]:
    return list(rig.hot.scan_iter(f"{{{cast.laptop.phone.user}}}:drain:*", count=1000))


async def in_the_stream(rig: Rig, cast: Cast) -> bytes:
    """Until the task has written a batch."""

    def written() -> list[bytes]:
        return [
            s for s in streams(rig, cast) if any(b"c" in entry for _, entry in rig.hot.xrange(s, count=2))
        ]

    (stream,) = await until(written, "the task writes")
    return stream


async def test_c4_worker_killed_in_the_drain(rig: Rig) -> None:
    async with meeting(rig) as cast:
        await backlog(rig, cast, 10_000)
        cast.laptop.acking = False
        await cast.laptop.connect()
        stream = await in_the_stream(rig, cast)
        rig.system.kill("worker-1")
        ((_, last),) = rig.hot.xrevrange(stream, count=1)
        assert last[b"c"], "killed before the task had written all"
        await cast.laptop.ack_all()
        await cast.all_here(cast.laptop, timeout=LONG)
        assert cast.laptop.got == 10_003


async def test_c4_pool_child_killed_in_the_drain(rig: Rig) -> None:
    """The task comes again in another child, out of step with the gateway."""
    async with meeting(rig) as cast:
        await backlog(rig, cast, 2_000)
        rig.arm("drain-batch")
        await cast.laptop.connect()
        await cast.all_here(cast.laptop, timeout=LONG)
        assert not rig.armed("drain-batch")
        assert rig.system.processes["worker-1"] is not None


async def test_c4_late_worker(rig: Rig) -> None:
    async with meeting(rig) as cast:
        await backlog(rig, cast, 2_000)
        rig.system.kill("worker-1", signal.SIGSTOP)
        await cast.laptop.connect()
        await cast.all_here(cast.laptop, timeout=LONG)


async def test_c4_twin_gateway_that_waits_for_the_worker(rig: Rig) -> None:
    async with meeting(rig) as cast:
        await backlog(rig, cast, 2_000)
        with rig.off("drain_wait"):
            rig.system.kill("worker-1", signal.SIGSTOP)
            await cast.laptop.connect()
            await stays(lambda: cast.laptop.got == 3, "the gateway went on", 1.5 * WAIT_S)
        await cast.all_here(cast.laptop, timeout=LONG)


async def test_c6_stream_lost_in_the_drain(rig: Rig) -> None:
    async with meeting(rig) as cast:
        await backlog(rig, cast, 2_000)
        await cast.laptop.connect()
        await until(lambda: cast.laptop.got > 500, "some batches are here")
        rig.hot.flushall()
        await cast.all_here(cast.laptop, timeout=LONG)


async def test_c4_gateway_and_worker_killed(rig: Rig) -> None:
    async with meeting(rig) as cast:
        await backlog(rig, cast, 10_000)
        cast.laptop.urls = [rig.one, rig.two]
        await cast.laptop.connect()
        await until(lambda: cast.laptop.got > 1_000, "some batches are here")
        rig.system.kill("worker-1")
        rig.system.kill("gateway-1")
        assert cast.laptop.got < 10_003
        await until(lambda: not cast.laptop.alive, "the socket ends")
        await cast.laptop.connect()
        await cast.all_here(cast.laptop, timeout=LONG)
        assert cast.laptop.seen.repeats < 5_000, "it goes on from what was acknowledged a moment before"
