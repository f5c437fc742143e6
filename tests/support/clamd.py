"""A ClamAV daemon of a session or a test, by the launcher of devtools."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from devtools.clamd import ClamdServer
from devtools.processes import Child


class Clamd:
    """``.url``, ``.unix_url``. ``freeze``, ``thaw``, ``kill``, ``start``: for tests that own it."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.server = ClamdServer(folder / "clamd", log=folder / "clamd.log", settings=settings)
        self.child: Child | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.child:
            self.thaw()
            self.child.kill()

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def unix_url(self) -> str:
        return self.server.unix_url

    def start(self) -> None:
        self.child = self.server.start()

    def kill(self) -> None:
        assert self.child is not None
        self.child.kill()

    def freeze(self) -> None:
        """It accepts connections and answers nothing."""
        assert self.child is not None
        self.child.send(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.child is not None
        self.child.send(signal.SIGCONT)
