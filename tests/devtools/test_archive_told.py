"""The archive says in the database what it has: while it streams, and nothing where it does not."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from devtools import archiver, backup, running
from devtools.errors import DevError
from devtools.paths import REPO
from devtools.processes import children
from devtools.telling import Teller
from tests.devtools.backed_up import Server, kill, reachable, until
from whatsapp.staff import health


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With the tables of an installation."""
    folder = reachable(tmp_path_factory.mktemp("told"))
    found = Server(folder / "data", folder / "vault", folder / "keys")
    try:
        found.server.create_database()
        env = {
            **os.environ,
            "DATABASE_URL": found.server.url(),
            "DJANGO_SETTINGS_MODULE": "whatsapp.settings",
        }
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--noinput"],
            cwd=REPO,
            env=env,
            check=True,
            capture_output=True,
        )
        yield found
    finally:
        found.lose()


def row(server: Server) -> list[int]:
    """looked_at, newest_at, oldest_at, number, sealed; nothing where there is none."""
    values = "looked_at, newest_at, oldest_at, number, sealed::int"
    said = server.server.sql(f"SELECT {values} FROM staff_backups", database="whatsapp")
    return [int(word) for word in said.split("|")] if said else []


def now(server: Server) -> int:
    return int(server.sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"))


@pytest.mark.timeout(240)
def test_it_says_what_it_has_and_an_archive_that_does_not_stream_says_nothing(server: Server) -> None:
    until(lambda: row(server), "the row is there")
    looked, newest, oldest, number, sealed = row(server)
    (base,) = server.vault.bases()
    assert (newest, oldest, number, sealed) == (int(base.ended_at * 1000), int(base.ended_at * 1000), 1, 1)
    assert 0 <= now(server) - looked < 120_000

    second = backup.take(server.vault, server.data, server.server)
    server.restart_archive()
    until(lambda: row(server)[3] == 2, "both are told")
    assert row(server)[1:3] == [int(second.ended_at * 1000), oldest]

    kill(server.archive)
    until(lambda: server.sql("SELECT active FROM pg_replication_slots") == "f", "nobody streams")
    before = row(server)
    assert not Teller(server.vault, server.server).tell(), "what is not streamed is not had"
    assert row(server) == before
    server.archive.start()
    server.archive.wait_ready()
    until(lambda: row(server)[0] > before[0], "it streams again, and says so")


def test_the_archive_is_not_counted_as_a_standby(server: Server) -> None:
    until(
        lambda: server.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1",
        "it streams",
    )
    *_, standbys = server.server.sql(health._POSTGRES.strip()).split("|")
    assert standbys == "0"


def test_it_goes_on_where_the_schema_is_older_or_the_server_is_away(server: Server) -> None:
    server.server.sql("ALTER TABLE staff_backups RENAME TO aside", database="whatsapp")
    try:
        assert Teller(server.vault, server.server).tell(), "there is nothing to try again"
    finally:
        server.server.sql("ALTER TABLE aside RENAME TO staff_backups", database="whatsapp")
    away = backup.server_of(server.data, 1)
    assert not Teller(server.vault, away).tell()


def test_a_stream_that_is_behind_is_not_told_as_complete(server: Server) -> None:
    """Whoever receives the log hangs: for a minute the server takes it for one that streams."""
    until(server.streamed, "it streams")
    assert server.archive.pid
    (receiver,) = children(server.archive.pid)
    os.kill(receiver, signal.SIGSTOP)
    try:
        server.sql("CREATE TABLE behind (number integer)")
        before = row(server)
        teller = Teller(server.vault, server.server)
        assert not teller.tell()
        assert server.sql("SELECT active FROM pg_replication_slots") == "t", (
            "this is the twin: by that it is told"
        )
        assert row(server) == before
    finally:
        os.kill(receiver, signal.SIGCONT)
    until(teller.tell, "it has what was written when it was looked at")


@pytest.mark.parametrize("mount_point", [True, False], ids=["empty", "none"])
def test_an_archive_that_starts_while_the_disk_of_backups_is_away_makes_no_others(
    server: Server, mount_point: bool
) -> None:
    kill(server.archive)
    assert server.vault.ring
    before = row(server)
    aside = server.vault.root.rename(server.vault.root.with_name("aside"))
    try:
        if mount_point:
            server.vault.root.mkdir()
        server.archive.start()
        until(lambda: server.archive.pid is None, "it ends")
        assert "is their disk away?" in server.archive.output()
        up = argparse.Namespace(backups=str(server.vault.root), backup_keys=str(server.vault.ring.root))
        with pytest.raises(DevError, match="is their disk away"):
            running._keys(up, server.data)
        assert not server.vault.root.exists() or not list(server.vault.root.iterdir())
    finally:
        if mount_point:
            server.vault.root.rmdir()
        aside.rename(server.vault.root)
    server.archive.start()
    server.archive.wait_ready()
    until(lambda: row(server)[0] > before[0], "it is told again")


@pytest.mark.parametrize("away", ["vault", "keys"])
def test_nothing_is_made_where_the_disk_of_backups_or_keys_is_away(server: Server, away: str) -> None:
    kill(server.archive)
    assert server.vault.ring
    generation = server.vault.generation(server.data)
    folder = server.vault.root if away == "vault" else server.vault.ring.root
    aside = folder.rename(folder.with_name("aside"))
    try:
        assert not archiver._look_after(server.vault, server.data, server.server, generation)
        assert not folder.exists()
        assert not Teller(server.vault, server.server).tell()
        if away == "keys":
            with pytest.raises(DevError, match="are away"):
                server.vault.ring.begin(generation.name)
    finally:
        aside.rename(folder)
    assert archiver._look_after(server.vault, server.data, server.server, generation)
    assert server.vault.generation(server.data) == generation
    before = row(server)
    server.archive.start()
    server.archive.wait_ready()
    until(lambda: row(server)[0] > before[0], "it is told again")
