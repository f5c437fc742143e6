"""A whole system whose messages are on a node of its own, as ``./dev up --cassandra`` starts it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from devtools import running
from devtools.cql import Cql, NotLoggedIn
from devtools.errors import DevError
from devtools.paths import DataFolder
from tests.gateway.peer import Peer, couple, new_id, until
from tests.support.stack import System
from whatsapp.wire import frames


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


def arguments(*, cassandra: bool = False, cluster: bool = False) -> argparse.Namespace:
    return argparse.Namespace(cassandra=cassandra, cluster=cluster)


def test_a_folder_with_messages_elsewhere_is_refused_and_one_with_nodes_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CASSANDRA_CONTACT_POINTS", raising=False)
    monkeypatch.setattr("devtools.java.program", lambda: Path("java"))
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
    with pytest.raises(DevError, match="keeps its messages in PostgreSQL"):
        running._nodes(arguments(cassandra=True), other)
