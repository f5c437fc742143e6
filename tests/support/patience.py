"""How tests wait, and how long for what comes at once on an idle machine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from tests.support.cassandra import on_cassandra

#: Seconds. A slow machine is slow; what never comes fails after so many. A node of Cassandra that shares the processors with the
#: tests may collect its garbage for seconds, and answer what it got before later still.
PATIENCE: Final = 60.0 if on_cassandra() else 20.0
#: For what the start of a process, or all that several devices have missed, stands before.
LONG = 4 * PATIENCE


async def until(check: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
    """Wait for ``check()`` (or what it awaits) to be true; returns its value."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        found = check()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        if loop.time() > deadline:
            raise AssertionError(f"after {timeout:.0f} s still not: {what}")
        await asyncio.sleep(0.01)
