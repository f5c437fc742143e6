"""A node of Cassandra in a vault: its commit log as it is written, its tables now and then."""

from __future__ import annotations

import os
import shutil
import struct
import threading
import time
from pathlib import Path

import pytest

from devtools import node_archive, ports, restoring
from devtools.backup import Vault
from devtools.cassandra import CassandraNode
from devtools.errors import DevError
from devtools.keyring import Keyring
from devtools.node_archive import Archive, Keeper
from devtools.paths import DataFolder
from devtools.stack import Stack
from tests.devtools.node_files import node as a_node
from tests.devtools.node_files import segment as a_segment


def test_what_is_synced_is_copied_and_nothing_else(tmp_path: Path) -> None:
    node = a_node(tmp_path)
    keeper = Keeper(node, Archive(tmp_path / "vault"))
    a_segment(node / "commitlog", 1, 2, more=struct.pack(">ii", 0, 0) + b"half a section")
    assert keeper.poll() == 220
    copy = tmp_path / "vault" / "log" / "CommitLog-8-1.log"
    assert copy.stat().st_size == 220
    assert keeper.poll() == 0
    segment = a_segment(node / "commitlog", 1, 5)
    a_segment(node / "commitlog", 2, 1)
    segment.unlink()  # its tables are on disk: Cassandra needs it no more
    assert keeper.poll() == 300 + 120
    assert copy.read_bytes()[220:228] == struct.pack(">ii", 320, 7)
    assert not keeper.missed
    assert list((node / "commitlog-kept").iterdir()) == [node / "commitlog-kept" / "CommitLog-8-2.log"]
    # Another process goes on where this one was.
    assert Keeper(node, Archive(tmp_path / "vault")).poll() == 0


def test_when_a_segment_was_missed_the_tables_are_kept_anew(tmp_path: Path) -> None:
    node = a_node(tmp_path)
    keeper = Keeper(node, Archive(tmp_path / "vault"))
    a_segment(node / "commitlog", 1, 1)
    keeper.poll()
    first = keeper.look_after()
    assert first is not None
    assert first.first == 1
    assert keeper.look_after() is None
    a_segment(node / "commitlog", 3, 1)
    keeper.poll()
    assert keeper.missed
    second = keeper.look_after()
    assert second is not None
    # What has not changed since is there once.
    name = Path("data") / "k" / "t-1" / "nb-1-big-Data.db"
    assert os.path.samefile(first.folder / name, second.folder / name)
    assert not keeper.missed


def test_old_tables_go_with_the_log_that_only_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_archive, "KEEP", 2)
    node = a_node(tmp_path)
    archive = Archive(tmp_path / "vault")
    keeper = Keeper(node, archive)
    for number in range(1, 5):
        segment = a_segment(node / "commitlog", number, 1)
        keeper.missed = True
        keeper.look_after()
        segment.unlink()
        keeper.poll()
    assert [base.first for base in archive.bases()] == [3, 4]
    assert list(archive.log.segments()) == [3, 4]


def test_a_time_before_the_first_tables_is_refused(tmp_path: Path) -> None:
    node = a_node(tmp_path)
    archive = Archive(tmp_path / "vault")
    with pytest.raises(DevError, match="no tables"):
        archive.restore(tmp_path / "again")
    Keeper(node, archive).take()
    with pytest.raises(DevError, match="no tables"):
        archive.restore(tmp_path / "again", until=time.time() - 60)
    with pytest.raises(DevError, match="has data"):
        archive.restore(node)


class Writing:
    """Rows 1, 2, 3 … of a table, as fast as they are acknowledged."""

    def __init__(self, node: CassandraNode) -> None:
        self.node, self.acknowledged = node, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        body = "0x" + "ab" * 2_000
        while not self._ended.is_set():
            self.node.cql(f"INSERT INTO k.t (id, body) VALUES ({self.acknowledged + 1}, {body})")
            self.acknowledged += 1

    def until(self, number: int) -> None:
        deadline = time.monotonic() + 120
        while self.acknowledged < number:
            assert self._thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


def _rows(node: CassandraNode) -> set[int]:
    child = node.start()
    try:
        return {int.from_bytes(row[0] or b"", "big") for row in node.cql("SELECT id FROM k.t")}
    finally:
        child.kill()


@pytest.mark.parametrize("count", [1, 3])
def test_nodes_that_were_restored_are_made_the_same_before_anybody_is_let_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    vault = tmp_path / "vault"
    for number in range(1, count + 1):
        node = a_node(tmp_path / f"{number}").rename(tmp_path / f"node-{number}")
        a_segment(node / "commitlog", 1, number)  # each has what its own log had
        Keeper(node, Archive(vault / "nodes" / f"node-{number}")).take()
    data = DataFolder(tmp_path / "data")
    data.create()
    restoring._restore_nodes(Vault(vault), vault, data, None, lambda text: None)
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(CassandraNode, "nodetool", lambda node, *words: asked.append((node.name, *words)))
    stack = Stack(data, port=ports.choose(), cassandra=count)
    stack._repair()
    assert asked == ([("cassandra-1", "repair", "--full", "whatsapp")] if count > 1 else [])
    stack._repair()
    assert len(asked) == (count > 1)


@pytest.mark.needs_cassandra
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "is_sealed", [True, pytest.param(False, marks=pytest.mark.long)], ids=["sealed", "plain"]
)
def test_a_node_under_load_comes_back_up_to_the_last_look_or_to_a_point_in_time(
    tmp_path: Path, is_sealed: bool
) -> None:
    node = CassandraNode(
        tmp_path / "node-1",
        log=tmp_path / "node.log",
        port=ports.choose(),
        storage_port=ports.choose(),
        compilers="quick",
        heap_mb=640,
        # Small ones, so that segments come and go.
        settings={
            "memtable_heap_space": "8MiB",
            "memtable_offheap_space": "8MiB",
            "commitlog_segment_size": "1MiB",
        },
    )
    archive = Archive(tmp_path / "vault", Keyring.make(tmp_path / "keys") if is_sealed else None, "node-1")
    child = node.start()
    try:
        node.cql("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        node.cql("CREATE TABLE k.t (id int PRIMARY KEY, body blob)")
        keeper = Keeper(node.folder, archive)
        writing = Writing(node)
        writing.until(500)
        keeper.take()
        for number in range(600, 2_500, 100):
            writing.until(number)
            keeper.poll()
        middle = writing.acknowledged
        keeper.poll(time.time())
        at = time.time()
        writing.until(middle + 700)
        behind = writing.acknowledged
        keeper.poll()
        writing.until(behind + 300)
        writing.stop()
        assert not keeper.missed
    finally:
        child.kill()
    shutil.rmtree(node.folder)  # what came behind the last look is gone with it
    archive.restore(node.folder)
    there = _rows(node)
    assert set(range(1, behind + 1)) <= there
    shutil.rmtree(node.folder)
    archive.restore(node.folder, until=at)
    there = _rows(node)
    assert set(range(1, middle + 1)) <= there
    assert behind not in there
    # Twin of the sealed one: in the clear it is found.
    written = any(b"\xab" * 100 in file.read_bytes() for file in archive.root.rglob("*") if file.is_file())
    assert written is not is_sealed
    # Twin: without the log the tables alone know less.
    shutil.rmtree(node.folder)
    shutil.rmtree(archive.log.folder)
    (archive.root / "timeline").unlink()
    archive.restore(node.folder)
    assert not set(range(1, middle + 1)) <= _rows(node)
