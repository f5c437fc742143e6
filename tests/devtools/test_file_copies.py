"""Copies of media in a sealed vault: a key each, which ends some days after the file."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest

from devtools import file_copies, file_keys, sealed
from devtools.file_copies import GRACE_S, Copies, Returned, Swept
from devtools.file_keys import DESTROYED, GONE, LIVE, SIZE, Row
from devtools.keyring import Keyring
from tests.devtools.backed_up import found_in

DAY = 86_400.0
SECRET = b"what somebody has photographed"
NAME = "media/2026/11/27/0123456789abcdef_full.webp"


class Kept:
    """Media in a folder, and their copies."""

    def __init__(self, root: Path) -> None:
        self.root, self.media = root, root / "media"
        self.ring = Keyring.make(root / "keys")
        self.vault = root / "vault"
        self.copies = Copies(self.vault, self.ring)

    def write(self, name: str, content: bytes) -> Path:
        file = self.media / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def restored(
        self, until: float | None = None, vault: Path | None = None
    ) -> tuple[Returned, dict[str, bytes]]:
        target = self.root / "restored"
        shutil.rmtree(target, ignore_errors=True)
        found = Copies(vault or self.vault, self.ring).restore(target, until)
        return found, {name: (target / name).read_bytes() for name in file_copies.names(target)}

    def rows(self) -> list[Row]:
        return [row for shard in range(256) for row in self.copies._keys.rows(shard)]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    made = Kept(tmp_path)
    made.write(NAME, SECRET * 10_000)
    made.write("photos/other", b"other")
    made.write(f".about/{NAME}", b'{"metadata": {"user-id": "somebody"}}')
    made.write(".drafts/half", b"half")
    return made


def test_files_come_back_with_their_names_and_times(kept: Kept) -> None:
    os.utime(kept.media / NAME, (1_700_000_000, 1_700_000_000))
    assert kept.copies.add(kept.media) == 3
    assert kept.copies.add(kept.media) == 0
    found, files = kept.restored()
    assert found == Returned(3, 0, [])
    assert files == {name: (kept.media / name).read_bytes() for name in file_copies.names(kept.media)}
    assert (kept.root / "restored" / NAME).stat().st_mtime == 1_700_000_000
    # Neither what is in them nor what they are called is in the vault; the twin finds it in what was copied.
    assert found_in(kept.vault, SECRET, b"0123456789abcdef", b"somebody", b"photos") == []
    assert len(found_in(kept.media, SECRET, b"0123456789abcdef", b"somebody", b"photos")) >= 4


def test_a_file_that_is_gone_loses_its_key_after_a_while_and_then_its_copy(kept: Kept) -> None:
    kept.copies.add(kept.media)
    shutil.copytree(kept.vault, kept.root / "elsewhere")
    before = {row.key.secret for row in kept.rows()}
    (kept.media / NAME).unlink()
    begun = time.time()
    assert kept.copies.sweep(kept.media, begun) == Swept(0, 1)
    assert kept.copies.sweep(kept.media, begun + GRACE_S - 1) == Swept(0, 1)
    # Until then a time at which it was there can be restored with it, and now without it.
    assert NAME in kept.restored(until=begun - 10)[1]
    assert NAME not in kept.restored()[1]
    assert kept.copies.sweep(kept.media, begun + GRACE_S) == Swept(1, 0)
    (ended,) = [row for row in kept.rows() if row.state == DESTROYED]
    (gone,) = before - {row.key.secret for row in kept.rows()}
    assert found_in(kept.ring.root, gone) == []
    assert not kept.copies._path(ended.place).exists()
    found, files = kept.restored(until=begun - 10)
    assert found == Returned(2, 0, [])
    assert set(files) == {"photos/other", f".about/{NAME}"}
    # Whoever has copied the vault before has what nobody opens, and that is no fault.
    found, files = kept.restored(until=begun - 10, vault=kept.root / "elsewhere")
    assert found == Returned(2, 1, [])
    assert NAME not in files


def test_twin_a_key_that_is_kept_opens_the_copy_of_elsewhere(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.copies.add(kept.media)
    shutil.copytree(kept.vault, kept.root / "elsewhere")
    monkeypatch.setattr(file_copies, "marked", lambda row, state, now: row._replace(state=GONE, at=now))
    (kept.media / NAME).unlink()
    for at in (time.time(), time.time() + GRACE_S):
        kept.copies.sweep(kept.media, at)
    assert NAME in kept.restored(until=0.0, vault=kept.root / "elsewhere")[1]


def test_nothing_counts_as_gone_when_the_media_are_not_there(kept: Kept) -> None:
    kept.copies.add(kept.media)
    away = kept.media.rename(kept.root / "not mounted")
    assert kept.copies.sweep(kept.media, time.time()) == Swept(0, 0)
    away.rename(kept.media)
    # What comes back was not gone.
    hidden = (kept.media / NAME).rename(kept.root / "hidden")
    assert kept.copies.sweep(kept.media, time.time()).waiting == 1
    hidden.rename(kept.media / NAME)
    kept.copies.sweep(kept.media, time.time() + GRACE_S)
    assert {row.state for row in kept.rows()} == {LIVE}


def test_a_folder_that_cannot_be_read_ends_no_key(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.copies.add(kept.media)
    scandir = os.scandir

    def denied(path: str) -> object:
        if str(path).endswith("photos"):
            raise PermissionError(13, "denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(PermissionError):
        kept.copies.sweep(kept.media, time.time())
    assert {row.state for row in kept.rows()} == {LIVE}


def test_who_died_between_key_and_copy_is_followed(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as dead, pytest.raises(KeyboardInterrupt):

        def die(*args: object) -> bool:
            raise KeyboardInterrupt

        dead.setattr(Copies, "_copy", die)
        kept.copies.add(kept.media)
    assert len(kept.rows()) == 3
    assert Copies(kept.vault, kept.ring).add(kept.media) == 3
    assert kept.restored()[0] == Returned(3, 0, [])
    # And between the end of the key and that of the copy.
    (kept.media / NAME).unlink()
    kept.copies.sweep(kept.media, time.time())
    with monkeypatch.context() as dead:
        dead.setattr(Copies, "_delete", lambda *args: None)
        kept.copies.sweep(kept.media, time.time() + GRACE_S)
    assert len(list((kept.vault / "files").glob("*/*"))) == 3
    kept.copies.sweep(kept.media, time.time() + GRACE_S)
    assert len(list((kept.vault / "files").glob("*/*"))) == 2


def test_a_copy_that_does_not_open_is_named_and_all_others_are_restored(kept: Kept) -> None:
    kept.copies.add(kept.media)
    path = kept.copies._path(kept.copies.place(NAME))
    other = kept.copies._path(kept.copies.place("photos/other"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    stranger = other.with_name("stranger")
    with stranger.open("wb") as file:
        sealed.Sealer(file, sealed.new_key(), "x").finish()
    found, files = kept.restored()
    assert (found.files, found.destroyed) == (2, 0)
    assert sorted(name in " ".join(found.lost) for name in (str(path), str(stranger))) == [True, True]
    assert NAME not in files


def test_what_was_copied_in_the_clear_is_sealed_and_goes(kept: Kept) -> None:
    plain = kept.vault / "media"
    shutil.copytree(kept.media, plain)
    (
        kept.media / "photos" / "other"
    ).unlink()  # there are copies of files that are gone: nobody has ever deleted one
    assert kept.copies.take_over(plain) == 3
    assert kept.copies.add(kept.media) == 0
    assert found_in(kept.vault, SECRET, b"0123456789abcdef") == []
    assert kept.restored()[1]["photos/other"] == b"other"
    assert kept.copies.sweep(kept.media, time.time()).waiting == 1


def test_half_a_row_of_a_machine_that_stopped_hides_no_other(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Copies, "place", lambda self, name: b"\x07" + hashlib.md5(name.encode()).digest()[1:])
    kept.copies.add(kept.media)
    (shard,) = kept.ring.files.glob("0*")
    with shard.open("ab") as file:
        file.write(os.urandom(SIZE // 2))
    kept.write("photos/new", b"new")
    assert kept.copies.add(kept.media) == 1
    assert shard.stat().st_size % SIZE == 0
    assert kept.restored()[1]["photos/new"] == b"new"
    assert kept.restored()[0] == Returned(4, 0, [])


def test_rows_are_used_again_when_nobody_needs_them_any_more(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.copies.add(kept.media)
    size = sum(file.stat().st_size for file in kept.ring.files.iterdir())
    (kept.media / NAME).unlink()
    for at in (0.0, GRACE_S, GRACE_S + file_copies.FORGOTTEN_S - 1):
        kept.copies.sweep(kept.media, time.time() + at)
    assert not any(kept.copies._keys.free.values())
    kept.copies.sweep(kept.media, time.time() + GRACE_S + file_copies.FORGOTTEN_S + DAY)
    assert sum(map(len, kept.copies._keys.free.values())) == 1
    kept.write(NAME, b"again")
    kept.copies.add(kept.media)
    assert sum(file.stat().st_size for file in kept.ring.files.iterdir()) == size
    assert kept.restored()[1][NAME] == b"again"


def test_two_processes_give_a_file_one_key(kept: Kept) -> None:
    """One waits for the other, and finds what it has done."""
    other = Copies(kept.vault, kept.ring)
    batch = {kept.copies.place(NAME): NAME}
    assert kept.copies._add(kept.media, dict(batch)) == 1
    assert other._add(kept.media, dict(batch)) == 0
    assert len(kept.rows()) == 1


def test_a_row_fits(tmp_path: Path) -> None:
    keys = file_keys.FileKeys(tmp_path)
    place = bytes(range(16))
    key = keys.add([place], 5.0)[place]
    assert keys.rows(0) == [Row(0, LIVE, 5.0, key, place)]
    assert (tmp_path / "00").stat().st_size == SIZE
