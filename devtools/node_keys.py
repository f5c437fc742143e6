"""A node of Cassandra in a sealed vault: each file of its tables, and each part of its log, under a key of its own.

::

    <keys>/nodes/<generation>/<node>/…                   the keys (:mod:`devtools.file_keys`)
    <vault>/<generation>/nodes/<node>/base/<time>/data/….sealed
    <vault>/<generation>/nodes/<node>/base/<time>/files.sealed    which files belong to it, each with the id of its key
    <vault>/<generation>/nodes/<node>/log/….sealed                (:mod:`devtools.node_log`)

A table that did not change is in many bases and is sealed once, so keys of periods would end it with the oldest of them. A key
here is destroyed when nothing that is kept is under it, before the files are deleted.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from devtools import sealed
from devtools.errors import DevError
from devtools.file_copies import FORGOTTEN_S
from devtools.file_keys import DESTROYED, LIVE, SHARDS, FileKeys, marked
from devtools.keyring import stamp
from devtools.sealed import Damaged, Key

SUFFIX = ".sealed"
#: Which files belong to tables that were kept.
LIST = "files.sealed"


class NodeKeys:
    """Those of one node's archive; ``name``: what everything of it is bound to, such as ``<generation>/nodes/<node>``."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self._root = root
        self._table = FileKeys(root)

    def new(self) -> Key:
        """On disk before it is used."""
        place = secrets.token_bytes(16)
        with self._table.lock():
            return self._table.add([place], time.time())[place]

    def key(self, key_id: bytes, path: Path) -> Key:
        """The key that ``path`` is sealed under. Raises :class:`DevError`, which says whether it was destroyed."""
        for shard in range(SHARDS):
            for row in self._table.rows(shard):
                if row.key.id == key_id:
                    if row.state == DESTROYED:
                        raise DevError(f"{path} cannot be opened: its key was destroyed at {stamp(row.at)}")
                    return row.key
        raise DevError(f"{path} cannot be opened: its key {key_id.hex()} is not in {self._root}")

    def there(self, paths: Iterable[Path]) -> None:
        """Whether the key of each sealed file is there. Raises :class:`DevError`."""
        live = {row.key.id for shard in range(SHARDS) for row in self._table.rows(shard) if row.state == LIVE}
        for path in paths:
            if (key_id := sealed.key_id_of(path)) not in live:
                self.key(key_id, path)

    def keep_only(self, used: Iterable[Path], now: float | None = None) -> int:
        """Destroy every key but those of these sealed files; how many. One process at a time adds files, and it is the one that
        asks."""
        now = time.time() if now is None else now
        ids = {sealed.key_id_of(path) for path in used}
        number = 0
        for shard in range(SHARDS):
            with self._table.lock():
                rows = self._table.rows(shard)
                ended = [
                    marked(row, DESTROYED, now) for row in rows if row.state == LIVE and row.key.id not in ids
                ]
                self._table.change(shard, ended)
                self._table.free[shard] = [
                    row.offset for row in rows if row.state == DESTROYED and now - row.at > FORGOTTEN_S
                ]
            number += len(ended)
        return number

    def forget(self) -> None:
        """Destroy all of them."""
        for file in self._root.glob("[!.]*"):
            sealed.shred(file)
        shutil.rmtree(self._root, ignore_errors=True)

    # -- tables ----------------------------------------------------------------------------------------------------------

    def keep(self, source: Path, target: Path, before: Path | None, place: str, *, changes: bool) -> None:
        """Seal a file of a table as ``target`` and the suffix; one that never ``changes``, and is in the tables ``before``, is
        linked from there. ``place``: where it is below the node's folder."""
        kept = before and before.with_name(before.name + SUFFIX)
        there = target.with_name(target.name + SUFFIX)
        with source.open("rb") as file:
            about = os.fstat(file.fileno())
            if kept and not changes and kept.exists():
                known = kept.stat()
                if (known.st_size, known.st_mtime_ns) == (sealed.size_of(about.st_size), about.st_mtime_ns):
                    os.link(kept, there)
                    return
            sealed.seal(file, there, self.new(), f"{self.name}/{place}")
        os.utime(there, ns=(about.st_mtime_ns, about.st_mtime_ns))

    def write_list(self, base: Path, called: str) -> None:
        """Of the tables in this folder, which will be ``called`` so."""
        files = {
            path.relative_to(base).as_posix().removesuffix(SUFFIX): sealed.key_id_of(path).hex()
            for path in base.rglob(f"data/**/*{SUFFIX}")
        }
        content = io.BytesIO(json.dumps(files).encode())
        sealed.seal(content, base / LIST, self.new(), f"{self.name}/base/{called}")

    def read_list(self, base: Path) -> dict[Path, str]:
        """The sealed files of these tables, each with its place. Raises :class:`DevError` when one is missing, or another."""
        if not (base / LIST).exists():
            raise DevError(f"{base / LIST} is missing")
        content = io.BytesIO()
        sealed.unseal(base / LIST, content, self, f"{self.name}/base/{base.name}")
        found = {}
        for place, key_id in json.loads(content.getvalue()).items():
            path = base / f"{place}{SUFFIX}"
            if not path.exists() or sealed.key_id_of(path).hex() != key_id:
                raise Damaged(path)
            found[path] = str(place)
        return found

    def restore(self, base: Path, node: Path) -> None:
        """Make the tables of a node again. Raises :class:`DevError`."""
        for path, place in self.read_list(base).items():
            with sealed.Draft(node / place, durable=False) as draft:
                sealed.unseal(path, draft.file, self, f"{self.name}/{place}")
                draft.keep()
