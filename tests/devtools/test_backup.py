"""Backups: what was committed comes back, up to the moment of the loss or to a point in time; and the drill that shows it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from devtools import backup, ports, restoring
from devtools.drill import rehearse
from devtools.errors import DevError
from devtools.paths import DataFolder
from tests.devtools.backed_up import Server, reachable, until


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reachable(tmp_path_factory.mktemp("backup"))


def test_everything_up_to_the_loss_or_up_to_a_point_in_time(folder: Path) -> None:
    first = Server(folder / "data", folder / "vault")
    (first.data.root / "media").mkdir()
    (first.data.root / "media" / "picture").write_bytes(b"p")
    secrets = first.data.secrets.read_text()
    first.sql("CREATE TABLE note AS SELECT 1 AS number")
    first.sql("INSERT INTO note VALUES (2)")
    time.sleep(0.2)  # a point in time between two commits
    between = time.time()
    time.sleep(0.2)
    first.sql("INSERT INTO note VALUES (3)")
    first.vault.keep_files(first.data)
    until(first.streamed, "the stream has everything")
    first.lose()

    second = DataFolder(folder / "data")
    restoring.restore(first.vault, second, until=between)
    assert second.secrets.read_text() == secrets
    assert (second.root / "media" / "picture").read_bytes() == b"p"
    second.secrets.write_text(f"{secrets}\n")
    with pytest.raises(DevError, match="holds a database"):
        restoring.restore(first.vault, second)
    assert second.secrets.read_text() == f"{secrets}\n", "what is refused has changed nothing"
    # It goes on as another generation of the same vault, which leaves the first one as it is.
    again = Server(folder / "data", folder / "vault")
    try:
        assert again.sql("SELECT string_agg(number::text, ',') FROM note") == "1,2"
        again.sql("INSERT INTO note VALUES (4)")
        until(again.streamed, "the stream has everything")
    finally:
        again.lose()
    assert len({base.generation for base in first.vault.bases()}) == 2
    done = restoring.restore(first.vault, DataFolder(folder / "data"))
    assert done.last_commit
    third = backup.server_of(DataFolder(folder / "data")).start()
    try:
        assert _numbers(DataFolder(folder / "data")) == "1,2,4"
    finally:
        third.stop()
    # What there was before the restore that went too far back is still there: what had been thrown away by it can be had.
    other = DataFolder(folder / "other")
    other.root.mkdir(mode=0o711)
    base = first.vault.bases()[0]
    for one in first.vault.bases()[1:]:
        shutil.rmtree(one.folder)
    assert restoring.restore(first.vault, other).base == base
    fourth = backup.server_of(other).start()
    try:
        assert _numbers(other) == "1,2,3"
    finally:
        fourth.stop()


def test_tables_of_nodes_are_kept_with_where_the_nodes_are(tmp_path: Path) -> None:
    """A restored folder is to know that its messages are there."""
    data, vault = DataFolder(tmp_path / "data"), backup.Vault(tmp_path / "vault")
    data.create()
    table = data.cassandra / "node-1" / "data" / "k" / "t-1"
    table.mkdir(parents=True)
    (table / "nb-1-big-Data.db").write_bytes(b"x")
    assert backup.take_nodes(vault, data) == [], (
        "what is left of nodes when the messages are in PostgreSQL again"
    )
    data.nodes.write_text("1\n")
    (data.cassandra / "port").write_text("9042\n")
    (kept,) = backup.take_nodes(vault, data)
    assert (kept / "data" / "k" / "t-1" / "nb-1-big-Data.db").read_bytes() == b"x"
    nodes = vault.generation(data) / "nodes"
    assert [(nodes / name).read_text() for name in ("nodes", "port")] == ["1\n", "9042\n"]


def _numbers(data: DataFolder) -> str:
    port = int(data.postgres.with_name("postgres.port").read_text())
    return backup.server_of(data, port).sql("SELECT string_agg(number::text, ',') FROM note")


def test_twin_without_the_stream_what_came_behind_the_base_backup_is_gone(folder: Path) -> None:
    first = Server(folder / "data", folder / "vault")
    first.sql("CREATE TABLE note AS SELECT 1 AS number")
    until(first.streamed, "the stream has everything")
    first.archive.stop()
    first.sql("INSERT INTO note VALUES (2)")
    first.lose()
    data = DataFolder(folder / "data")
    restoring.restore(first.vault, data)
    child = backup.server_of(data).start()
    try:
        assert _numbers(data) == "1"
    finally:
        child.stop()


def test_times_that_cannot_be_had_are_said_and_nothing_is_touched(folder: Path) -> None:
    first = Server(folder / "data", folder / "vault")
    first.stop()
    data = DataFolder(folder / "data")
    ended = first.vault.bases()[0].ended_at
    with pytest.raises(DevError, match="nothing earlier"):
        restoring.choose(first.vault, ended - 1)
    with pytest.raises(DevError, match="there is no base backup"):
        restoring.choose(backup.Vault(folder / "nowhere"), None)
    shutil.rmtree(first.server.folder)
    with pytest.raises(DevError, match="the log ends before that time"):
        restoring.restore(first.vault, data, until=time.time() + 3_600)


def test_old_base_backups_go_with_the_log_that_only_they_need(folder: Path) -> None:
    first = Server(folder / "data", folder / "vault")
    try:
        generation = first.vault.bases()[0].generation
        for _ in range(2):
            first.sql("SELECT pg_switch_wal()")
            first.sql("CREATE TABLE IF NOT EXISTS note (number integer)")
            backup.take(first.vault, first.data, first.server)
        until(first.streamed, "the stream has everything")
        before = {path.name for path in (generation / "wal").iterdir()}
        assert backup.prune(first.vault, keep=1) == 2
        after = {path.name for path in (generation / "wal").iterdir()}  # the next segment may have begun
        assert len(first.vault.bases()) == 1
        assert before - after
        assert max(before - after) < min(after)
    finally:
        first.lose()
    restoring.restore(first.vault, DataFolder(folder / "data"))


def test_times_are_read_as_utc_unless_they_say_otherwise() -> None:
    assert backup.parse_time("2026-11-26T08:30:00Z") == backup.parse_time("2026-11-26T08:30:00")
    assert backup.parse_time("2026-11-26T09:30:00+01:00") == backup.parse_time("2026-11-26T08:30:00Z")
    with pytest.raises(DevError, match="is no time"):
        backup.parse_time("yesterday")


@pytest.mark.long  # CI restores servers: test_everything_up_to_…, and sealed: test_sealed_backup.py
@pytest.mark.needs_system
@pytest.mark.timeout(400)
async def test_a_system_under_load_comes_back_whole(folder: Path) -> None:
    """``./dev drill restore --sealed``, in short."""
    figures = await rehearse(folder, seconds=2, per_second=50, port=ports.choose(), sealed=True)
    assert figures["acknowledged"] > 0
    # The stream is a moment behind: seed's bound is five minutes, ours a second or two of a busy machine.
    assert figures["rpoSeconds"] < 10
    assert figures["missing"] < figures["acknowledged"]
    assert figures["rtoSeconds"] < 15 * 60
    assert figures["mediaRestored"]
    assert figures["fsckBefore"]["found"] == 0, figures["fsckBefore"]
    assert figures["fsckLeft"]["found"] == 0, figures["fsckLeft"]
    assert (folder / "keys" / "erased").read_text() == "", "who was erased is written down: nobody"


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_system_on_cassandra_under_load_comes_back_whole(folder: Path) -> None:
    """``./dev drill restore --cassandra``, in short; ``./dev faults`` runs it."""
    figures = await rehearse(folder, seconds=10, per_second=40, port=ports.choose(), nodes=1)
    assert figures["acknowledged"] > 0
    assert figures["rpoSeconds"] < 60
    assert figures["missing"] < figures["acknowledged"]
    assert figures["rtoSeconds"] < 15 * 60
    assert figures["fsckBefore"]["found"] == 0, figures["fsckBefore"]
    assert figures["fsckLeft"]["found"] == 0, figures["fsckLeft"]
