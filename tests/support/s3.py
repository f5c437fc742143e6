"""This session's S3 server, by the launcher of devtools.

``WHATSAPP_TEST_S3=key:secret@port/bucket`` names another one on this machine, to see whether it does what ours does.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
from pathlib import Path
from typing import Self

from devtools.processes import Child
from devtools.s3proxy import S3Server
from tests.support.owned import Owned

_KEYS = {"access_key": "tests", "secret_key": "tests-only-secret"}


class S3(Owned):
    """``.url``, ``.variables(url)``: what an application's environment needs. ``freeze``, ``thaw``, ``kill``, ``start``: for
    tests that own it."""

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        self.server = S3Server(folder / "s3", log=folder / "s3.log", **_KEYS)  # type: ignore[arg-type]
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._other = os.environ.get("WHATSAPP_TEST_S3", "") if shared else ""
        if self._other:
            found = re.fullmatch(r"(.+):(.+)@(\d+)/(.+)", self._other)
            assert found, "WHATSAPP_TEST_S3 is key:secret@port/bucket"
            self.server.access_key, self.server.secret_key, self.server.bucket = found[1], found[2], found[4]
            self.server.port = int(found[3])

    def __enter__(self) -> Self:
        if not self._other:
            self.start()
        return self

    def _launch(self) -> Child:
        return self.server.start()

    @property
    def url(self) -> str:
        return self.server.url

    def variables(self, url: str | None = None) -> dict[str, str]:
        return self.server.variables(url)

    def new_prefix(self) -> str:
        """A folder of the bucket that no other test uses."""
        return f"test-{self._prefix}-{next(self._numbers)}"
