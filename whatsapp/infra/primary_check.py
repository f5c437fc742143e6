"""What a balancer asks beside each PostgreSQL server: ``GET /primary`` is 200 if that server proves that it is the primary now,
else 503.

``PRIMARY_CHECK_URL`` names the server, ``PRIMARY_CHECK_BIND`` (``127.0.0.1:8008``) where this listens. A server that hangs, that
no standby follows any more or that is a standby proves nothing. ``docker/haproxy-postgres.cfg`` asks every second.
"""

from __future__ import annotations

import logging
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import psycopg

from whatsapp.infra.postgres import KEEPALIVE, parameters
from whatsapp.infra.primary import Connection

log = logging.getLogger(__name__)

PATIENCE_S: Final = 2


def proves(url: str) -> bool:
    """Whether the server gives a proof within :data:`PATIENCE_S`."""
    told = {**parameters(url), **KEEPALIVE, "connect_timeout": PATIENCE_S}
    try:
        Connection.connect(**told).close()
    except psycopg.Error as error:
        log.info("not the primary: %s", type(error).__name__)
        return False
    return True


class Handler(BaseHTTPRequestHandler):
    url = ""

    def do_GET(self) -> None:
        asked = self.path == "/primary"
        self.send_response((200 if proves(self.url) else 503) if asked else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: it is asked every second."""


def serve(url: str, bind: str) -> None:
    host, _, port = bind.rpartition(":")
    Handler.url = url
    ThreadingHTTPServer((host, int(port)), Handler).serve_forever()


if __name__ == "__main__":
    serve(os.environ["PRIMARY_CHECK_URL"], os.environ.get("PRIMARY_CHECK_BIND", "127.0.0.1:8008"))
