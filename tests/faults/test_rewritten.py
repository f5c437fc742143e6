"""What was emptied in the log is not told from a copy and stays in none, and the server's clock decides what is too late."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.faults.rig import Rig
from tests.gateway.peer import Peer, events_of, fill
from tests.gateway.phone import couple, new_id, sign_up
from tests.support.patience import until
from whatsapp.wire import frames

pytestmark = pytest.mark.needs_system

# A busy machine gives a drain task its turn late; a gateway that has gone on alone by then has no stream to look at.
LIMITS = {"drain_events": 100, "drain_wait_ms": 20_000}
EVENTS = 400
EDITED, DELETED = 250, 350


@asynccontextmanager
async def half_drained(rig: Rig, *, killed: bool = False) -> AsyncIterator[tuple[Any, Any, Peer, str]]:
    """Bob reads a long backlog: he has the first batch, and the rest waits in the stream. Then Ann edits and deletes in it.
    ``killed``: Bob's gateway was killed before."""
    ann, bob, conversation = await couple(rig.system)
    carl = await sign_up(rig.system)
    elsewhere = await ann.direct(carl)
    async with (
        await Peer.open(rig.one, ann) as a,
        await Peer.open(rig.two if killed else rig.one, bob, "protobuf", sync=False) as b,
        await Peer.open(rig.one, carl) as c,
    ):
        await fill(a, conversation, EVENTS, lambda n: f"first {n}")
        async with rig.system.stored() as log:
            stored = {one.seq: one.message_id for one in await log.events(conversation)}
        ids = {n: stored[n] for n in (EDITED, DELETED)}
        await b.send(frames.Sync())
        batch = await b.expect(frames.SyncBatch)
        (key,) = await until(
            lambda: list(rig.hot.scan_iter(f"{{{bob.user}}}:drain:*", count=1000)), "a stream is there"
        )
        await until(lambda: rig.hot.xlen(key) >= EVENTS // 100, "the task has written all")
        if killed:
            rig.system.kill("gateway-2")
            await b.closed()
        usual = {"conversation_id": conversation, "timestamp": 1}
        for frame in (
            frames.EditMessage(
                **usual, message_id=new_id(), target_id=ids[EDITED], encrypted_content=b"second"
            ),
            frames.DeleteMessage(**usual, message_id=new_id(), target_id=ids[DELETED]),
        ):
            assert isinstance(await a.ask(frame), frames.StatusUpdate)
        await a.say(elsewhere, "fence")
        await c.expect(frames.Message)  # told after the delete was, in the same process
        yield key, batch, b, conversation


def contents(events: list[Any]) -> dict[int, Any]:
    return {e.seq: e.encrypted_content for e in events if isinstance(e, frames.Message)}


async def a_delete_reaches_what_was_drained(rig: Rig) -> None:
    async with half_drained(rig) as (key, batch, b, conversation):
        await b.ack(conversation, batch.through)
        events = [*batch.events, *events_of(await b.batches())]
        assert [e.seq for e in events] == list(range(1, EVENTS + 3))
        assert contents(events)[EDITED] == b"second"
        assert contents(events)[DELETED] is None
        assert [(e.kind, e.seq) for e in events[-2:]] == [("edit", EVENTS + 1), ("delete", EVENTS + 2)]
        assert not rig.hot.exists(key)


async def test_a_delete_reaches_what_was_drained(rig: Rig) -> None:
    await a_delete_reaches_what_was_drained(rig)


async def test_twin_a_copy_is_forwarded_as_it_was(rig: Rig) -> None:
    with rig.off("rewritten", "drained"), pytest.raises(AssertionError, match=f"first {EDITED}"):
        await a_delete_reaches_what_was_drained(rig)


async def no_copy_is_left(rig: Rig) -> None:
    async with half_drained(rig, killed=True) as (key, _, _, _):
        kept = [value for _, fields in rig.hot.xrange(key) for value in fields.values()]
        for emptied in (EDITED, DELETED):
            assert not any(b"first %d" % emptied in value for value in kept), "it lies there"


async def test_no_copy_is_left_when_its_gateway_is_dead(rig: Rig) -> None:
    try:
        await no_copy_is_left(rig)
    finally:
        await rig.repair()


async def test_twin_a_copy_is_left_when_its_gateway_is_dead(rig: Rig) -> None:
    try:
        with rig.off("drained"), pytest.raises(AssertionError, match="it lies there"):
            await no_copy_is_left(rig)
    finally:
        await rig.repair()


async def test_windows_go_by_the_servers_clock(rig: Rig) -> None:
    ann, _bob, conversation = await couple(rig.system)
    async with await Peer.open(rig.one, ann) as a:
        sent = await a.say(conversation, timestamp=1 << 50)  # the client's clock counts for nothing
        usual: dict[str, Any] = {"conversation_id": conversation, "target_id": sent.message_id}
        minute = 60_000

        async def edit(timestamp: int) -> Any:
            return await a.ask(
                frames.EditMessage(**usual, message_id=new_id(), encrypted_content=b"x", timestamp=timestamp)
            )

        async def delete() -> Any:
            return await a.ask(frames.DeleteMessage(**usual, message_id=new_id(), timestamp=1))

        try:
            rig.move_clock(14 * minute)
            assert (await edit(1 << 50)).status == "sent"
            rig.move_clock(15 * minute + 1)
            assert (await edit(sent.timestamp or 0)).code == "window_expired"
            rig.move_clock(48 * 60 * minute + 1)
            assert (await delete()).code == "window_expired"
            rig.move_clock(47 * 60 * minute)
            assert (await delete()).status == "sent"
        finally:
            await rig.repair()
