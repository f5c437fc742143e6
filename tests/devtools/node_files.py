"""Files of a node of Cassandra, made without one."""

from __future__ import annotations

import struct
from pathlib import Path


def segment(folder: Path, number: int, sections: int, *, more: bytes = b"") -> Path:
    """A segment as Cassandra writes it: sections of 100 bytes, zeros behind them."""
    head = struct.pack(">iqH", 8, number, 2) + b"{}" + b"\1\1\1\1"
    body = b""
    for place in range(sections):
        end = len(head) + 100 * (place + 1)
        body += struct.pack(">ii", end, 7) + bytes([place + 1]) * 92
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"CommitLog-8-{number}.log"
    draft = file.with_suffix(".new")
    draft.write_bytes((head + body + more).ljust(4096, b"\0"))
    with file.open("ab"):
        pass
    with file.open("r+b") as there:  # in place, as a mapped file changes
        there.write(draft.read_bytes())
    draft.unlink()
    return file


def node(folder: Path) -> Path:
    (folder / "node-1" / "data" / "k" / "t-1").mkdir(parents=True)
    (folder / "node-1" / "data" / "k" / "t-1" / "nb-1-big-Data.db").write_bytes(b"x" * 10)
    return folder / "node-1"
