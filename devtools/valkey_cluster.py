"""A Valkey Cluster in a folder: masters with a replica each, from the wheel's program, made without ``valkey-cli``."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from devtools import ports
from devtools.errors import DevError
from devtools.processes import Child
from devtools.valkey import ValkeyServer

SLOTS = 16_384
#: A master that does not answer for so long (ms) is taken for failed; its replica needs about a second more to take over.
NODE_TIMEOUT_MS = 2_000
FORM_S = 30.0


class ReplyError(DevError):
    """A server refused a command."""


class Talk:
    """One blocking connection that speaks RESP: what is needed to make, look at and move a cluster, no more."""

    def __init__(self, port: int, password: str, *, timeout: float = 5.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._file = self._socket.makefile("rb")
        if password:
            self("AUTH", password)

    def __call__(self, *words: str | bytes | int) -> Any:
        """Raises :class:`ReplyError`, ``OSError``."""
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        request = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)
        self._socket.sendall(request)
        return self._read()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> Any:
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise ReplyError(rest.decode())
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if rest == b"-1":
                return None
            data = self._file.read(int(rest) + 2)
            if len(data) != int(rest) + 2:
                raise OSError("the server closed the connection")
            return data[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self._read() for _ in range(int(rest))]
        raise OSError("this is no RESP")


class ValkeyCluster:
    """``masters`` nodes that share the slots and as many replicas. ``members`` are the servers, masters first at the beginning.

    ``spare`` more nodes are configured but not part of it, for whoever wants to add them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        password: str,
        logs: Path,
        env: dict[str, str] | None = None,
        masters: int = 3,
        replicas: int = 1,
        spare: int = 0,
        node_timeout_ms: int = NODE_TIMEOUT_MS,
    ) -> None:
        self.password = password
        self.masters = masters
        self.members: list[ValkeyServer] = []
        count = masters * (1 + replicas)
        self.count = count
        for number in range(1, count + spare + 1):
            name = f"valkey-{number}"
            root = folder / name
            bus_port = ports.remembered(root.with_name(f"{name}.bus-port"))
            self.members.append(
                ValkeyServer(
                    root,
                    password=password,
                    log=logs / f"{name}.log",
                    env=env,
                    name=name,
                    config=[f"primaryauth {password}"],
                    options=[
                        "--cluster-enabled", "yes", "--cluster-port", str(bus_port),
                        "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", str(node_timeout_ms),
                        # A part that is away must not take the others with it.
                        "--cluster-require-full-coverage", "no",
                        # An old copy is better than none: all of it is hints.
                        "--cluster-replica-validity-factor", "0",
                        "--cluster-allow-pubsubshard-when-down", "no",
                        "--cluster-migration-barrier", "100",
                        "--repl-diskless-sync-delay", "0",
                    ],
                )
            )  # fmt: skip
            self._bus_ports = {**getattr(self, "_bus_ports", {}), name: bus_port}

    def url(self) -> str:
        """``cluster://`` with every node: any one that answers is enough."""
        nodes = ",".join(f"127.0.0.1:{server.port}" for server in self.members[: self.count])
        return f"cluster://:{self.password}@{nodes}"

    def in_step(self) -> bool:
        """Whether every living member is a master or follows one."""
        for server in self.members[: self.count]:
            if server.answers():
                with self.talk(server) as talk:
                    if not _in_step(talk):
                        return False
        return True

    def talk(self, server: ValkeyServer, *, timeout: float = 5.0) -> Talk:
        return Talk(server.port, self.password, timeout=timeout)

    def start(self) -> list[Child]:
        """Start all and make them a cluster; for callers that supervise nothing."""
        children = [Child(server.spec) for server in self.members]
        for child in children:
            child.start()
        for child in children:
            child.wait_ready()
        self.form()
        return children

    def form(self) -> None:
        """Make the running nodes a cluster, once; a cluster that was started again needs nothing but a moment. Raises
        :class:`DevError`."""
        servers = self.members[: self.count]
        talks = [self.talk(server) for server in servers]
        try:
            if not any(_known(talk) > 1 for talk in talks):
                self._meet(servers, talks)
            _until(
                lambda: all(_info(talk)["cluster_state"] == "ok" for talk in talks),
                "the cluster is not whole",
            )
            _until(lambda: all(map(_in_step, talks)), "a replica does not follow its master")
        finally:
            for talk in talks:
                talk.close()

    def _meet(self, servers: Sequence[ValkeyServer], talks: Sequence[Talk]) -> None:
        share = -(-SLOTS // self.masters)
        for number, talk in enumerate(talks):
            talk("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < self.masters:
                talk(
                    "CLUSTER",
                    "ADDSLOTSRANGE",
                    number * share,
                    min((number + 1) * share, SLOTS) - 1,
                )
        for server in servers[1:]:
            talks[0]("CLUSTER", "MEET", "127.0.0.1", server.port, self._bus_ports[server.name])
        _until(lambda: all(_known(talk) == len(talks) for talk in talks), "the nodes do not find each other")
        ids = [_text(talk("CLUSTER", "MYID")) for talk in talks]
        for number, talk in enumerate(talks[self.masters :]):
            wanted = ids[number % self.masters]
            _until(lambda talk=talk, wanted=wanted: _follows(talk, wanted), "a replica finds no master")  # type: ignore[misc]

    def meet(self, server: ValkeyServer) -> None:
        """Make a running spare node part of the cluster, without slots."""
        with self.talk(self.living()) as talk:
            known = _known(talk)
            talk("CLUSTER", "MEET", "127.0.0.1", server.port, self._bus_ports[server.name])
        talks = [self.talk(one) for one in self.members if one.answers()]
        try:
            _until(
                lambda: all(_known(talk) == known + 1 for talk in talks), "the nodes do not find each other"
            )
            _until(lambda: _info(talks[-1])["cluster_state"] == "ok", "the new node does not join")
        finally:
            for talk in talks:
                talk.close()

    def living(self) -> ValkeyServer:
        """Some member that answers."""
        for server in self.members:
            if server.answers():
                return server
        raise DevError("no node of the cluster answers")

    def id_of(self, server: ValkeyServer) -> str:
        with self.talk(server) as talk:
            return _text(talk("CLUSTER", "MYID"))

    def view(self) -> list[list[str]]:
        """The lines of ``CLUSTER NODES`` of some living member, in words."""
        with self.talk(self.living()) as talk:
            return [line.split() for line in _text(talk("CLUSTER", "NODES")).splitlines()]

    def owner(self, slot: int) -> ValkeyServer:
        """Who serves a slot, as some living member says."""
        for words in self.view():
            if "master" in words[2] and any(_holds(part, slot) for part in words[8:]):
                port = int(words[1].split("@")[0].rpartition(":")[2])
                return next(server for server in self.members if server.port == port)
        raise DevError(f"nobody serves slot {slot}")

    def replica_of(self, server: ValkeyServer) -> ValkeyServer:
        """A replica of a master that is connected."""
        id_ = self.id_of(server)
        for words in self.view():
            if words[3] == id_ and "fail" not in words[2]:
                port = int(words[1].split("@")[0].rpartition(":")[2])
                return next(one for one in self.members if one.port == port)
        raise DevError(f"{server.name} has no replica")

    def move(self, slot: int, to: ValkeyServer) -> None:
        """Move a slot with its keys while it is used, key by key, as ``valkey-cli --cluster reshard`` does."""
        source = self.owner(slot)
        if source is to:
            return
        with self.talk(source) as old, self.talk(to) as new:
            old_id, new_id = _text(old("CLUSTER", "MYID")), _text(new("CLUSTER", "MYID"))
            new("CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
            old("CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
            while keys := old("CLUSTER", "GETKEYSINSLOT", slot, 100):
                old("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "AUTH", self.password, "KEYS", *keys)
            new(
                "CLUSTER", "SETSLOT", slot, "NODE", new_id
            )  # the new owner first: it must be known before the old one forgets
            old("CLUSTER", "SETSLOT", slot, "NODE", new_id)

    def move_range(self, first: int, last: int, to: ValkeyServer) -> None:
        """Move slots of one owner at once and atomically (Valkey 9), and wait until it is done."""
        source = self.owner(first)
        with self.talk(source) as old:
            old("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", self.id_of(to))
        _until(lambda: self.owner(first) is to, "the slots do not move")


def _text(answer: Any) -> str:
    return answer.decode() if isinstance(answer, bytes) else str(answer)


def _info(talk: Talk) -> dict[str, str]:
    lines = _text(talk("CLUSTER", "INFO")).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _known(talk: Talk) -> int:
    return int(_info(talk)["cluster_known_nodes"])


def _follows(talk: Talk, master: str) -> bool:
    try:
        talk("CLUSTER", "REPLICATE", master)
    except ReplyError:
        return False  # it has not heard of it yet
    return True


def _in_step(talk: Talk) -> bool:
    replication = _text(talk("INFO", "replication"))
    return "role:master" in replication or "master_link_status:up" in replication


def _holds(part: str, slot: int) -> bool:
    if part.startswith("["):
        return False  # on its way
    first, _, last = part.partition("-")
    return int(first) <= slot <= int(last or first)


def _until(done: Any, problem: str) -> None:
    ends = time.monotonic() + FORM_S
    while not done():
        if time.monotonic() > ends:
            raise DevError(f"the Valkey cluster cannot be used: {problem}")
        time.sleep(0.05)
