"""The server has deleted log that the archive does not have: it begins anew, and what there was can still be restored."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools import backup
from devtools.telling import Teller
from tests.devtools.backed_up import Server, kill, reachable, until


@pytest.mark.timeout(120)
@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "plain"])
def test_an_archive_goes_on_when_the_server_kept_too_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealed: bool
) -> None:
    """One that runs ends then, whoever supervises starts it again, and that one has a new generation."""
    monkeypatch.setitem(backup.SETTINGS, "max_slot_wal_keep_size", "16MB")
    folder = reachable(tmp_path)
    server = Server(folder / "data", folder / "vault", folder / "keys" if sealed else None)
    try:
        server.server.create_database()
        until(server.streamed, "it streams")
        kill(server.archive)
        server.sql("CREATE TABLE filler AS SELECT 1 AS number")

        def lost() -> bool:
            server.sql("SELECT pg_switch_wal()")
            server.sql("INSERT INTO filler VALUES (1)")
            server.sql("CHECKPOINT")
            return server.sql("SELECT wal_status FROM pg_replication_slots") == "lost"

        until(lost, "the server no longer waits for the archive")
        teller = Teller(server.vault, server.server)
        teller.tell()
        assert teller.is_lost, "one that runs sees that it cannot go on"
        first = {base.generation for base in server.vault.bases()}
        server.archive.start()
        server.archive.wait_ready()
        until(
            lambda: {base.generation for base in server.vault.bases()} > first,
            "there is a base backup of now",
        )
        until(server.streamed, "it streams again")
    finally:
        server.lose()
