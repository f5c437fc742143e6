"""A key for each file of media that is copied into a sealed vault: a table of rows of one size, in 256 files.

A row is 128 bytes, at a multiple of 128, and is written in its place: so a key is destroyed by overwriting it, and nowhere is an
earlier copy of it. A row is on disk before its key is used. What does not fit its checksum was being written when a machine
stopped, and was never used.

What a row is about is its *place*: 16 bytes by which the copy is called, a keyed hash of the file's name. The name itself is
sealed into the copy.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from devtools.sealed import Key, new_key, sync_folder

SIZE: Final = 128
SHARDS: Final = 256
_ROW = struct.Struct(">B3xId16s32s16s")  # state, checksum, time, id, key, place

#: The file is there; the file is gone and its copy waits; the key was destroyed.
LIVE, GONE, DESTROYED = 1, 2, 3
_STATES = (LIVE, GONE, DESTROYED)


class Row(NamedTuple):
    """``at``: when it came into its state, seconds since the epoch."""

    offset: int
    state: int
    at: float
    key: Key
    place: bytes

    def packed(self) -> bytes:
        return _ROW.pack(self.state, _sum(self), self.at, self.key.id, self.key.secret, self.place).ljust(
            SIZE, b"\0"
        )


def _sum(row: Row) -> int:
    return zlib.crc32(row.key.id + row.place)


class FileKeys:
    """The table in a folder. One process at a time changes it: see :meth:`lock`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        #: Places of rows that may be used again, as the last sweep of this process found them.
        self.free: dict[int, list[int]] = {}

    @contextmanager
    def lock(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.root / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def rows(self, shard: int) -> list[Row]:
        try:
            data = self._file(shard).read_bytes()
        except FileNotFoundError:
            return []
        found = []
        for offset in range(0, len(data) - SIZE + 1, SIZE):
            state, checksum, at, key_id, secret, place = _ROW.unpack_from(data, offset)
            row = Row(offset, state, at, Key(key_id, secret), place)
            if state in _STATES and checksum == _sum(row):
                found.append(row)
        return found

    def add(self, places: Iterable[bytes], now: float) -> dict[bytes, Key]:
        """A new key for each place."""
        given: dict[bytes, Key] = {}
        by_shard: dict[int, list[bytes]] = defaultdict(list)
        for place in places:
            by_shard[place[0]].append(place)
        for shard, own in by_shard.items():
            free = self.free.get(shard, [])
            file = os.open(self._file(shard), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                end = -(-os.fstat(file).st_size // SIZE) * SIZE
                for place in own:
                    if free:
                        offset = free.pop()
                    else:
                        offset, end = end, end + SIZE
                    given[place] = new_key()
                    os.pwrite(file, Row(offset, LIVE, now, given[place], place).packed(), offset)
                os.fsync(file)
            finally:
                os.close(file)
        if given:
            sync_folder(self.root)
        return given

    def change(self, shard: int, rows: Sequence[Row]) -> None:
        """Write rows of one shard anew, each at its place; on disk when this returns."""
        if not rows:
            return
        file = os.open(self._file(shard), os.O_RDWR)
        try:
            for row in rows:
                os.pwrite(file, row.packed(), row.offset)
            os.fsync(file)
        finally:
            os.close(file)

    def _file(self, shard: int) -> Path:
        return self.root / f"{shard:02x}"


def marked(row: Row, state: int, now: float) -> Row:
    """The row in another state; without its key when that is destroyed."""
    key = Key(row.key.id, bytes(32)) if state == DESTROYED else row.key
    return row._replace(state=state, at=now, key=key)
