"""A whole system whose messages are on a node of its own, as ``./dev up --cassandra`` starts it."""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

import pytest

from devtools import answering, move, running
from devtools.cql import Cql, NotLoggedIn
from devtools.environment import URL_VARIABLES
from devtools.errors import DevError
from devtools.paths import DataFolder
from tests.gateway.peer import Peer
from tests.gateway.phone import couple, new_id, rest
from tests.support.patience import until
from tests.support.stack import System
from whatsapp.wire import frames


@pytest.mark.long
@pytest.mark.needs_cassandra
@pytest.mark.needs_system
@pytest.mark.timeout(300)
async def test_what_the_only_node_confirmed_is_there_after_a_kill() -> None:
    with System(gateways=1, cassandra=1) as system:
        ring = system.stack.ring
        assert ring is not None
        for user, password in (("", ""), ("cassandra", "cassandra")):
            with pytest.raises(NotLoggedIn):
                Cql(ring.hosts[0], ring.port, user=user, password=password)
        ann, bob, conversation = await couple(system)
        async with await Peer.open(system.ws, ann) as peer:
            for number in range(1, 4):
                assert (await peer.say(conversation, f"message {number}")).seq == number
            await _health_says(system, True)
            system.kill("cassandra-1", signal.SIGSTOP)
            await _health_says(system, False)
            system.kill("cassandra-1", signal.SIGCONT)
            await _health_says(system, True)
            system.kill("cassandra-1")
            late = new_id()
            refused = await peer.attempt(conversation, "message 4", message_id=late)
            assert isinstance(refused, frames.Error)
            assert refused.code == "unavailable"
            assert refused.retryable
            system.restart("cassandra-1")

            async def confirmed() -> bool:
                answer = await peer.attempt(conversation, "message 4", message_id=late)
                return isinstance(answer, frames.StatusUpdate)

            await until(confirmed, "the same message is confirmed", 60)
        async with await Peer.open(system.ws, bob, sync=False) as peer:
            batches = await peer.sync()
            events = [event for batch in batches for event in batch.events]
            assert [event.encrypted_content for event in events] == [b"message %d" % n for n in (1, 2, 3, 4)]
        system.stop_part("worker-1")
        assert "was destroyed but it is pending" not in system.log("worker-1")


async def _health_says(system: System, log: bool) -> None:
    """Every gateway takes sessions, and says whether there is a log; so does ``./dev status``."""
    status = "ok" if log else "degraded"
    for gateway in system.gateways.values():

        async def told(http: str = gateway["http"]) -> bool:
            answer = await rest(http, "GET", "/health/ready")
            assert answer.status_code == 200
            return answer.json() == {"status": status, "parts": {"database": True, "hot": True, "log": log}}

        await until(told, f"the log's state is {log}", 30)
    assert (await asyncio.to_thread(answering.parts, system.http))["log"] is log


def arguments(*, cassandra: bool = False, cluster: bool = False) -> argparse.Namespace:
    return argparse.Namespace(cassandra=cassandra, cluster=cluster, data=None)


def test_a_folder_with_messages_elsewhere_is_refused_and_one_with_nodes_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CASSANDRA_CONTACT_POINTS", raising=False)
    monkeypatch.setattr("devtools.java.program", lambda: Path("java"))
    # As root without namespaces it is elsewhere, and outlives the test.
    monkeypatch.setattr("devtools.unprivileged.data_folder", lambda folder: folder)
    data = DataFolder(tmp_path / "data")
    data.create()
    assert running._nodes(arguments(), data) == 0
    assert running._nodes(arguments(cassandra=True), data) == 1
    assert running._nodes(arguments(cluster=True), data) == 3
    data.cassandra.mkdir()
    data.nodes.write_text("1\n")
    assert running._nodes(arguments(), data) == 1
    with pytest.raises(DevError, match="has one node of Cassandra"):
        running._nodes(arguments(cluster=True), data)
    other = DataFolder(tmp_path / "other")
    other.create()
    other.postgres.mkdir()
    with pytest.raises(
        DevError, match=f"keeps its messages in PostgreSQL; .*/dev move --data {other.root}, or"
    ):
        running._nodes(arguments(cassandra=True), other)
    with pytest.raises(DevError, match=r"/dev move .* --cluster, or"):
        running._nodes(arguments(cluster=True), other)
    monkeypatch.setenv("LOG_STORE", "postgres")
    assert running._nodes(arguments(), other) == 0
    with pytest.raises(DevError, match=r"keeps its messages on Cassandra, .*/dev move --back"):
        running._nodes(arguments(), data)


def test_what_runs_is_not_taken_for_what_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataFolder(tmp_path / "data")
    data.create()
    data.postgres.mkdir()
    monkeypatch.setattr("devtools.unprivileged.data_folder", lambda folder: folder)
    monkeypatch.setattr("devtools.record.state", lambda _: {"phase": "ready"})
    monkeypatch.setattr("devtools.record.find", lambda _: data)
    with pytest.raises(DevError, match="keeps its messages in PostgreSQL"):
        running.up(arguments(cassandra=True))


def test_what_cannot_be_moved_is_said_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)

    def asked(**options: bool) -> argparse.Namespace:
        return argparse.Namespace(data=str(data.root), **{"cluster": False, "back": False, **options})

    data = DataFolder(tmp_path / "data")
    data.create()
    with pytest.raises(DevError, match="there are no messages"):
        move.run(asked())
    with pytest.raises(DevError, match="are not on Cassandra"):
        move.run(asked(back=True))
    data.cassandra.mkdir()
    data.nodes.write_text("1\n")
    with pytest.raises(DevError, match="are on Cassandra already"):
        move.run(asked())


def test_who_moved_is_told_how_long_it_was_away_and_where_it_was(tmp_path: Path) -> None:
    data = DataFolder(tmp_path / "data")
    words = f" --data {data.root}"
    assert move._after(data, {"http": "http://127.0.0.1:8123"}, 40.4, back=False) == [
        f"The messages of {data.root} are on Cassandra. Next: ./dev up --port 8123{words}",
        "The system has been down for 40 s, and stays so until then.",
        f"Until something is written there the way back is ./dev move --back{words}",
    ]
    assert move._after(data, {}, 40.4, back=True) == [  # nothing ran, so nobody missed it
        f"The messages of {data.root} are in PostgreSQL. Next: ./dev up{words}"
    ]
    usual, away = move._after(data, {"http": "http://127.0.0.1:8000"}, 3.0, back=True)
    assert usual.endswith(f"Next: ./dev up{words}")
    assert "3 s" in away


@pytest.mark.long  # servers start four times
@pytest.mark.timeout(900)
async def test_a_data_folder_is_moved_by_one_command_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with System(gateways=1) as system:
        ann, _, conversation = await couple(system)
        async with await Peer.open(system.ws, ann) as peer:
            await peer.say(conversation, "message 1")
        data = system.stack.data
        system.stack.stop()
        keys = ("SECRET_KEY", "TOKEN_KEYS", "FRANKING_KEYS")
        for name in (*URL_VARIABLES, "WHATSAPP_ENV", "WHATSAPP_DATA", *keys):
            monkeypatch.delenv(name, raising=False)
        stack = move.servers(data, 1)
        try:
            stack.start()
            move.forth(stack)
            assert data.nodes.read_text() == "1\n"
            move.back(stack)
            assert not data.nodes.exists()
            move.forth(stack)
        finally:
            stack.stop()
    assert stack.ring is not None
    children = stack.ring.start()
    try:
        with Cql(stack.ring.hosts[0], stack.ring.port, user="whatsapp", password=stack.ring.password) as cql:
            assert len(cql.run("SELECT conversation FROM whatsapp.conversation")) == 1
    finally:
        for child in children:
            child.kill()
