"""A base backup in one sealed file: nothing in it is placed outside, and whoever restores it owns it."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from devtools import sealed_base
from devtools.errors import DevError
from devtools.keyring import Keyring
from devtools.sealed import Draft, Sealer

NAME = "g/base/b"


def packed(ring: Keyring, target: Path, *entries: tarfile.TarInfo) -> Path:
    with Draft(target) as draft:
        sealer = Sealer(draft.file, ring.current("g").key, NAME)
        with tarfile.open(fileobj=sealer, mode="w|") as tar:  # type: ignore[call-overload]
            for entry in entries:
                entry.size = 3 if entry.isreg() else 0
                tar.addfile(entry, io.BytesIO(b"abc"))
        sealer.finish()
        draft.keep()
    return target


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode, made.uid = kind, link, 0o6777, 4_711
    return made


def test_what_is_in_it_is_ours_and_nobody_else_writes_to_it(tmp_path: Path) -> None:
    ring = Keyring.make(tmp_path / "keys")
    file = packed(ring, tmp_path / "data.sealed", entry("./base", tarfile.DIRTYPE), entry("./base/1"))
    sealed_base.unpack(file, tmp_path / "out", ring, NAME)
    found = tmp_path / "out" / "base" / "1"
    assert found.read_bytes() == b"abc"
    assert (found.stat().st_mode & 0o7777, found.stat().st_uid) == (0o755, os.geteuid())


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../outside")],
        [entry("base", tarfile.SYMTYPE, ".."), entry("base/outside")],
    ],
    ids=["above", "through a link"],
)
def test_nothing_is_placed_outside(tmp_path: Path, entries: list[tarfile.TarInfo]) -> None:
    ring = Keyring.make(tmp_path / "keys")
    file = packed(ring, tmp_path / "data.sealed", *entries)
    with pytest.raises(DevError, match="elsewhere"):
        sealed_base.unpack(file, tmp_path / "out", ring, NAME)
    assert not (tmp_path / "outside").exists()
