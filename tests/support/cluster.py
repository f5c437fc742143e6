"""A real Valkey Cluster for tests: three masters, three replicas and, if asked for, spare nodes, in a folder."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Self

from devtools.processes import Child
from devtools.valkey import ValkeyServer
from devtools.valkey_cluster import Talk, ValkeyCluster
from whatsapp.infra.slots import slot_of_key


class Cluster:
    """``server_of(key)`` is the master that has a user's or a conversation's keys."""

    def __init__(
        self, folder: Path, *, replicas: int = 1, spare: int = 0, node_timeout_ms: int = 1_500
    ) -> None:
        self.cluster = ValkeyCluster(
            folder,
            password="secret",
            logs=folder,
            replicas=replicas,
            spare=spare,
            node_timeout_ms=node_timeout_ms,
        )
        self.children: dict[str, Child] = {}

    def __enter__(self) -> Self:
        for child in self.cluster.start():
            self.children[child.name] = child
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children.values():
            with contextlib.suppress(Exception):
                child.kill()

    @property
    def url(self) -> str:
        return self.cluster.url()

    def server_of(self, tag: str) -> ValkeyServer:
        return self.cluster.owner(slot_of_key(f"{{{tag}}}"))

    def talk(self, tag: str) -> Talk:
        """A connection to the master that has what belongs to ``tag``."""
        return self.cluster.talk(self.server_of(tag))

    def kill(self, server: ValkeyServer) -> None:
        self.children[server.name].kill()

    def restart(self, server: ValkeyServer) -> None:
        child = self.children[server.name]
        if child.pid is not None:
            child.kill()
        child.start()
        child.wait_ready()

    def fail_over(self, server: ValkeyServer) -> ValkeyServer:
        """Ask a replica of a master to take over, in good order, once it follows; returns it. Does not wait for the end."""
        replica = self.cluster.replica_of(server)
        with self.cluster.talk(replica) as talk:
            # One that has just come back and does not follow yet gives up after 5 s, and says so to nobody.
            ends = time.monotonic() + 20
            while b"master_link_status:up" not in _bytes(talk("INFO", "replication")):
                assert time.monotonic() < ends, "the replica does not follow its master"
                time.sleep(0.05)
            talk("CLUSTER", "FAILOVER")
        return replica

    def empty(self) -> None:
        """FLUSHALL on every master."""
        for server in self.cluster.members[: self.cluster.masters]:
            with self.cluster.talk(server) as talk:
                talk("FLUSHALL")

    def flush(self, tag: str) -> None:
        with self.talk(tag) as talk:
            talk("FLUSHALL")


def _bytes(answer: object) -> bytes:
    return answer if isinstance(answer, bytes) else str(answer).encode()
