"""Snapshots of a node of Cassandra that is written to."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from devtools import ports, snapshots
from devtools.cassandra import CassandraNode
from devtools.errors import DevError

pytestmark = [pytest.mark.needs_cassandra, pytest.mark.slow]


def _node(folder: Path, port: int, storage_port: int) -> CassandraNode:
    return CassandraNode(
        folder / "node",
        log=folder / "node.log",
        port=port,
        storage_port=storage_port,
        compilers="quick",
        heap_mb=640,
        # Small ones, so that tables are written and compacted while it is looked at.
        settings={
            "memtable_heap_space": "8MiB",
            "memtable_offheap_space": "8MiB",
            "commitlog_segment_size": "1MiB",
        },
    )


@pytest.mark.timeout(300)
def test_what_was_acknowledged_before_is_in_it(tmp_path: Path) -> None:
    port, storage_port = ports.choose(), ports.choose()
    node = _node(tmp_path, port, storage_port)
    child = node.start()
    written, ended, failed = [0], threading.Event(), []

    def write() -> None:
        body = "0x" + "ab" * 2_000
        try:
            while not ended.is_set():
                node.cql(f"INSERT INTO k.t (id, body) VALUES ({written[0] + 1}, {body})")
                written[0] += 1
        except Exception as error:
            failed.append(error)

    try:
        node.cql("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        node.cql("CREATE TABLE k.t (id int PRIMARY KEY, body blob)")
        writer = threading.Thread(target=write)
        writer.start()
        while written[0] < 1_500 and not failed:
            ended.wait(0.01)
        before = written[0]
        assert snapshots.take(node.folder, tmp_path / "snapshot") > 0
        ended.set()
        writer.join()
        assert not failed
    finally:
        child.kill()
    with pytest.raises(DevError, match="has data"):
        snapshots.restore(tmp_path / "snapshot", node.folder)
    shutil.rmtree(node.folder)
    snapshots.restore(tmp_path / "snapshot", node.folder)
    child = node.start()
    try:
        there = {int.from_bytes(row[0] or b"", "big") for row in node.cql("SELECT id FROM k.t LIMIT 1000000")}
        assert set(range(1, before + 1)) <= there
        node.cql("INSERT INTO k.t (id, body) VALUES (0, 0x00)")
    finally:
        child.kill()


def test_twin_without_the_commit_log_the_latest_are_missing(tmp_path: Path) -> None:
    port, storage_port = ports.choose(), ports.choose()
    node = _node(tmp_path, port, storage_port)
    child = node.start()
    try:
        node.cql("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        node.cql("CREATE TABLE k.t (id int PRIMARY KEY)")
        node.cql("INSERT INTO k.t (id) VALUES (1)")
        snapshots.take(node.folder, tmp_path / "snapshot")
    finally:
        child.kill()
    shutil.rmtree(node.folder)
    shutil.rmtree(tmp_path / "snapshot" / "commitlog")
    (tmp_path / "snapshot" / "commitlog").mkdir()
    snapshots.restore(tmp_path / "snapshot", node.folder)
    child = node.start()
    try:
        assert node.cql("SELECT id FROM k.t") == []
    finally:
        child.kill()
