"""A way to a server on which bytes change, or which breaks off."""

from __future__ import annotations

import socket
import threading
import time
from typing import Self

#: A run of these is changed on its way to the server when told so.
MARK = b"UNCHANGED"
CHANGED = b"unchanged"


class Wire:
    """A TCP proxy in threads. ``tamper``: change what is sent; ``cuts``: answers of which so many bytes pass, one connection
    each, before it breaks off; ``pace_s``: so long each 64 KiB take on their way to the server."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.pace_s = 0.0
        self.tamper = False
        self.cuts: list[int] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536
        )  # else it takes whole parts at once
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            far = socket.create_connection(("127.0.0.1", self._target))
            limit = self.cuts.pop(0) if self.cuts else None
            threading.Thread(target=self._pump, args=(near, far, None, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, limit, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, limit: int | None, there: bool) -> None:
        try:
            while data := source.recv(65_536):
                if there and self.pace_s:
                    time.sleep(self.pace_s)
                if there and self.tamper:
                    data = data.replace(MARK, CHANGED)
                if limit is not None:
                    data = data[:limit]
                    limit -= len(data)
                target.sendall(data)
                if limit == 0:
                    break
        except OSError:
            pass
        for one in (source, target):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
