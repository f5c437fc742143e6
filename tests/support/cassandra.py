"""This session's Cassandra node, by the same launcher as ``./dev up --cassandra``."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Self

from devtools.cassandra import DATA_CENTRE, CassandraNode
from devtools.paths import REPO
from devtools.processes import Child

_TEMPLATE = "migrated"
#: What a process finds without knowing an id: whoever writes there is met by the next system of the keyspace.
_SHARED = ("writer", "activity", "pending", "vanishing")


def on_cassandra() -> bool:
    """Whether tests keep their messages there: ``./dev test --store cassandra``."""
    return os.environ.get("WHATSAPP_TEST_STORE") == "cassandra"


def copies_are_on() -> bool:
    """Whether documents have copies on the hot node there: unless ``CASSANDRA_HOT_COPIES=0``."""
    return os.environ.get("CASSANDRA_HOT_COPIES", "1") != "0"


class Cassandra:
    """One node without lasting schema (a kill loses it: tests that kill nodes start their own). Keyspaces are copies of one
    that ``manage.py sync_cassandra`` has made."""

    def __init__(self, folder: Path) -> None:
        self.node = CassandraNode(
            folder / "cassandra",
            log=folder / "cassandra.log",
            compilers="quick",
            sync="periodic",
            lasting=False,
        )
        self.child: Child | None = None
        self._statements: list[str] = []
        self._numbers = itertools.count(1)
        self._free: list[str] = []

    def __enter__(self) -> Self:
        self.child = self.node.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.child:
            self.child.kill()  # nothing of it is kept

    @property
    def host(self) -> str:
        return self.node.address

    @property
    def port(self) -> int:
        return self.node.port

    def new_keyspace(self) -> str:
        """The name of a new keyspace with all tables, one copy of each row."""
        if not self._statements:
            sync(self.env(_TEMPLATE))
            rows = self.node.cql(f"DESCRIBE KEYSPACE {_TEMPLATE}")
            self._statements = [(row[3] or b"").decode() for row in rows]
        name = f"test_{next(self._numbers)}"
        for statement in self._statements:
            self.node.cql(statement.replace(_TEMPLATE, name, 1))
        return name

    def drop(self, keyspace: str) -> None:
        self.node.cql(f"DROP KEYSPACE IF EXISTS {keyspace}")

    def lend(self) -> str:
        """The name of a keyspace for one system. It may have rows of an earlier one, under ids of its own: to make forty tables,
        and to drop them, for which a node writes all that it has to its disk, takes longer than most tests."""
        if not self._free:
            return self.new_keyspace()
        name = self._free.pop()
        for table in _SHARED:
            self.node.cql(f"TRUNCATE {name}.{table}", timeout=120)
        return name

    def take_back(self, keyspace: str) -> None:
        """Nobody uses what was lent any more."""
        self._free.append(keyspace)

    def env(self, keyspace: str) -> dict[str, str]:
        """The variables by which a process uses this node."""
        return environment([self.host], self.port, keyspace, copies=1)


def environment(hosts: list[str], port: int, keyspace: str, *, copies: int) -> dict[str, str]:
    return {
        "CASSANDRA_CONTACT_POINTS": ",".join(f"{host}:{port}" for host in hosts),
        "CASSANDRA_KEYSPACE": keyspace,
        "CASSANDRA_DATA_CENTRE": DATA_CENTRE,
        "CASSANDRA_REPLICATION": f"{DATA_CENTRE}:{copies}",
    }


def sync(env: dict[str, str]) -> str:
    """Run ``manage.py sync_cassandra``; what it printed."""
    run = subprocess.run(
        [sys.executable, "manage.py", "sync_cassandra"],
        cwd=REPO,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise RuntimeError(f"sync_cassandra failed:\n{run.stdout}\n{run.stderr}")
    return run.stdout
