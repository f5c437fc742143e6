"""C5: a receipt never passes what a device acknowledged, and the history's own check of that can fail."""

from __future__ import annotations

import pytest

from tests.faults.history import DISHONEST
from tests.faults.rig import Cast, Rig, meeting
from tests.support.patience import until
from whatsapp.wire import frames
from whatsapp.wire.errors import Code

pytestmark = pytest.mark.needs_system


async def read_without_an_ack(rig: Rig, cast: Cast) -> None:
    """Bob's phone gets a message, does not acknowledge it, and says that it is read."""
    cast.phone.acking = False
    await cast.say()
    await cast.all_here(cast.phone)
    assert cast.phone.peer is not None
    await cast.phone.peer.read(cast.conversation, cast.history.sends[-1].seq)


async def test_c5_read_above_the_ack_is_refused(rig: Rig) -> None:
    async with meeting(rig) as cast:
        await read_without_an_ack(rig, cast)
        assert cast.phone.peer is not None
        await cast.phone.peer.error(Code.BAD_REQUEST)
        await cast.phone.ack_all()
        await cast.phone.peer.read(cast.conversation, cast.history.sends[-1].seq)
        assert cast.ann.peer is not None
        await until(lambda: told(cast) == cast.history.sends[-1].seq, "Ann hears that it was read")
        cast.history.check(cast.phone.id)


async def test_c5_twin_without_the_receipt_rule(rig: Rig) -> None:
    async with meeting(rig) as cast:
        with rig.off("receipt_rule"):
            await read_without_an_ack(rig, cast)
            await until(lambda: told(cast) == cast.history.sends[-1].seq, "Ann hears that it was read")
            assert cast.history.kinds(cast.phone.id) == {DISHONEST}


def told(cast: Cast) -> int:
    """How far Ann was told that Bob has read."""
    assert cast.ann.peer is not None
    updates = [f for f in cast.ann.peer.log if isinstance(f, frames.StatusUpdate) and f.status == "read"]
    return max((update.up_to or 0 for update in updates), default=0)
