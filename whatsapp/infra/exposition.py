"""``GET /metrics``: in front of a gateway's ASGI application, or on a port of its own in a worker or beat. For ports that only
operators reach."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from whatsapp.infra.threads import shown

log = logging.getLogger(__name__)

Message = dict[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
#: Part → whether it works.
Parts = Callable[[], dict[str, bool]]


def with_metrics(application: Application) -> Application:
    async def served(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http" or scope["path"] != "/metrics":
            await application(scope, receive, send)
            return
        headers = [(b"content-type", CONTENT_TYPE_LATEST.encode())]
        # Several milliseconds of text: a thread, so that the loop is held up by no more than the interpreter's switch interval.
        body = await asyncio.get_running_loop().run_in_executor(None, generate_latest)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return served


def serve(host: str, port: int, ready: Parts) -> int:
    """Answer ``/metrics``, ``/health/live`` and ``/health/ready`` from a daemon thread. Returns the port; 0 if it cannot be had,
    which is logged and stops nothing: a worker is worth more than its figures."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest())
            elif self.path == "/health/live":
                self._answer(200, "application/json", b'{"status": "ok"}')
            elif self.path == "/health/ready":
                parts = ready()
                well = all(parts.values())
                missing = [name for name, up in parts.items() if not up]
                body = {"status": "ok" if well else "unavailable", "parts": parts, "missing": missing}
                self._answer(200 if well else 503, "application/json", json.dumps(body).encode())
            else:
                self._answer(404, "application/json", b'{"status": "not found"}')

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """A scrape is no event."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        log.error("no metrics: port %s cannot be had: %s", port, error.strerror)
        return 0
    server.daemon_threads = True
    Thread(target=shown(server.serve_forever), name="metrics", daemon=True).start()
    return int(server.server_address[1])
