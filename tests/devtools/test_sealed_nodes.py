"""A node of Cassandra in a sealed vault: what it was, for who has the keys; nothing for anybody, when they are destroyed."""

from __future__ import annotations

import os
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from devtools import backup, node_archive, record
from devtools.backup import Vault
from devtools.errors import DevError
from devtools.keyring import Keyring
from devtools.node_archive import Archive, Keeper
from devtools.node_log import _Part
from tests.devtools import node_files

TABLE = Path("data") / "k" / "t-1" / "nb-1-big-Data.db"


class Kept:
    """A node without Cassandra, its archive, its keys."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.node = node_files.node(root)
        self.ring = Keyring.make(root / "keys")
        self.archive = Archive(root / "vault", self.ring, "g/node-1")
        self.keeper = Keeper(self.node, self.archive)

    def write(self, number: int, sections: int) -> Path:
        return node_files.segment(self.node / "commitlog", number, sections)

    def again(self) -> Keeper:
        """Another process goes on."""
        self.archive = Archive(self.root / "vault", self.ring, "g/node-1")
        self.keeper = Keeper(self.node, self.archive)
        return self.keeper

    def restored(self, until: float | None = None) -> dict[str, bytes]:
        """Files of the restored node, by name."""
        target = self.root / "restored"
        shutil.rmtree(target, ignore_errors=True)
        Archive(self.root / "vault", Keyring.open(self.root / "keys"), "g/node-1").restore(target, until)
        return {path.name: path.read_bytes() for path in target.rglob("*") if path.is_file()}

    def sealed(self) -> list[Path]:
        return sorted(path for path in (self.root / "vault").rglob("*.sealed"))


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def _synced(segment: Path) -> bytes:
    """What a copy of it has."""
    head = 14 + 2 + 4
    end = head
    data = segment.read_bytes()
    while (following := struct.unpack_from(">i", data, end)[0]) > end:
        end = following
    return data[:end]


def test_tables_and_log_come_back_byte_for_byte_and_nothing_of_them_can_be_read(kept: Kept) -> None:
    (kept.node / TABLE).write_bytes(b"planted in a table " * 10_000)
    first = kept.write(1, 5)
    kept.keeper.take()
    kept.write(1, 9)
    kept.keeper.poll(time.time())
    at = time.time()
    kept.write(1, 12)
    second = kept.write(2, 3)
    kept.keeper.poll(time.time() + 1)
    found = kept.restored()
    assert found[TABLE.name] == (kept.node / TABLE).read_bytes()
    assert found[first.name] == _synced(first)
    assert found[second.name] == _synced(second)
    assert kept.restored(until=at)[first.name] == _synced(first)[: 20 + 900]
    assert second.name not in kept.restored(until=at)
    planted = (b"planted in a table", bytes([3]) * 92)
    everything = [path.read_bytes() for path in (kept.root / "vault").rglob("*") if path.is_file()]
    assert not any(text in data for text in planted for data in everything)
    # Twin: without keys both are there.
    plain = Archive(kept.root / "plain")
    Keeper(kept.node, plain).take()
    everything = [path.read_bytes() for path in (kept.root / "plain").rglob("*") if path.is_file()]
    assert all(any(text in data for data in everything) for text in planted)


def test_what_does_not_change_is_sealed_once_and_its_key_lives_as_long_as_it_is_kept(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_archive, "KEEP", 2)
    gone = kept.node / TABLE.with_name("nb-0-big-Data.db")
    gone.write_bytes(b"compacted away")
    kept.write(1, 2)
    kept.keeper.look_after()
    earlier = shutil.copytree(kept.root / "vault", kept.root / "earlier")  # somebody has a copy of the vault
    gone.unlink()
    for number in (2, 3):
        kept.write(number, 2)
        kept.keeper.missed = True
        kept.keeper.look_after()
        (kept.node / "commitlog" / f"CommitLog-8-{number - 1}.log").unlink()
        kept.keeper.poll()
    bases = kept.archive.bases()
    name = f"{TABLE}.sealed"
    assert len(bases) == 2
    assert os.path.samefile(bases[0].folder / name, bases[1].folder / name)
    assert kept.restored()[TABLE.name] == b"x" * 10
    assert kept.archive.keys is not None
    (base,) = (path.parent for path in earlier.glob("base/*/about.json"))
    with pytest.raises(DevError, match="its key was destroyed"):
        kept.archive.keys.restore(base, kept.root / "again")
    old = base / "data" / "k" / "t-1" / "nb-0-big-Data.db.sealed"
    with pytest.raises(DevError, match="its key was destroyed"):
        kept.archive.keys.there([old])
    kept.archive.keys.there([base / name])


def test_tables_are_kept_at_once_for_who_asks(kept: Kept) -> None:
    assert kept.keeper.look_after()
    assert kept.keeper.look_after() is None
    kept.archive.wanted.touch()
    assert kept.keeper.look_after()
    assert kept.keeper.look_after() is None


def test_what_is_shredded_ends_in_every_copy_and_the_last_tables_never(kept: Kept) -> None:
    """As ``./dev backups shred --before TIME`` does it, for a vault with a base backup before and one behind."""
    vault = Vault(kept.root / "vault", kept.ring)
    generation = kept.root / "vault" / "g"
    archive = backup.archive_of(vault, generation, kept.node)
    keeper = Keeper(kept.node, archive)
    kept.write(1, 2)
    keeper.take()
    earlier = shutil.copytree(generation, kept.root / "earlier" / "g")
    for at in (1_000.0, time.time() + 60):
        folder = generation / "base" / f"{at}"
        folder.mkdir(parents=True)
        record.write_json(folder / "about.json", {"beganAt": at, "endedAt": at})
    (generation / "wal").mkdir()
    with pytest.raises(DevError, match="no tables of node-1 were kept later"):
        backup.shred_before(vault, time.time())
    before = time.time()
    (kept.node / "commitlog" / "CommitLog-8-1.log").unlink()
    kept.write(2, 1)
    keeper.poll()
    keeper.take()
    assert backup.shred_before(vault, before) == 1
    old = Archive(earlier / "nodes" / "node-1", kept.ring, "g/node-1")
    with pytest.raises(DevError, match="its key was destroyed"):
        old.restore(kept.root / "restored")
    assert archive.restore(kept.root / "restored").first == 2
    # With the last base backup of a generation goes all of it.
    assert archive.keys is not None
    (newest,) = archive.bases()
    copied = shutil.copytree(newest.folder, kept.root / "copied" / newest.folder.name)
    backup.end(vault, vault.bases())
    with pytest.raises(DevError, match="is not in"):
        archive.keys.read_list(copied)
    assert not generation.exists()


def test_another_process_goes_on_wherever_the_one_before_it_died(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.keeper.take()
    write = _Part.write

    def cut(part: _Part, data: bytes, *, last: bool = False) -> None:
        write(part, data, last=last)
        os.ftruncate(part._file, max(10, os.fstat(part._file).st_size - cuts.pop()))
        raise OSError("no space left")

    cuts = [10_000, 90, 0, 1]
    for sections in (4, 8, 12, 16):
        segment = kept.write(1, sections)
        with monkeypatch.context() as patched:
            patched.setattr(_Part, "write", cut)
            with pytest.raises(OSError, match="no space"):
                kept.keeper.poll()
        if sections != 8:  # or the same process tries again
            kept.again()
        assert kept.keeper.poll()
    segment.unlink()
    kept.write(2, 1)
    kept.again().poll()
    kept.keeper.poll(time.time())
    found = kept.restored()
    assert len(found["CommitLog-8-1.log"]) == 20 + 1_600
    assert found["CommitLog-8-1.log"][-92:] == bytes([16]) * 92


def test_what_was_in_the_clear_before_there_were_keys_is_gone_on_with(kept: Kept) -> None:
    archive = Archive(kept.root / "vault")
    plain = Keeper(kept.node, archive)
    kept.write(1, 3)
    plain.take()
    segment = kept.write(1, 7)
    kept.again().poll()
    assert [path.name for path in kept.sealed()] == ["CommitLog-8-1.log.0000000320.0.sealed"]
    assert kept.restored()[segment.name] == _synced(segment)
    with pytest.raises(DevError, match="is sealed; say where its key is"):
        archive.restore(kept.root / "without keys")


def _flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 30)


@pytest.mark.parametrize("change", [_flip, _cut, Path.unlink])
@pytest.mark.parametrize("which", ["nb-1", "files", "CommitLog-8-1"])
def test_what_was_changed_is_refused_by_name_and_half_a_node_is_none(
    kept: Kept, change: Callable[[Path], object], which: str
) -> None:
    kept.write(1, 3)
    kept.keeper.take()
    (kept.node / "commitlog" / "CommitLog-8-1.log").unlink()
    kept.write(2, 1)
    kept.keeper.poll(time.time())
    (path,) = (path for path in kept.sealed() if path.name.startswith(which))
    change(path)
    with pytest.raises(DevError, match=f"{which}|segment 1 of the log"):
        kept.restored()
    assert not (kept.root / "restored").exists()


def test_a_file_in_another_ones_place_is_refused(kept: Kept) -> None:
    other = kept.node / TABLE.with_name("nb-2-big-Data.db")
    other.write_bytes(b"y" * 10)
    kept.keeper.take()
    one, two = (path for path in kept.sealed() if path.name.startswith("nb-"))
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    with pytest.raises(DevError, match="nb-"):
        kept.restored()


def test_a_missing_key_is_said_before_anything_is_touched(kept: Kept) -> None:
    kept.keeper.take()
    shutil.rmtree(kept.root / "keys" / "nodes")
    (kept.root / "restored").mkdir()
    (kept.root / "restored" / "notes").touch()
    archive = Archive(kept.root / "vault", Keyring.open(kept.root / "keys"), "g/node-1")
    with pytest.raises(DevError, match="is not in"):
        archive.restore(kept.root / "restored")
    assert (kept.root / "restored" / "notes").exists()


def test_a_segment_that_is_not_whole_yet_may_have_half_a_record_and_only_the_newest(kept: Kept) -> None:
    kept.write(1, 3)
    kept.keeper.take()
    kept.write(1, 6)
    kept.keeper.poll()
    (part,) = (path for path in kept.sealed() if path.name.startswith("CommitLog-8-1"))
    with part.open("ab") as file:
        file.write(struct.pack(">IB", 1_000, 0) + b"half of it")
    assert len(kept.restored()["CommitLog-8-1.log"]) == 20 + 600
    kept.write(2, 1)
    kept.keeper.poll()
    with pytest.raises(DevError, match="CommitLog-8-1"):
        kept.restored()
    # What another process writes of it counts.
    kept.write(1, 7)
    kept.again().poll()
    assert len(kept.restored()["CommitLog-8-1.log"]) == 20 + 700
