"""The tables on Cassandra, as ``manage.py sync_cassandra`` makes them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from io import StringIO
from types import SimpleNamespace

import pytest
from cassandra.cluster import NoHostAvailable

from delivery.cassandra_schema.management.commands import sync_cassandra
from devtools.paths import REPO
from tests.support.cassandra import Cassandra, sync


def _described(node: Cassandra, keyspace: str) -> dict[str, str]:
    return {
        (row[2] or b"").decode(): (row[3] or b"").decode()
        for row in node.node.cql(f"DESCRIBE KEYSPACE {keyspace}")
    }


def test_tables_age_as_their_models_say(cassandra_node: Cassandra, cassandra_keyspace: str) -> None:
    tables = _described(cassandra_node, cassandra_keyspace)
    event = tables["event"]
    assert "PRIMARY KEY ((conversation, bucket), seq, message_id)" in event
    assert "default_time_to_live = 2592000" in event
    assert (
        "gc_grace_seconds = 864000" in event
    )  # deletions of people are remembered for as long as a repair may take
    assert "TimeWindowCompactionStrategy', 'compaction_window_size': '1'" in event
    assert "LeveledCompactionStrategy" in tables["conversation"]
    assert "'class': 'org.apache.cassandra.locator.NetworkTopologyStrategy'" in tables[
        cassandra_keyspace
    ] or ("'class': 'NetworkTopologyStrategy'" in tables[cassandra_keyspace])


def test_a_second_run_changes_nothing_and_a_new_replication_is_taken_over(cassandra_node: Cassandra) -> None:
    keyspace = "again"
    sync(cassandra_node.env(keyspace))
    before = _described(cassandra_node, keyspace)
    said = sync(cassandra_node.env(keyspace))
    assert "replication of" not in said
    assert "is needed in its cassandra.yaml" not in said
    assert (
        said.splitlines()[-1] == "the tables are up to date; 1 node has the settings that the store counts on"
    )
    assert _described(cassandra_node, keyspace) == before
    more = {**cassandra_node.env(keyspace), "CASSANDRA_REPLICATION": "datacenter1:3"}
    assert "nodetool repair" in sync(more)
    after = _described(cassandra_node, keyspace)
    assert "'datacenter1': '3'" in after.pop(keyspace)
    before.pop(keyspace)
    assert after == before
    cassandra_node.drop(keyspace)


class _Nodes:
    """A session of nodes whose settings are these; None: the node does not answer."""

    def __init__(self, settings: dict[str, dict[str, str] | None]) -> None:
        self._settings = settings
        self.session = self.cluster = self.metadata = self

    def all_hosts(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(address=address) for address in self._settings]

    def execute(self, query: str, host: SimpleNamespace) -> list[dict[str, str]]:
        settings = self._settings[host.address]
        if settings is None:
            raise NoHostAvailable("no answer", {})
        return [{"name": name, "value": value} for name, value in settings.items()]


def test_the_last_lines_say_what_is_known_of_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    good = {"paxos_variant": "v2", "batch_size_fail_threshold_in_kb": "640"}
    nodes = _Nodes({"a": good, "b": {**good, "paxos_variant": "v1"}, "c": None, "d": {}, "e": good})
    monkeypatch.setattr(sync_cassandra, "connections", {"cassandra": SimpleNamespace(connection=nodes)})
    out = StringIO()
    sync_cassandra.Command(stdout=out)._advise()
    wrong, silent, last = out.getvalue().splitlines()
    assert wrong.startswith("b has paxos_variant v1, and v2 is needed")
    assert silent.startswith("not asked, for they are away or this role may not read their settings: c, d.")
    assert silent.endswith("paxos_variant v2, batch_size_fail_threshold_in_kb 640")
    assert last == "the tables are up to date; 2 nodes have the settings that the store counts on"


def test_a_column_that_a_model_has_and_the_table_has_not_is_added(
    cassandra_node: Cassandra, cassandra_keyspace: str
) -> None:
    cassandra_node.node.cql(f"ALTER TABLE {cassandra_keyspace}.message DROP body_hash")
    assert "body_hash" not in _described(cassandra_node, cassandra_keyspace)["message"]
    sync(cassandra_node.env(cassandra_keyspace))
    assert "body_hash blob" in _described(cassandra_node, cassandra_keyspace)["message"]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"CASSANDRA_CONTACT_POINTS": ""}, "CASSANDRA_CONTACT_POINTS names no node"),
        ({"CASSANDRA_CONTACT_POINTS": "127.0.0.1:1"}, "could not be brought up to date"),
    ],
)
def test_what_hinders_it_is_one_sentence(environment: dict[str, str], said: str) -> None:
    run = subprocess.run(
        [sys.executable, "manage.py", "sync_cassandra"],
        cwd=REPO,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_a_node_that_is_busy_is_waited_for() -> None:
    """It has taken the connection and answers nothing yet; by itself the driver tries another one after five seconds, and gives
    up after four of them."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = "127.0.0.1:{1}".format(*busy.getsockname())
        env = {**os.environ, "CASSANDRA_CONTACT_POINTS": address, "CASSANDRA_KEYSPACE": "busy"}
        with subprocess.Popen([sys.executable, "manage.py", "sync_cassandra"], cwd=REPO, env=env) as run:
            try:
                asked, _ = busy.accept()
                busy.settimeout(7)
                with asked, pytest.raises(TimeoutError):
                    busy.accept()
                assert run.poll() is None
            finally:
                run.kill()
