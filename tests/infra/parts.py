"""Parts of a process that hold connections to the hot nodes, started for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.patience import until
from whatsapp.infra.bus import Bus


@asynccontextmanager
async def started(part: Any) -> AsyncIterator[Any]:
    """A Hot, of one node or of a cluster, or a Bus; ready when the first term of each node has begun."""
    await part.start()
    hot = part.hot if isinstance(part, Bus) else part
    try:
        await until(lambda: hot.available, "the first term")
        yield part
    finally:
        await part.stop()
