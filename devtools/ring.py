"""Cassandra of a system: one node, or three on addresses of their own, with the role and the environment that use them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from devtools import ports
from devtools.cassandra import DATA_CENTRE, USER, CassandraNode
from devtools.cql import QUORUM, Cql, CqlError
from devtools.errors import DevError
from devtools.paths import REPO
from devtools.processes import Child

KEYSPACE = "whatsapp"
#: The nodes of a cluster, all of them on this machine: Linux answers on the whole of 127.0.0.0/8.
ADDRESSES = ("127.0.2.1", "127.0.2.2", "127.0.2.3")
_FIRST_LOGIN = "cassandra"  # user and password of a new cluster; that role is closed at once
_RING_TIMEOUT_S = 300.0


class Ring:
    """``count`` nodes (1 or 3) in ``folder``. ``options`` are those of :class:`CassandraNode`."""

    def __init__(
        self,
        folder: Path,
        logs: Path,
        count: int,
        *,
        password: str,
        env: Mapping[str, str],
        addresses: Sequence[str] = ADDRESSES,
        compilers: str = "full",
    ) -> None:
        self.folder = folder
        self.password = password
        hosts = ["127.0.0.1"] if count == 1 else list(addresses[:count])
        self.hosts = hosts
        self._logs = logs
        self._env = dict(env)
        self._compilers = compilers
        self.port = ports.remembered(folder / "port", *hosts)
        self._storage = ports.remembered(folder / "storage-port", *hosts)
        self.nodes = [
            self._node(number, host, token=-(2**63) + (number - 1) * (2**64 // count))
            for number, host in enumerate(hosts, 1)
        ]

    def _node(self, number: int, host: str, *, seeds: Sequence[str] = (), **options: Any) -> CassandraNode:
        alone = len(self.hosts) == 1
        managed = ports.remembered(self.folder / f"node-{number}.nodetool-port")
        return CassandraNode(
            self.folder / f"node-{number}",
            log=self._logs / f"cassandra-{number}.log",
            name=f"cassandra-{number}",
            address=host,
            port=self.port,
            storage_port=self._storage,
            seeds=seeds or self.hosts,
            manager=(managed, self.password),
            compilers=self._compilers,
            heap_mb=1024 if alone else 640,
            # One node alone has nobody else who knows what it answered for.
            sync="batch" if alone else "periodic",
            ring_delay_ms=0 if alone else 2_000,
            env=self._env,
            settings={
                "authenticator": "PasswordAuthenticator",
                "role_manager": "CassandraRoleManager",
                "authorizer": "CassandraAuthorizer",
            },
            **options,
        )

    def one_more(self, number: int, host: str, token: int, *, bootstrap: bool = True) -> CassandraNode:
        """A node that is to join the running ring, and takes over what it is to own before it answers anybody."""
        node = self._node(number, host, token=token, bootstrap=bootstrap)
        self.nodes.append(node)
        return node

    def replacement(self, number: int, dead: CassandraNode, host: str | None = None) -> CassandraNode:
        """A node with an empty folder that takes the place of ``dead``, at its address or at another one."""
        seeds = [seed for seed in self.hosts if seed != dead.address]
        node = self._node(number, host or dead.address, seeds=seeds, replaces=dead.address)
        self.nodes[self.nodes.index(dead)] = node
        return node

    @property
    def copies(self) -> int:
        return min(3, len(self.nodes))

    def variables(self) -> dict[str, str]:
        """What the application's processes get, whatever store they use."""
        return {
            "CASSANDRA_CONTACT_POINTS": ",".join(f"{host}:{self.port}" for host in self.hosts),
            "CASSANDRA_KEYSPACE": KEYSPACE,
            "CASSANDRA_DATA_CENTRE": DATA_CENTRE,
            "CASSANDRA_REPLICATION": f"{DATA_CENTRE}:{self.copies}",
            "CASSANDRA_USER": USER,
            "CASSANDRA_PASSWORD": self.password,
        }

    def login(self, host: str | None = None, *, timeout: float = 30.0) -> Cql:
        """A connection to one node as the application. Raises :class:`CqlError`."""
        return Cql(host or self.hosts[0], self.port, user=USER, password=self.password, timeout=timeout)

    def wait_whole(self) -> None:
        """Until each node sees all others: a change of the schema before that would be made of two halves."""
        deadline = time.monotonic() + _RING_TIMEOUT_S
        while True:
            seen = [self._peers(node) for node in self.nodes]
            if all(count == len(self.nodes) - 1 for count in seen):
                return
            if time.monotonic() > deadline:
                raise DevError(f"the nodes of Cassandra do not see each other: {seen} others")
            time.sleep(0.1)

    def _peers(self, node: CassandraNode) -> int:
        for user, password in ((USER, self.password), (_FIRST_LOGIN, _FIRST_LOGIN)):
            try:
                with Cql(node.address, node.port, user=user, password=password, timeout=5.0) as connection:
                    return len(connection.run("SELECT peer FROM system.peers_v2"))
            except CqlError:
                continue
        return -1

    def secure(self) -> None:
        """Make our role, once, and close the one that every new cluster has. Raises :class:`DevError`."""
        deadline = time.monotonic() + _RING_TIMEOUT_S
        while True:
            try:
                with self.login() as connection:
                    connection.run("SELECT key FROM system.local")
                return
            except CqlError as error:
                reason = str(error)
            try:
                with Cql(self.hosts[0], self.port, user=_FIRST_LOGIN, password=_FIRST_LOGIN) as first:
                    first.run(
                        f"CREATE ROLE IF NOT EXISTS {USER} WITH PASSWORD = '{self.password}' AND LOGIN = true "
                        "AND SUPERUSER = true",
                        consistency=QUORUM,
                    )
                with self.login() as connection:
                    connection.run(
                        f"ALTER ROLE {_FIRST_LOGIN} WITH LOGIN = false AND SUPERUSER = false",
                        consistency=QUORUM,
                    )
                return
            except CqlError as error:
                reason = str(error)
            if time.monotonic() > deadline:
                raise DevError(f"Cassandra has no role for the application: {reason}")
            time.sleep(0.2)

    def sync(self, python: Path, env: Mapping[str, str], log: Path) -> None:
        """Make the tables or bring them up to date."""
        sync(python, {**env, **self.variables()}, log)

    def start(self, say: Callable[[str], None] = lambda text: None) -> list[Child]:
        """All nodes at once, up to a whole ring with our role; for callers that supervise nothing."""
        children = []
        for node in self.nodes:
            node.prepare()
        for node in self.nodes:
            child = Child(node.spec)
            child.start()
            children.append(child)
        try:
            for child in children:
                child.wait_ready()
            self.secure()
            self.wait_whole()
        except BaseException:
            for child in children:
                child.kill()
            raise
        return children


def sync(python: Path, env: Mapping[str, str], log: Path) -> None:
    """``manage.py sync_cassandra``. Raises :class:`DevError` with what it said."""
    run = subprocess.run(
        [str(python), "manage.py", "sync_cassandra"],
        cwd=REPO,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    log.write_text(run.stdout + run.stderr)
    if run.returncode:
        reason = (run.stderr.strip() or run.stdout.strip()).splitlines()
        raise DevError(
            f"the tables on Cassandra could not be made ({log}): {reason[-1] if reason else 'no message'}"
        )
