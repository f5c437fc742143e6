"""The gateway's own HTTP and WebSocket server around an application of a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from uvicorn.server import ServerState

from whatsapp.infra.http import Http
from whatsapp.serve import _config, _listen


@asynccontextmanager
async def listening(
    application: Any,
    state: ServerState | None = None,
    app_state: dict[str, Any] | None = None,
    http: type[Http] = Http,
) -> AsyncIterator[int]:
    """Its port on 127.0.0.1. At the end nobody is let in any more, and what is in ``state.connections`` is cut."""
    state = state or ServerState()
    listener = _listen("127.0.0.1", 0, shared=False)
    config = _config(application, http)
    config.load()
    server = await asyncio.get_running_loop().create_server(
        lambda: config.http_protocol_class(config=config, server_state=state, app_state=app_state or {}),  # type: ignore[call-arg]
        sock=listener,
    )
    try:
        yield listener.getsockname()[1]
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()  # type: ignore[union-attr]
