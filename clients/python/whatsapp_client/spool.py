"""The folder of encrypted files that wait for their upload, beside the database.

A file is encrypted once and what came of it is kept until the server has it: encrypting it again under the same key, after it has
changed, would give its key away.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Callable
from typing import BinaryIO

from . import sealing


class Spool:
    """``database``: the path of the database; one in memory has a folder that ends with this object."""

    def __init__(self, database: str) -> None:
        self._folder = pathlib.Path(database + "-media") if database != ":memory:" else None

    def path(self, name: str) -> pathlib.Path:
        if self._folder is None:
            self._folder = pathlib.Path(tempfile.mkdtemp(prefix="whatsapp-client-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._folder / name

    def seal(self, source: BinaryIO, key: bytes, check: Callable[[], None]) -> tuple[str, int, str]:
        """Encrypt a file into one of this folder: its name, the size of the file itself, SHA-256 (hexadecimal) of what was
        written. Raises OSError."""
        name = uuid.uuid4().hex
        path = self.path(name)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as target:
                size, digest = sealing.seal(source, target, key, check)
                sealing.sync(target)
        except BaseException:
            path.unlink()
            raise
        return name, size, digest.hex()

    def holds(self, name: str, size: int) -> bool:
        try:
            return self.path(name).stat().st_size == size
        except OSError:
            return False

    def remove(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)

    def keep_only(self, names: set[str]) -> None:
        """What a process that was killed has left goes."""
        if self._folder is not None and self._folder.is_dir():
            for left in self._folder.iterdir():
                if left.name not in names:
                    left.unlink(missing_ok=True)
