"""The people of the fault tests themselves: they end when they are told to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.gateway.peer import Peer
from whatsapp.wire.codec import JSON


class Silent:
    """A socket on which nothing comes."""

    close_code = None

    def __aiter__(self) -> Silent:
        return self

    async def __anext__(self) -> Any:
        await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("turns", range(4))
async def test_who_waits_for_a_frame_ends_when_cancelled_as_another_comes(turns: int) -> None:
    """Else whoever sends without end goes on for ever, and the test that waits for them hangs: so the twin without synchronous
    replication did, once in a while."""
    peer = Peer(Silent(), JSON, None)  # type: ignore[arg-type]
    waiting = asyncio.create_task(peer.take(lambda frame: False, timeout=3600))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    peer._news.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.cancel()
    done, _ = await asyncio.wait([waiting], timeout=10)
    waiting.cancel()
    peer._reader.cancel()
    assert done == {waiting}
    assert waiting.cancelled()
