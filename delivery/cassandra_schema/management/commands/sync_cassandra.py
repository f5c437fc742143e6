"""``manage.py sync_cassandra``: makes the keyspace and its tables, or brings them up to date with the models.

The work is django-cassandra-engine's; it never changes the replication of a keyspace that is there, which is this command's.
Run it once at a time: changes of the schema from two places at once may disagree.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from cassandra import DriverException
from cassandra.cluster import NoHostAvailable
from cassandra.cqlengine import CQLEngineException
from django.conf import settings
from django.core.management.base import CommandError
from django.db import connections
from django_cassandra_engine.management.commands.sync_cassandra import Command as EngineCommand

ALIAS = "cassandra"
#: Settings of the servers that the store counts on: what is good enough, what to write, and what happens otherwise.
NEEDED: dict[str, tuple[Callable[[str], bool], str, str]] = {
    "paxos_variant": (
        lambda value: value == "v2",
        "v2",
        "without it a conversation may be decided twice when a node joins or leaves",
    ),
    "batch_size_fail_threshold_in_kb": (
        lambda value: int(value) >= 640,
        "640",
        "a smaller one refuses edits of long messages",
    ),
}


class Command(EngineCommand):
    help = "Makes the tables of the store on Cassandra, or brings them up to date; replication as CASSANDRA_REPLICATION says"

    def handle(self, **options: Any) -> None:
        self._import_management()
        wanted = dict(settings.CASSANDRA_REPLICATION)
        connections[ALIAS].settings_dict["OPTIONS"]["replication"] = {
            "strategy_class": "NetworkTopologyStrategy",
            **wanted,
        }
        try:
            self.sync(ALIAS)
            self._replicate(wanted)
            self._advise()
        except (NoHostAvailable, DriverException, CQLEngineException) as error:
            raise CommandError(f"Cassandra could not be brought up to date: {error}") from None
        finally:
            with contextlib.suppress(CQLEngineException, NoHostAvailable):  # there was no connection
                connections[ALIAS].connection.cluster.shutdown()

    def _replicate(self, wanted: dict[str, int]) -> None:
        """Change the replication of a keyspace that was made with another one."""
        session: Any = connections[ALIAS].connection.session
        keyspace = settings.CASSANDRA_KEYSPACE
        statement = session.prepare("SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?")
        found = session.execute(statement, [keyspace]).one()["replication"]
        there = {name: int(copies) for name, copies in dict(found).items() if name != "class"}
        if there == wanted and str(found["class"]).endswith("NetworkTopologyStrategy"):
            return
        copies = ", ".join(f"'{name}': {number}" for name, number in wanted.items())
        session.execute(
            f"ALTER KEYSPACE {keyspace} WITH replication = {{'class': 'NetworkTopologyStrategy', {copies}}}"
        )
        self.stdout.write(
            f"replication of {keyspace} was {there} and is {wanted}: run `nodetool repair --full {keyspace}` on each node, "
            "or new copies stay empty"
        )

    def _advise(self) -> None:
        """Say which nodes are set up otherwise than the store counts on, and which have not been asked; last, what all that
        comes to."""
        session: Any = connections[ALIAS].connection.session
        right, silent = 0, []
        for host in session.cluster.metadata.all_hosts():
            try:
                rows = session.execute("SELECT name, value FROM system_views.settings", host=host)
                there = {row["name"]: row["value"] for row in rows}
            except (NoHostAvailable, DriverException):
                there = {}
            wrong = [name for name, (good, *_) in NEEDED.items() if name in there and not good(there[name])]
            for name in wrong:
                _, needed, otherwise = NEEDED[name]
                self.stdout.write(
                    f"{host.address} has {name} {there[name]}, and {needed} is needed in its cassandra.yaml: {otherwise}"
                )
            if not there.keys() >= NEEDED.keys():
                silent.append(str(host.address))
            elif not wrong:
                right += 1
        if silent:
            needed = ", ".join(f"{name} {needed}" for name, (_, needed, _) in NEEDED.items())
            self.stdout.write(
                f"not asked, for they are away or this role may not read their settings: {', '.join(silent)}. "
                f"Needed in their cassandra.yaml: {needed}"
            )
        if right:
            nodes = "1 node has" if right == 1 else f"{right} nodes have"
            self.stdout.write(f"the tables are up to date; {nodes} the settings that the store counts on")
        else:
            self.stdout.write("the tables are up to date")
