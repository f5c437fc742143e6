"""Byte-wise search of files: their names, and what is in them, also where they are compressed as logs are."""

from __future__ import annotations

import gzip
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from whatsapp.infra.needles import Label, Needles

_PIECE: Final = 1 << 20


def search(
    needles: Needles[Label], folder: Path, *, but: Collection[str] = ()
) -> Iterator[tuple[str, Label]]:
    """(place, label) of what is found below a folder; ``but``: names of folders directly in it that are left out. A file that is
    gone meanwhile holds nothing. The place does not repeat a name in which something was found."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if inside.parts[0] in but:
            continue
        named = needles.every(str(inside).encode())
        for label in named:
            yield f"file {inside.parts[0] if not needles.every(inside.parts[0].encode()) else '…'}/…", label
        if not named and path.is_file() and not path.is_symlink():
            try:
                held = needles.every_in(_pieces(path))
            except FileNotFoundError:
                continue
            for label in held:
                yield f"file {inside}", label


def _pieces(path: Path) -> Iterator[bytes]:
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        while piece := file.read(_PIECE):
            yield piece
