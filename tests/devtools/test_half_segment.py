"""Whoever receives PostgreSQL's log is killed while it makes room for a segment, and goes on with it; or its machine is gone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools import archiver, backup, restoring
from devtools.backup import Vault
from devtools.errors import DevError
from devtools.paths import DataFolder
from devtools.processes import Child
from devtools.segments import SIZE, Log, name_of, number_of
from tests.devtools.backed_up import Server, asked, kill, reachable, until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = reachable(tmp_path)
    one = Server(folder / "data", folder / "vault", folder / "keys")
    yield one
    one.lose()


def half(server: Server) -> Path:
    """A segment that was begun, as far as it was when its process died."""
    server.sql("CREATE TABLE note (number integer)")
    server.sql("SELECT pg_switch_wal()")
    server.sql("INSERT INTO note VALUES (1)")
    until(server.streamed, "the stream has everything")
    kill(server.archive)
    (found,) = server.vault.receiving(server.vault.generation(server.data)).glob("*.partial")
    os.truncate(found, 5_000_000)
    return found


def test_a_stream_goes_on_behind_half_a_segment(server: Server) -> None:
    found = half(server)
    server.archive.start()
    server.archive.wait_ready()
    until(server.streamed, "the stream has everything")
    assert found.stat().st_size == SIZE


def test_twin_pg_receivewal_alone_does_not(server: Server) -> None:
    found = half(server)
    log = server.data.logs / "alone.log"
    alone = Child(archiver.receiver(server.server, found.parent, log))
    alone.start()
    try:
        until(lambda: "should be 0 or" in alone.output(), "it says why")
        assert server.streamed() is False
    finally:
        alone.stop()


@pytest.fixture(params=["sealed", "in the clear"])
def lost(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Vault, Path]:
    """The vault of a machine that is gone; it had 5 MB of room for the next segment by then. And that segment."""
    folder = reachable(tmp_path)
    keys = folder / "keys" if request.param == "sealed" else None
    server = Server(folder / "data", folder / "vault", keys)
    try:
        server.sql("CREATE TABLE note (number integer)")
        server.sql("INSERT INTO note VALUES (1)")
        server.sql("SELECT pg_switch_wal()")
        until(server.streamed, "the stream has everything")
        kill(server.archive)
        vault = server.vault
        generation = vault.generation(server.data)
        newest = max(vault.log(generation).names(), key=number_of)
        begun = vault.receiving(generation) / f"{name_of(newest[:8], number_of(newest) + 1)}.partial"
        begun.write_bytes(bytes(5_000_000))
    finally:
        server.lose()
    return vault, begun


def restored(vault: Vault, root: Path) -> str:
    """How many rows there are behind a restore. Raises :class:`DevError`."""
    root.mkdir(mode=0o711)
    data = DataFolder(root)
    restoring.restore(vault, data)
    return asked(data, "SELECT count(*) FROM note")


def test_a_restore_ends_before_a_segment_that_was_only_begun(
    lost: tuple[Vault, Path], tmp_path: Path
) -> None:
    vault, _ = lost
    assert restored(vault, tmp_path / "restored") == "1"


def test_twin_postgresql_refuses_a_segment_that_was_only_begun(
    lost: tuple[Vault, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault, begun = lost
    whole = Log.fetch

    def fetch(log: Log, name: str, target: Path) -> bool:
        if whole(log, name, target):
            return True
        target.write_bytes(begun.read_bytes() if begun.name.startswith(name) else b"")
        return begun.name.startswith(name)

    # Whoever may not run PostgreSQL as somebody else has the same in a command.
    monkeypatch.setattr(Log, "fetch", fetch)
    monkeypatch.setattr(restoring, "_command", lambda vault, base, spool: f"cp {begun.parent}/%f.partial %p")
    with pytest.raises(DevError):
        restored(vault, tmp_path / "restored")


def test_a_command_in_the_clear_takes_the_newest_when_something_is_in_it(tmp_path: Path) -> None:
    """As PostgreSQL runs it for who is not root."""
    wal = tmp_path / "vault's" / "g" / "wal"
    wal.mkdir(parents=True)
    vault = Vault(wal.parent.parent)
    command = restoring._command(vault, backup.Base(wal.parent / "base" / "first", 0.0), tmp_path / "spool")
    target = tmp_path / "RECOVERYXLOG"

    def got(name: str) -> int:
        text = command.replace("%f", name).replace("%p", str(target)).replace("%%", "%")
        return subprocess.run(["sh", "-c", text], check=False, capture_output=True).returncode

    name = "000000010000000000000001"
    assert got(name) == 1
    for begun in (0, SIZE - 1):
        (wal / f"{name}.partial").write_bytes(bytes(begun))
        assert got(name) == 1
        assert not target.exists()
        assert not vault.log(wal.parent).fetch(name, target)
    for written in (
        b"\1" + bytes(SIZE - 1),
        b"\1" + bytes(1_000),
    ):  # PostgreSQL says what it thinks of one that was cut
        (wal / f"{name}.partial").write_bytes(written)
        assert got(name) == 0
        assert target.read_bytes() == written
        assert vault.log(wal.parent).fetch(name, target)
    (wal / f"{name}.partial").rename(wal / name)
    assert got(name) == 0
