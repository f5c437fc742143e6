"""A web server on this machine with a few files, for pages that a browser opens."""

from __future__ import annotations

import http.server
from collections.abc import Mapping
from typing import Any


class Pages(http.server.ThreadingHTTPServer):
    """``files``: path → (type, bytes). Who uses it lets a thread ``serve_forever``."""

    def __init__(self, files: Mapping[str, tuple[str, bytes]]) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, body = files.get(self.path, ("text/plain", b""))
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"
