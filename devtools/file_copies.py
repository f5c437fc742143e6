"""Copies of media in a sealed vault: each under a key of its own, which is destroyed some days after the file is gone.

::

    <vault>/files/<xx>/<…>    a copy; what it is called is a keyed hash of the file's name

In a copy stand the length of the name, the time of the last change, the name, the content. A file whose owner was erased, or
whose time was over, is gone from the media; its copy waits for :data:`GRACE_S`, so that a point in time can be restored with its
media; then its key is destroyed, and the copy is deleted. Copies of the vault keep what nobody can open.
"""

from __future__ import annotations

import hmac
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from devtools import sealed
from devtools.errors import DevError
from devtools.file_keys import DESTROYED, GONE, LIVE, SHARDS, FileKeys, Row, marked
from devtools.keyring import Keyring
from devtools.sealed import Draft, Key, Opened, Sealer

DAY_S = 86_400.0
#: How long a file that is gone can be restored to a time at which it was there.
GRACE_S = 7 * DAY_S
#: Then what is left of a row is used again; nobody restores an older copy of the vault, of whose database no key is left.
FORGOTTEN_S = 30 * DAY_S
#: Keys that are made at a time.
BATCH = 256
#: What the storage is writing at this moment.
_DRAFTS = ".drafts"
_HEAD = struct.Struct(">HQ")


class Swept(NamedTuple):
    """How many keys were destroyed, and how many files are gone and wait."""

    destroyed: int
    waiting: int


class Returned(NamedTuple):
    """What was restored, what has no key any more because that is how it should be, and what should have opened and did not."""

    files: int
    destroyed: int
    lost: list[str]


class Copies:
    def __init__(self, vault: Path, ring: Keyring) -> None:
        self.root = vault / "files"
        self._names = ring.names
        self._keys = FileKeys(ring.files)

    def place(self, name: str) -> bytes:
        return hmac.digest(self._names, name.encode(), "sha256")[:16]

    def add(self, source: Path) -> int:
        """Copy the files that are not here yet; how many."""
        number = 0
        batch: dict[bytes, str] = {}
        for name in names(source):
            place = self.place(name)
            if self._path(place).exists():
                continue
            batch[place] = name
            if len(batch) == BATCH:
                number += self._add(source, batch)
                batch = {}
        return number + self._add(source, batch)

    def _add(self, source: Path, batch: dict[bytes, str]) -> int:
        """All of them are on disk before one appears at its place."""
        if not batch:
            return 0
        written: dict[Path, Path] = {}
        with self._keys.lock():
            # Somebody else has been here while we waited.
            batch = {place: name for place, name in batch.items() if not self._path(place).exists()}
            try:
                for place, key in self._keys.add(batch, time.time()).items():
                    target = self._path(place)
                    draft = target.with_name(f".{target.name}.{os.getpid()}")
                    written[draft] = target
                    if not self._copy(source / batch[place], batch[place], draft, place, key):
                        del written[draft]
                if written:
                    sealed.sync_disk(self.root)
                for draft, target in written.items():
                    draft.replace(target)
            finally:
                for draft in written:
                    draft.unlink(missing_ok=True)
        return len(written)

    def _copy(self, file: Path, name: str, draft: Path, place: bytes, key: Key) -> bool:
        try:
            opened = file.open("rb")
        except FileNotFoundError:
            return False  # deleted meanwhile; a sweep ends its key
        draft.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with opened, open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as target:
            sealer = Sealer(target, key, _bound(place))
            encoded = name.encode()
            sealer.write(_HEAD.pack(len(encoded), os.fstat(opened.fileno()).st_mtime_ns) + encoded)
            while data := opened.read(sealed.CHUNK):
                sealer.write(data)
            sealer.finish()
        return True

    def take_over(self, plain: Path) -> int:
        """What was copied here in the clear, before there were keys; it is sealed, and the plain copies are deleted."""
        if not plain.is_dir():
            return 0
        number = self.add(plain)
        for name in list(names(plain)):
            if self._path(self.place(name)).exists():
                sealed.shred(plain / name)
        for folder, _, _ in os.walk(plain, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                continue  # something has come meanwhile
        return number

    def sweep(self, source: Path, now: float | None = None, grace: float = GRACE_S) -> Swept:
        """Destroy the keys of files that have been gone for ``grace`` seconds, then delete their copies. Raises ``OSError`` when
        the media cannot be read: nothing counts as gone then."""
        now = time.time() if now is None else now
        if not source.is_dir():
            return Swept(0, 0)  # not there, as a disk that is not mounted; or never anything
        began = time.time()
        present = {self.place(name) for name in names(source)}
        destroyed = waiting = 0
        for shard in range(SHARDS):
            with self._keys.lock():
                changed, ended = [], []
                self._keys.free[shard] = []
                for row in self._keys.rows(shard):
                    if row.state == DESTROYED:
                        ended.append(row)
                        if now - row.at > FORGOTTEN_S:
                            self._keys.free[shard].append(row.offset)
                    elif row.place in present:
                        if row.state == GONE:
                            changed.append(marked(row, LIVE, now))
                    elif row.state == LIVE:
                        if row.at < began:  # else it came while we looked
                            changed.append(marked(row, GONE, now))
                            waiting += 1
                    elif now - row.at >= grace:
                        changed.append(marked(row, DESTROYED, now))
                        ended.append(changed[-1])
                        destroyed += 1
                    else:
                        waiting += 1
                self._keys.change(shard, changed)
                for row in ended:
                    self._delete(row)
            for draft in (self.root / f"{shard:02x}").glob(".*"):
                if began - draft.stat().st_mtime > DAY_S:
                    draft.unlink()  # of somebody who was killed
        return Swept(destroyed, waiting)

    def _delete(self, row: Row) -> None:
        """Its copy, unless the place has another one by now."""
        path = self._path(row.place)
        try:
            if sealed.key_id_of(path) == row.key.id:
                path.unlink()
        except (FileNotFoundError, sealed.Damaged):
            return

    def restore(self, target: Path, until: float | None = None) -> Returned:
        """Make the files that ``target`` does not have. ``until``: with those that were deleted later."""
        number = destroyed = 0
        lost: list[str] = []
        for shard in range(SHARDS):
            rows = {row.key.id: row for row in self._keys.rows(shard)}
            for path in sorted((self.root / f"{shard:02x}").glob("[!.]*")):
                try:
                    row = rows.get(sealed.key_id_of(path))
                    if row is None:
                        lost.append(f"{path} cannot be opened: its key is not in {self._keys.root}")
                    elif row.state == DESTROYED:
                        destroyed += 1
                    elif row.state == LIVE or (until is not None and row.at > until):
                        number += _restore_one(path, row, target)
                except DevError as error:
                    lost.append(str(error))
        return Returned(number, destroyed, lost)

    def _path(self, place: bytes) -> Path:
        text = place.hex()
        return self.root / text[:2] / text[2:]


def _bound(place: bytes) -> str:
    return f"files/{place.hex()}"


def _restore_one(path: Path, row: Row, target: Path) -> bool:
    with path.open("rb") as source:
        opened = Opened(source, row.key, _bound(row.place), path)
        size, changed = _HEAD.unpack(opened.read(_HEAD.size))
        file = target / opened.read(size).decode()
        if file.exists():
            return False
        with Draft(file, durable=False) as draft:
            while data := opened.read(sealed.CHUNK):
                draft.file.write(data)
            draft.keep()
    os.utime(file, ns=(changed, changed))
    return True


def names(source: Path) -> Iterator[str]:
    """Of all files below a folder, as paths from there. Raises ``OSError`` for a folder that cannot be read."""
    if not source.is_dir():
        return

    def stop(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # deleted meanwhile
            raise error

    for folder, below, files in os.walk(source, onerror=stop):
        if _DRAFTS in below and Path(folder) == source:
            below.remove(_DRAFTS)
        at = Path(folder).relative_to(source)
        for name in files:
            yield (at / name).as_posix()
