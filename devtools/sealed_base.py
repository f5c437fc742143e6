"""A base backup in one sealed file: a tar of its folder, made and opened without ever being whole anywhere."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devtools import sealed
from devtools.errors import DevError
from devtools.sealed import Draft, Key, Opened, Sealer

NAME = "data.sealed"
_BUFFER = 1 << 16  # larger ones are memory that is given back each time


def bound(folder: Path, about: Mapping[str, Any]) -> str:
    """What the file of a base backup is bound to: where it lies, and what ``about.json`` says: neither can be exchanged."""
    place = f"{folder.parent.parent.name}/base/{folder.name}"
    return f"{place} {json.dumps(dict(about), sort_keys=True)}"


def pack(data: Path, target: Path, key: Key, name: str) -> None:
    """Raises ``OSError``."""
    with Draft(target) as draft:
        sealer = Sealer(draft.file, key, name)
        with tarfile.open(fileobj=sealer, mode="w|", bufsize=_BUFFER, copybufsize=_BUFFER) as tar:  # type: ignore[call-overload]
            tar.add(data, arcname=".", filter=_ours)
        sealer.finish()
        draft.keep()


def _ours(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Whoever restores it owns it."""
    entry.uid, entry.gid, entry.uname, entry.gname = os.geteuid(), os.getegid(), "", ""
    return entry


def unpack(path: Path, target: Path, keys: sealed.Keys, name: str) -> None:
    """Make the folder again. Raises :class:`DevError`; then what is in ``target`` must not be used."""
    key = keys.key(sealed.key_id_of(path), path)
    target.mkdir(parents=True, mode=0o700)
    with path.open("rb") as source:
        opened = Opened(source, key, name, path)
        try:
            with tarfile.open(fileobj=opened, mode="r|", bufsize=_BUFFER, copybufsize=_BUFFER) as tar:  # type: ignore[call-overload]
                tar.extraction_filter = _as_it_is
                for entry in tar:
                    # Not with extractall: it knows no filter before Python 3.11.4, and Debian 12 has 3.11.2.
                    tar.extract(_placed(entry, target, path), target)
        except tarfile.TarError as error:
            raise DevError(f"{path} is not whole: {error}") from None
        while opened.read(_BUFFER):  # up to the end: only there it is seen that nothing is missing
            pass


def _as_it_is(entry: tarfile.TarInfo, target: str) -> tarfile.TarInfo:
    """Newer Pythons have a filter of their own; what they are given has passed :func:`_placed`."""
    del target
    return entry


def _placed(entry: tarfile.TarInfo, target: Path, path: Path) -> tarfile.TarInfo:
    """Nobody but us could make what opens; all the same nothing is written outside. Raises :class:`DevError`."""
    root = os.path.realpath(target)
    place = os.path.realpath(os.path.join(root, entry.name))
    if place != root and not place.startswith(f"{root}{os.sep}"):
        raise DevError(f"{path} has a file for elsewhere: {entry.name}")
    entry.uid, entry.gid, entry.mode = os.geteuid(), os.getegid(), entry.mode & 0o755
    return entry
