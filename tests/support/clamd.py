"""A ClamAV daemon of a session or a test, by the launcher of devtools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from devtools.clamd import ClamdServer
from devtools.processes import Child
from tests.support.owned import Owned


class Clamd(Owned):
    """``.url``, ``.unix_url``. ``freeze``, ``thaw``, ``kill``, ``start``: for tests that own it."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.server = ClamdServer(folder / "clamd", log=folder / "clamd.log", settings=settings)

    def _launch(self) -> Child:
        return self.server.start()

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def unix_url(self) -> str:
        return self.server.unix_url
