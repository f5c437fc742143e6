"""Whoever receives PostgreSQL's log is killed while it makes room for a segment, and goes on with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools import archiver
from devtools.processes import Child
from tests.devtools.backed_up import Server, _kill, reachable, until


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
    _kill(server.archive)
    (found,) = server.vault.receiving(server.vault.generation(server.data)).glob("*.partial")
    os.truncate(found, 5_000_000)
    return found


def test_a_stream_goes_on_behind_half_a_segment(server: Server) -> None:
    found = half(server)
    server.archive.start()
    server.archive.wait_ready()
    until(server.streamed, "the stream has everything")
    assert found.stat().st_size == 16 * 1024 * 1024


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
