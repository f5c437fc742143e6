"""The commit log of a node of Cassandra in a vault: a copy of each segment, which grows as the segment is synced.

In the clear it is a file of the segment's name. Sealed (:mod:`devtools.node_keys`) it is *parts*, one after the other, each begun
by another process or behind what was in the clear::

    CommitLog-….log.<where it begins, 10 digits>.<which of those that begin there>.sealed
        56 bytes   the head of a sealed file (:mod:`devtools.sealed`)
        records    4 bytes length, 1 byte whether it is the last, the sealed bytes

The number of a record and whether it is the last are in its nonce. A part is ended when its segment is whole. What stands at the
end of another is of a process that died, or of a disk that was full: the last record may be no whole one. So the next part begins
with what that record was to be, and of each part counts what is before the next. Nobody goes on with another one's part: no nonce
is used twice.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from devtools import sealed
from devtools.node_keys import SUFFIX, NodeKeys
from devtools.sealed import Damaged

_NAME = re.compile(r"CommitLog-\d+-(\d+)\.log")
_PART = re.compile(r"(CommitLog-\d+-(\d+)\.log)\.(\d{10})\.(\d+)\.sealed")
_RECORD = struct.Struct(">IB")
_CHUNK = 1 << 20


class Segment(NamedTuple):
    """``parts``: where each begins, and which of those that begin there it is; ascending."""

    name: str
    plain: Path | None
    parts: dict[tuple[int, int], Path]

    @property
    def paths(self) -> list[Path]:
        return [*([self.plain] if self.plain else []), *self.parts.values()]

    @property
    def size(self) -> int:
        """How much of it is here for certain, bytes."""
        if not self.parts:
            return self.plain.stat().st_size if self.plain else 0
        (start, _), part = list(self.parts.items())[-1]
        with part.open("rb") as file:
            found = list(_records(file.fileno()))
        if found and not found[-1].last:
            del found[-1]
        return start + sum(one.length - sealed.TAG for one in found)


def named(folder: Path) -> dict[int, Path]:
    """Segments in the clear, by number, ascending."""
    found = {}
    for entry in folder.iterdir() if folder.is_dir() else ():
        if match := _NAME.fullmatch(entry.name):
            found[int(match[1])] = entry
    return dict(sorted(found.items()))


class NodeLog:
    """In a folder; with ``keys`` what comes is sealed."""

    def __init__(self, folder: Path, keys: NodeKeys | None) -> None:
        self.folder, self._keys = folder, keys
        self._open: dict[int, _Part] = {}

    def segments(self) -> dict[int, Segment]:
        """By number, ascending."""
        plain = named(self.folder)
        parts: dict[int, dict[tuple[int, int], Path]] = defaultdict(dict)
        names = {number: path.name for number, path in plain.items()}
        for entry in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            # What has no whole head is of a process that died when it began.
            if (match := _PART.fullmatch(entry.name)) and entry.stat().st_size >= sealed.HEADER.size:
                names[int(match[2])] = match[1]
                parts[int(match[2])][int(match[3]), int(match[4])] = entry
        return {
            number: Segment(names[number], plain.get(number), dict(sorted(parts[number].items())))
            for number in sorted(names)
        }

    def append(self, number: int, source: Path, start: int, end: int) -> None:
        """Copy these bytes of a segment; they are on disk when this returns. ``start``: where the copy ends."""
        with source.open("rb") as file:
            if self._keys is None:
                target = os.open(self.folder / source.name, os.O_WRONLY | os.O_CREAT, 0o600)
                try:
                    for at in range(start, end, _CHUNK):
                        os.pwrite(target, os.pread(file.fileno(), min(_CHUNK, end - at), at), at)
                    os.fdatasync(target)
                finally:
                    os.close(target)
                return
            with self._part(self._keys, number, source.name, start) as part:
                for at in range(start, end, _CHUNK):
                    part.write(os.pread(file.fileno(), min(_CHUNK, end - at), at))
                part.sync()

    def end(self, number: int, name: str, size: int) -> None:
        """The segment is whole, with this size."""
        if self._keys:
            with self._part(self._keys, number, name, size) as part:
                part.write(b"", last=True)
                part.sync()
            self._open.pop(number).close()

    @contextlib.contextmanager
    def _part(self, keys: NodeKeys, number: int, name: str, start: int) -> Iterator[_Part]:
        """One that failed is not gone on with."""
        part = self._open.pop(number, None) or _Part(keys, self.folder, name, start)
        try:
            yield part
        except BaseException:
            part.close()
            raise
        self._open[number] = part

    def restore(self, segment: Segment, target: Path, size: int | None = None, *, at_least: int = 0) -> None:
        """Make a segment again. ``size``: up to there; -1: all that is here, but for half a record at its end; None: all of it,
        ``at_least`` so many bytes. Raises :class:`DevError`."""
        with target.open("wb") as file:
            if segment.plain:
                file.write(segment.plain.read_bytes())
            there = file.tell()
            starts = [start for start, _ in segment.parts]
            for place, ((start, _), part) in enumerate(segment.parts.items()):
                assert self._keys is not None, "checked before"
                if start > there:
                    raise Damaged(part)
                file.seek(start)
                newest = place == len(starts) - 1
                torn = not newest or size is not None
                for data in _opened(self._keys, part, segment.name, start, torn=torn):
                    file.write(data)
                    there = max(there, file.tell())
                    if not newest and file.tell() >= starts[place + 1]:
                        break
            if there < (at_least if size is None else size):
                raise Damaged(segment.paths[-1])
            file.truncate(size if size is not None and size >= 0 else there)


class _Part:
    def __init__(self, keys: NodeKeys, folder: Path, name: str, start: int) -> None:
        before = len(list(folder.glob(f"{name}.{start:010}.*{SUFFIX}")))
        path = folder / f"{name}.{start:010}.{before}{SUFFIX}"
        key, salt = keys.new(), secrets.token_bytes(32)
        self._cipher = sealed.cipher_of(key, salt, _bound(keys, name, start))
        self._number = 0
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        _write(self._file, sealed.HEADER.pack(sealed.MAGIC, key.id, salt))
        sealed.sync_folder(folder)

    def write(self, data: bytes, *, last: bool = False) -> None:
        body = self._cipher.encrypt(sealed.nonce(self._number, last), data, None)
        _write(self._file, _RECORD.pack(len(body), last) + body)
        self._number += 1

    def sync(self) -> None:
        os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)


def _bound(keys: NodeKeys, name: str, start: int) -> str:
    return f"{keys.name}/log/{name}/{start}"


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


class _Record(NamedTuple):
    """``length``: bytes of what is sealed, which begins ``at``."""

    length: int
    last: bool
    at: int


def _records(file: int) -> Iterator[_Record]:
    """Those that are whole."""
    at, size = sealed.HEADER.size, os.fstat(file).st_size
    while at + _RECORD.size <= size:
        length, last = _RECORD.unpack(os.pread(file, _RECORD.size, at))
        at += _RECORD.size
        if length < sealed.TAG or at + length > size:
            return
        yield _Record(length, bool(last), at)
        at += length


def _opened(keys: NodeKeys, part: Path, name: str, start: int, *, torn: bool) -> Iterator[bytes]:
    """What is in a part. ``torn``: its last record need not be whole. Raises :class:`DevError`."""
    from cryptography.exceptions import InvalidTag

    key = keys.key(sealed.key_id_of(part), part)
    with part.open("rb") as file:
        _, _, salt = sealed.HEADER.unpack(os.pread(file.fileno(), sealed.HEADER.size, 0))
        cipher = sealed.cipher_of(key, salt, _bound(keys, name, start))
        found = list(_records(file.fileno()))
        end = found[-1].at + found[-1].length if found else sealed.HEADER.size
        if not torn and end != os.fstat(file.fileno()).st_size:
            raise Damaged(part)
        for number, one in enumerate(found):
            body = os.pread(file.fileno(), one.length, one.at)
            try:
                yield cipher.decrypt(sealed.nonce(number, one.last), body, None)
            except InvalidTag:
                if torn and number == len(found) - 1:
                    return
                raise Damaged(part) from None
