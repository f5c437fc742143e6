"""C6: Valkey is killed, flushed, or put back from a stale copy while people chat. Nothing is lost or reordered.

Each with one device connected and one offline. The twins take away what holds it: the marker, progress per epoch, the
opening of sessions on a new epoch.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.faults.history import LOST
from tests.faults.rig import Cast, Rig, meeting, stays
from tests.support.cassandra import copies_are_on, on_cassandra
from tests.support.patience import until

pytestmark = pytest.mark.needs_system

REPLAY_WINDOW_MS = 600_000
PATIENCE_S = 40.0


async def killed(rig: Rig, cast: Cast) -> None:
    """Killed, away while people go on, started again."""
    rig.system.kill("valkey")
    await cast.say(5)
    await rig.run("valkey")


async def flushed(rig: Rig, cast: Cast) -> None:
    """FLUSHALL of the living server: run id and replication id stay."""
    rig.hot.flushall()
    await cast.say(5)


async def restored(rig: Rig, cast: Cast) -> None:
    """Its append-only file is copied, 50 more messages are sent, it is killed, the copy put back and started."""
    folder: Path = rig.system.hot_folder
    copy = folder.with_name("valkey-copy")
    shutil.rmtree(copy, ignore_errors=True)
    await asyncio.to_thread(shutil.copytree, folder, copy)
    await cast.say(50)
    rig.system.kill("valkey")
    await cast.say(5)
    shutil.rmtree(folder)
    copy.rename(folder)
    await rig.run("valkey")


FAULTS = [killed, flushed, restored]
Fault = Callable[[Rig, Cast], Awaitable[None]]


@pytest.mark.parametrize("fault", FAULTS)
async def test_c6_loses_and_reorders_nothing(rig: Rig, fault: Fault) -> None:
    async with meeting(rig) as cast:
        await cast.say(3)
        await fault(rig, cast)
        await cast.say(3)
        await cast.all_here(cast.phone)
        await cast.laptop.online()
        await cast.all_here(cast.phone, cast.laptop)
        # Both directions, live again.
        await cast.phone.say(cast.conversation, "and back")
        await cast.all_here(*cast.devices)
        assert not cast.ann.closes, "sockets stay"
        assert not cast.phone.closes, "sockets stay"
        assert all(sent.attempts == 1 for sent in cast.history.sends), "every send had its ✓ at once"


async def test_c6_frozen(rig: Rig) -> None:
    """It answers nobody, and no connection ends; then it goes on. Whoever has copies there (``--store cassandra``) goes on
    without them."""
    async with meeting(rig) as cast:
        await cast.say(3)
        if on_cassandra() and copies_are_on():
            assert list(rig.hot.scan_iter(f"document:{{{cast.conversation}}}:*")), "it has a copy"
        rig.system.kill("valkey", signal.SIGSTOP)
        await cast.say(5, timeout=PATIENCE_S)
        rig.system.kill("valkey", signal.SIGCONT)
        await cast.say(3, timeout=PATIENCE_S)
        await cast.all_here(cast.phone, timeout=PATIENCE_S)
        await cast.laptop.online()
        await cast.all_here(cast.phone, cast.laptop, timeout=PATIENCE_S)


@pytest.mark.parametrize("fault", FAULTS)
async def test_c6_twice_in_a_row(rig: Rig, fault: Fault) -> None:
    """The second time comes before anybody has recovered from the first."""
    async with meeting(rig) as cast:
        await fault(rig, cast)
        await fault(rig, cast)
        await cast.all_here(cast.phone)
        await cast.laptop.online()
        await cast.all_here(cast.phone, cast.laptop)


async def test_c6_a_device_opens_and_reads_while_it_is_away(rig: Rig) -> None:
    """Served from the store; live again, and marked again, once the hot node is back."""
    async with meeting(rig) as cast:
        rig.system.kill("valkey")
        await cast.say(3)
        await cast.laptop.online()
        assert not cast.history.missing(cast.laptop.id)
        await cast.say(3)
        await rig.run("valkey")
        await cast.all_here(cast.phone, cast.laptop)
        await cast.laptop.leave()
        await cast.say(2)
        await cast.laptop.online()
        await cast.all_here(cast.phone, cast.laptop)


async def test_h1_flush_while_nobody_is_connected(rig: Rig) -> None:
    """A first message to somebody who is offline; then everything hot is gone."""
    async with meeting(rig) as cast:
        await cast.phone.leave()
        await cast.say()
        rig.hot.flushall()
        await asyncio.gather(cast.phone.online(), cast.laptop.online())
        await cast.all_here(cast.phone, cast.laptop)


async def older_than_the_window(rig: Rig, cast: Cast) -> None:
    """A message whose outbox row no replay looks at any more, and a flush."""
    await cast.say()
    await until(lambda: cast.marks(rig, cast.laptop), "the laptop is marked")
    await until(lambda: done(rig, cast), "the row is done, durably")
    rig.move_clock(REPLAY_WINDOW_MS + 60_000)
    rig.hot.flushall()


async def done(rig: Rig, cast: Cast) -> bool:
    """Whether a watermark stands at the outbox row of the newest message."""
    async with rig.system.stored() as log:
        rows = await log.announced(cast.conversation)
    return bool(rows) and max(rows, key=lambda one: one.seq).done


async def test_r5_marker_finds_what_no_replay_marks(rig: Rig) -> None:
    async with meeting(rig) as cast:
        await older_than_the_window(rig, cast)
        await cast.laptop.online()
        assert cast.laptop.ready is not None
        assert cast.laptop.ready.sync_required
        await cast.all_here(cast.laptop)


async def test_r5_twin_without_marker(rig: Rig) -> None:
    async with meeting(rig) as cast:
        with rig.off("marker", "check", "reopen"):
            await older_than_the_window(rig, cast)
            await cast.laptop.online()
            assert cast.history.kinds(cast.laptop.id) == {LOST}


async def flushed_with_a_mark(rig: Rig, cast: Cast) -> None:
    await cast.say()
    await until(lambda: done(rig, cast), "the row is done, durably")
    rig.hot.flushall()


async def test_r2_r4_replay_marks_again(rig: Rig) -> None:
    """A living writer sees the new epoch and marks its own rows again: even without a marker nothing is lost."""
    async with meeting(rig) as cast:
        with rig.off("marker"):
            await flushed_with_a_mark(rig, cast)
            await until(lambda: cast.marks(rig, cast.laptop), "the laptop is marked again")
            await cast.laptop.online()
            await cast.all_here(cast.laptop)


async def test_r2_twin_without_progress_per_epoch(rig: Rig) -> None:
    """A watermark that counts under any epoch: nobody marks again."""
    async with meeting(rig) as cast:
        with rig.off("marker", "epoch_progress"):
            await cast.say(2)  # from here on the watermark is kept without its epoch
            await flushed_with_a_mark(rig, cast)
            await stays(lambda: not cast.marks(rig, cast.laptop), "somebody marked again", 3.0)
            await cast.laptop.online()
            assert cast.history.kinds(cast.laptop.id) == {LOST}


async def test_r7_twin_without_opening_again(rig: Rig) -> None:
    """The records of the sessions went with the flush; without opening again (and without the check, which would) nobody
    publishes to the phone any more."""
    async with meeting(rig) as cast:
        with rig.off("reopen", "check"):
            rig.hot.flushall()
            await cast.say()
            await stays(lambda: cast.history.missing(cast.phone.id), "the phone heard of it", 3.0)
            assert cast.history.kinds(cast.phone.id) == {LOST}
        await cast.all_here(cast.phone, timeout=70)
