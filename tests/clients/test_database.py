"""The file of a device: who may open it, what one turn costs, what happens when it cannot be written, how large it gets."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from whatsapp_client import (
    Client,
    Conversation,
    Database,
    DatabaseBroken,
    DatabaseError,
    DatabaseInUse,
    Entry,
    Session,
)
from whatsapp_client.schema import MIGRATIONS

from .connected import C, eventually, message, quick
from .scripted import Peer, ScriptedServer

HOLD = "import sys; from whatsapp_client import Database; d = Database(sys.argv[1]); print('open', flush=True); input()"
CLIENTS = str(Path(__file__).parents[2] / "clients" / "python")


def session(device: str = "d") -> Session:
    return Session("+15550001", "ann", device, "token", "refresh")


def test_the_file_is_for_its_owner_only(tmp_path: Path):
    with Database(tmp_path / "new" / "ann.db") as database:
        database.put("x", "y")
        database.commit()
        for file in Path(database.path).parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_one_process_at_a_time_and_the_lock_dies_with_it(tmp_path: Path):
    path = tmp_path / "ann.db"
    command = [sys.executable, "-c", HOLD, str(path)]
    holder = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": CLIENTS}
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"open\n"
    try:
        with pytest.raises(DatabaseInUse, match="in use by another process"):
            Database(path)
    finally:
        holder.kill()
        holder.communicate()
    with Database(path), pytest.raises(DatabaseInUse):
        Database(path)


def test_what_is_not_ours_is_refused_and_left_alone(tmp_path: Path):
    garbage, other, newer = tmp_path / "garbage", tmp_path / "other", tmp_path / "newer"
    garbage.write_bytes(b"no database" * 1000)
    with sqlite3.connect(other) as sql:
        sql.execute("CREATE TABLE theirs (x)")
    Database(newer).close()
    with sqlite3.connect(newer) as sql:
        sql.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    for path, why in ((garbage, "not a database"), (other, "another program"), (newer, "newer version")):
        sql.close()
        before = path.read_bytes()
        with pytest.raises(DatabaseError, match=why):
            Database(path)
        if path is garbage:
            assert path.read_bytes() == before


async def test_a_file_belongs_to_one_device(tmp_path: Path):
    with Database(tmp_path / "ann.db") as database:
        Client("http://127.0.0.1:1", session(), database=database)
        with pytest.raises(DatabaseError, match="another device"):
            Client("http://127.0.0.1:1", session("other"), database=database)


async def test_the_writes_of_one_turn_are_one_transaction(tmp_path: Path):
    with Database(tmp_path / "ann.db") as database:
        client = Client("http://127.0.0.1:1", session(), database=database)
        before = database.commits
        for i in range(100):
            client.send(C, f"t{i}")
        client.mark_read(C, 3)
        assert database.commits == before
        await asyncio.sleep(0)
        assert database.commits == before + 1
        await asyncio.sleep(0)
        assert database.commits == before + 1


async def test_what_is_not_committed_is_not_there_after_a_crash(tmp_path: Path):
    path = tmp_path / "ann.db"
    database = Database(path)
    client = Client("http://127.0.0.1:1", session(), database=database)
    client.send(C, "kept")
    client.flush()
    client.send(C, "lost")
    database.abandon()
    with pytest.raises(DatabaseBroken):
        client.send(C, "into nothing")
    with Database(path) as again:
        assert [o.text for o in Client("http://127.0.0.1:1", session(), database=again).pending(C)] == [
            "kept"
        ]


async def test_a_full_disk_stops_the_client_and_nothing_is_acknowledged_that_is_not_stored(tmp_path: Path):
    peers: list[Peer] = []

    async def flood(peer: Peer) -> None:
        peers.append(peer)
        await peer.synced()
        for seq in range(1, 200):
            await peer.send(**message(seq, "x" * 1000))
        await peer.until_closed()

    path = tmp_path / "ann.db"
    async with ScriptedServer(flood) as server:
        database = Database(path)
        client = Client(server.url, session(), database=database, backoff=quick())
        pages = database.read("PRAGMA page_count").fetchone()[0]
        database.read(f"PRAGMA max_page_count = {pages + 20}")
        await client.start()
        await eventually(lambda: client.state.status == "stopped")
        assert "cannot be written" in client.state.detail
        with pytest.raises(DatabaseBroken):
            await asyncio.sleep(0)
            client.outbox.add(C, b"more")
        await client.stop()
        database.close()
        assert server.connections == 1
    acks = [frame["positions"][C] for frame in peers[0].received if frame["type"] == "ack"]
    with Database(path) as again:
        kept = Conversation(C, again)
        assert max(acks, default=0) <= (kept.position or 0) == len(kept.entries) < 199


def test_each_conversation_keeps_its_newest_entries():
    database = Database(keep=100)
    conversation = Conversation(C, database)
    for seq in range(1, 400):
        conversation.live(Entry(C, seq, "bob", f"m{seq}"))
    kept = [entry.seq for entry in conversation.entries]
    assert kept == list(range(kept[0], 400))
    assert 100 <= len(kept) <= 105
    assert conversation.log.oldest() == kept[0]


def test_all_conversations_together_are_bounded():
    database = Database(keep=400, keep_total=1000)
    conversations = [Conversation(f"c{i}", database) for i in range(5)]
    for seq in range(1, 401):
        for conversation in conversations:
            conversation.live(Entry(conversation.id, seq, "bob", f"m{seq}"))
    for conversation in conversations:
        kept = [entry.seq for entry in conversation.entries]
        assert kept == list(range(kept[0], 401))
    assert sum(len(conversation.entries) for conversation in conversations) <= 1100
