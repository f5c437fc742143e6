"""PostgreSQL with standbys: one primary, copies that follow it, and what an operator does when the primary is gone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from devtools import unprivileged
from devtools.errors import DevError
from devtools.postgres import DATABASE, USER, PostgresServer
from devtools.processes import Child, children

#: Over those of one server. WAL is kept for a standby that was away for a while; production uses slots with a bound instead.
SETTINGS = {
    "wal_keep_size": "256MB",
    "wal_receiver_timeout": "10s",
    "shared_buffers": "32MB",
    "wal_retrieve_retry_interval": "200ms",  # 5 s by default: so long would writes wait after a promotion
}


#: More than EVERY_S + PROOF_S of whatsapp.infra.primary: so long may a process believe in a primary that no standby follows.
FENCED_S = 7.0


class Standby(PostgresServer):
    """A server whose data folder is a base backup of another one, which it follows. ``name`` is what it is called in
    ``synchronous_standby_names``; ``peers``: the ports of all servers, of which it follows the one that takes writes."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        peers: Sequence[int],
        password: str,
        log: Path,
        env: dict[str, str] | None = None,
        port: int | None = None,
        settings: dict[str, str] | None = None,
    ) -> None:
        super().__init__(
            folder,
            password=password,
            log=log,
            env=env,
            port=port,
            settings={**(settings or {}), "cluster_name": name},
        )
        self.name = name
        self.peers = list(peers)

    def prepare(self) -> bool:
        """Take a base backup of whichever of its peers takes writes, if the folder is empty. Raises :class:`DevError`."""
        if (self.folder / "PG_VERSION").exists():
            return False
        draft = self.folder.with_name(self.folder.name + ".new")
        shutil.rmtree(draft, ignore_errors=True)
        unprivileged.hand_over(draft)
        others = [port for port in self.peers if port != self.port]
        hosts, ports = ",".join(["127.0.0.1"] * len(others)), ",".join(map(str, others))
        source = f"host={hosts} port={ports} user={USER} application_name={self.name}"
        run = self._program(
            "pg_basebackup",
            f"--pgdata={draft}",
            f"--dbname={source} target_session_attrs=read-write",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--write-recovery-conf",
        )
        if run.returncode:
            raise DevError(f"no base backup for the standby {self.name}: {run.stderr.strip()}")
        draft.rename(self.folder)
        return True

    def _program(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One of PostgreSQL's own, as the servers' user, with their password."""
        return subprocess.run(
            [*unprivileged.prefix(), str(unprivileged.programs() / name), *arguments],
            env={**self.env, "PGPASSWORD": self.password},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )

    def _source(self, ports: Sequence[int]) -> str:
        """How it finds the one of these that takes writes."""
        hosts = ",".join(["127.0.0.1"] * len(ports))
        return (
            f"host={hosts} port={','.join(map(str, ports))} user={USER} password={self.password}"
            f" application_name={self.name} target_session_attrs=read-write"
        )

    def follow(self, ports: Sequence[int] | None) -> None:
        """Whom a standby follows from now on; None: nobody, and when this returns it receives nothing more."""
        source = "" if ports is None else self._source(ports)
        self.sql(f"ALTER SYSTEM SET primary_conninfo = '{source}'")
        self.sql("SELECT pg_reload_conf()")
        deadline = time.monotonic() + 30
        while ports is None and self.sql("SELECT count(*) FROM pg_stat_wal_receiver") != "0":
            if time.monotonic() > deadline:
                raise DevError(f"the standby {self.name} still receives")
            time.sleep(0.05)

    def rewind(self, port: int) -> None:
        """Make the folder of a former primary, which has ended, that of a standby of the server at ``port``. Raises
        :class:`DevError`."""
        self._clear()
        # The recovery that pg_rewind begins with knows no settings of the command line, and would remove the log that it needs.
        with (self.folder / "postgresql.auto.conf").open("a") as file:
            file.write(f"wal_keep_size = '{self.settings['wal_keep_size']}'\n")
        run = self._program(
            "pg_rewind",
            f"--target-pgdata={self.folder}",
            f"--source-server=host=127.0.0.1 port={port} user={USER} dbname=postgres",
            "--write-recovery-conf",
        )
        if run.returncode:
            raise DevError(f"{self.name} could not be rewound: {run.stderr.strip()}")
        with (self.folder / "postgresql.auto.conf").open("a") as file:  # it is the new primary's own by now
            file.write(f"primary_conninfo = '{self._source([port])}'\n")

    def received(self) -> int:
        """How much WAL it holds, in bytes from the beginning of the cluster's life."""
        return int(
            self.sql(
                "SELECT (COALESCE(pg_last_wal_receive_lsn(), '0/0') - '0/0')::bigint"
                " UNION ALL SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint ORDER BY 1 DESC LIMIT 1"
            )
        )

    def promote(self) -> None:
        """Let it take writes. Raises :class:`DevError` if it does not within a minute."""
        if self.sql("SELECT pg_promote(true, 60)") != "t":
            raise DevError(f"the standby {self.name} was not promoted")


class Cluster:
    """A primary and its standbys, named ``p0``, ``p1`` …; whoever is primary, ``url`` leads to it.

    ``synchronous``: a commit is answered when a standby has it too (``ANY 1`` of all the others; the name of the primary itself
    in the list does no harm). ``primary``: a data folder that is there already, of an installation that grows.
    """

    def __init__(
        self,
        folder: Path,
        *,
        password: str,
        ports: Sequence[int],
        synchronous: bool = True,
        env: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        names = [f"p{number}" for number in range(len(ports))]
        own = dict(os.environ if env is None else env)
        shared = {**SETTINGS, **(settings or {})}
        self.names = f"ANY 1 ({', '.join(names)})"
        self._synchronous = synchronous
        self.password = password
        self.ports = list(ports)
        self.servers: list[Standby] = [
            Standby(
                folder / name, name=name, peers=ports, password=password, log=folder / f"{name}.log", env=own,
                port=port, settings=shared,
            )
            for name, port in zip(names, ports, strict=True)
        ]  # fmt: skip
        self.children: dict[str, Child] = {}
        self.primary = self.servers[0]

    def start(self) -> None:
        """Start the first as primary (its folder, if it is empty, becomes a new database), then the others as its copies."""
        first = self.primary
        PostgresServer.prepare(first)
        self._start(first)
        self.synchronous(self._synchronous)  # the base backups take it over
        for server in self.servers[1:]:
            server.prepare()
            self._start(server)

    def _start(self, server: Standby) -> None:
        child = self.children[server.name] = Child(server.spec)
        child.start()
        child.wait_ready()

    def url(self, database: str = DATABASE) -> str:
        """All servers; libpq takes the one that takes writes."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"postgresql://{USER}:{self.password}@{hosts}/{database}"

    def standbys(self) -> list[Standby]:
        """Those that live and follow."""
        return [
            server
            for server in self.servers
            if server is not self.primary and server.name in self.children and self.children[server.name].pid
        ]

    def streaming(self) -> dict[str, str]:
        """What the primary says of each standby that is connected: ``quorum``, ``async`` …"""
        rows = self.primary.sql(
            "SELECT application_name, sync_state FROM pg_stat_replication WHERE state = 'streaming'"
        )
        return dict(line.split("|") for line in rows.splitlines())

    def sql(self, statement: str, *, database: str = DATABASE) -> str:
        """Run one statement on the primary."""
        return self.primary.sql(statement, database=database)

    def synchronous(self, on: bool) -> None:
        """Whether a commit waits for a standby, from now on."""
        self._synchronous = on
        for server in [self.primary, *self.standbys()]:
            server.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{self.names if on else ''}'")
            server.sql("SELECT pg_reload_conf()")

    def cut_replication(self) -> None:
        """The primary sends nothing to its standbys any more. A standby asks again after ``wal_receiver_timeout``: give it a long
        one in ``settings``."""
        for pid in self.primary.sql("SELECT pid FROM pg_stat_replication").split():
            _kill(int(pid), signal.SIGSTOP)

    def kill_primary(self) -> None:
        """:meth:`end` of the primary."""
        self.end(self.primary)

    def fence(self) -> None:
        """Take all standbys away from the primary, which may hang, or live behind a broken link: it confirms nothing any more,
        also when it wakes up. Then wait until nobody reads from it either."""
        for server in self.standbys():
            server.follow(None)
        time.sleep(FENCED_S)

    def promote(self) -> Standby:
        """Make the standby that has most of the log the primary. With ``ANY 1`` any one of them may hold what was confirmed last,
        so all of them must be asked. The old primary must be dead before, or fenced (:meth:`fence`). Returns the new one."""
        for server in self.standbys():
            self.signal(server, signal.SIGCONT)
        best = max(self.standbys(), key=lambda server: server.received())
        best.promote()
        self.primary, old = best, self.primary
        for server in self.standbys():
            if server is not old:
                server.follow([best.port])
        return best

    def end(self, server: Standby) -> None:
        """As if the machine of a server had lost power: it and all its backends are gone when this returns."""
        child = self.children[server.name]
        pids = children(child.pid) if child.pid else []
        child.kill(signal.SIGKILL)
        for pid in pids:
            _kill(pid)
        server._clear()

    def rewind(self, server: Standby) -> None:
        """Bring a former primary back as a standby: what it had written and nobody confirmed is undone, the rest is kept."""
        server.rewind(self.primary.port)
        self._start(server)

    def rejoin(self, server: Standby) -> None:
        """Bring a former primary back as a standby, from a new base backup."""
        shutil.rmtree(server.folder, ignore_errors=True)
        server.prepare()
        self._start(server)

    def signal(self, server: Standby, number: int) -> None:
        """Send a signal to a server and all of its processes: SIGSTOP is a machine that hangs."""
        child = self.children[server.name]
        if child.pid:
            for pid in [*children(child.pid), child.pid]:
                _kill(pid, number)

    def stop(self) -> None:
        """End all of them, at once."""
        for server in self.servers:
            if server.name in self.children:
                self.signal(server, signal.SIGCONT)
        for child in self.children.values():
            child.send(signal.SIGQUIT)
        for child in self.children.values():
            child.stop_waiting()


def _kill(pid: int, number: int = signal.SIGKILL) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
