"""Whole running systems for tests, by the same code as ``./dev up``, without its restarts: what a test kills stays dead."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import pytest

from devtools import ports, unprivileged
from devtools.environment import URL_VARIABLES
from devtools.paths import DataFolder
from devtools.processes import Child, children, is_alive
from devtools.stack import Stack
from tests.support import early
from tests.support.cassandra import Cassandra


class Database(Protocol):
    def url(self) -> str: ...
    def sql(self, statement: str, *, database: str) -> str: ...


#: Tables and functions of the log; what services have left for it stays in their own database.
_LOG = re.compile(r"\bdelivery_(?!pending)")
#: Gives the node on which systems have their logs, each in a keyspace that no other uses then: ``./dev test --store cassandra``.
log_node: Callable[[], Cassandra] | None = None
#: Within which a part of a system answers for the first time beside a node of Cassandra, which takes its share of the processors.
_READY_S = 240.0
_numbers = itertools.count(1)
_template_lock = threading.Lock()
_template: Path | None = None


#: Those that were started and not stopped.
running: list[System] = []


class System:
    """One system in a data folder of its own. Options:

    ``gateways`` (2), ``apis`` (0; gateways hand uploads over to them), ``worker`` (True), ``fanout`` (False; the worker of
    groups' lanes), ``beat`` (False); ``env``: variables for the application's processes, such as WHATSAPP_TEST_BUILD;
    ``limits``: entries of the limits table that go over development's; ``database``: servers of the test's own instead of
    one PostgreSQL of the system's, such as a :class:`devtools.standby.Cluster`; ``cassandra`` (0): nodes of its own, that
    may be killed, for its messages (1 or 3);
    ``valkey_cluster``: hot state on three masters and three replicas. ``./dev test --hot cluster`` gives it to every system:
    the part that tests call "valkey" is then all of its nodes. ``s3``: files on an S3 server of its own; ``scanner``: a ClamAV
    daemon of its own (marks: needs_s3, needs_packages); ``push``: providers of push notifications, as of ``./dev up --push``.
    """

    def __init__(
        self,
        *,
        gateways: int = 2,
        apis: int = 0,
        worker: bool = True,
        fanout: bool = False,
        beat: bool = False,
        env: Mapping[str, str] | None = None,
        limits: Mapping[str, int] | None = None,
        database: Database | None = None,
        cassandra: int = 0,
        valkey_cluster: bool = False,
        s3: bool = False,
        scanner: bool = False,
        push: bool = False,
    ) -> None:
        valkey_cluster = valkey_cluster or hot_on_cluster()
        root = early.FOLDER / f"system-{next(_numbers)}"
        root.mkdir(mode=0o711)
        data = DataFolder(root)
        data.create()
        self.database = database
        self._keyspace = ""
        if log_node is not None and database is None and not cassandra and "LOG_STORE" not in (env or {}):
            node = log_node()
            self._keyspace = node.lend()
            env = {"LOG_STORE": "cassandra", **node.env(self._keyspace), **(env or {})}
        _copy_template(data, servers=database is None)
        self.stack = Stack(
            data,
            port=ports.choose(),
            gateways=gateways,
            apis=apis,
            worker=worker,
            fanout=fanout,
            beat=beat,
            external={} if database is None else {"DATABASE_URL": database.url()},
            caller=_caller(),
            # Tests put rows where they are not right: those that want them mended say so.
            overrides={"FSCK_REPAIR": "0", **(env or {})},
            extra_limits=limits,
            cassandra=cassandra,
            valkey_cluster=valkey_cluster,
            s3=s3,
            scanner=scanner,
            push=push,
            quick=True,
            python=Path(sys.executable),
        )

    # -- addresses -----------------------------------------------------------------------------------------------------------

    @property
    def http(self) -> str:
        """Base URL of the port that all gateways share."""
        return self.stack.http

    @property
    def ws(self) -> str:
        """WebSocket URL on the shared port: which gateway answers is the kernel's choice."""
        return self.stack.ws

    @property
    def gateways(self) -> dict[str, dict[str, str]]:
        """name → {"ws": URL of its private port, "metrics": URL, "http": base URL}; they stay the same over restarts."""
        found = self.stack.describe()["gateways"]
        return {
            name: {**urls, "http": urls["metrics"].removesuffix("/metrics")} for name, urls in found.items()
        }

    @property
    def processes(self) -> dict[str, int | None]:
        """name → pid, None for one that is dead: gateway-1 …, worker-1, beat, valkey, postgres."""
        return self.stack.describe()["processes"]

    @property
    def env(self) -> dict[str, str]:
        """The environment of the application's processes, for starting more of them."""
        return dict(self.stack.env)

    @property
    def data(self) -> Path:
        """The data folder, with sms.jsonl and logs/."""
        return self.stack.data.root

    @property
    def database_url(self) -> str:
        return self.stack.urls["DATABASE_URL"]

    @property
    def hot_url(self) -> str:
        return self.stack.urls["HOT_URL"]

    # -- life ----------------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        running.append(self)
        try:
            if self.stack.env.get("LOG_STORE") == "cassandra":
                for child in self.stack.children.values():
                    child.spec.ready_timeout = max(child.spec.ready_timeout, _READY_S)
            self.stack.start(migrate=False)  # the template's tables are up to date
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End every process of the data folder, at once. A second call does nothing. (`stop_part` is the orderly way.)"""
        if self in running:
            running.remove(self)
        self.stack.kill()
        if self._keyspace and log_node is not None:
            log_node().take_back(self._keyspace)
            self._keyspace = ""

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to a part. After SIGKILL it is gone when this returns, with the worker's pool and PostgreSQL's backends
        (which may serve a moment longer than their parent)."""
        child = self._child(name)
        offspring = children(child.pid) if child.pid else []
        for one in [*self._hot_nodes(name), child]:
            one.kill(number)
        if number == signal.SIGKILL:
            deadline = time.monotonic() + 10
            while left := [pid for pid in offspring if is_alive(pid)]:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{name} is dead, but its children {left} still live")
                time.sleep(0.01)

    def restart(self, name: str) -> None:
        """Start a part that is dead (or stop it first), and wait until it is ready."""
        parts = [self._child(name), *self._hot_nodes(name)]
        for child in parts:
            if child.pid is not None:
                child.stop()
            child.start()
        for child in parts:
            child.wait_ready()
        if self.stack.hot_cluster is not None and len(parts) > 1:
            self.stack.hot_cluster.form()

    def stop_part(self, name: str) -> None:
        """Ask a part to end in its orderly way and wait for it."""
        for child in [*self._hot_nodes(name), self._child(name)]:
            child.stop()

    def wait_dead(self, name: str, timeout: float = 10.0) -> None:
        """Until a part has ended by itself, for instance at a fault point."""
        if not self._child(name).wait(timeout):
            raise AssertionError(f"{name} still lives after {timeout} s")

    def said(self, lines: int = 8) -> str:
        """The end of what each process of the application has written, for who looks at a test that failed."""
        named = {
            name: child for name, child in self.stack.children.items() if name not in ("postgres", "valkey")
        }
        return "\n".join(f"{name}:\n{child.tail(lines, 600)}" for name, child in named.items())

    def log(self, name: str) -> str:
        """What a part has written since its last start."""
        return self._child(name).output()

    def sql(self, statement: str) -> str:
        """Run one statement in the database; its rows as text, columns separated by ``|``.

        A test that looks into tables of the log is skipped, here, when the log is on Cassandra.
        """
        if self.stack.env.get("LOG_STORE") == "cassandra" and _LOG.search(statement):
            pytest.skip("it looks into tables of the log that PostgreSQL has and Cassandra has not")
        server = self.database or self.stack.postgres
        assert server is not None
        return server.sql(statement, database="whatsapp")

    @property
    def hot_folder(self) -> Path:
        """What the hot node, or all nodes of the cluster, keep on disk."""
        one = self.stack.data.valkey
        return one.with_name("valkey-cluster") if self.stack.hot_cluster else one

    def _hot_nodes(self, name: str) -> list[Child]:
        """What "valkey" is besides the server of that name, where hot state is on a cluster."""
        cluster = self.stack.hot_cluster
        if name != "valkey" or cluster is None:
            return []
        return [self.stack.children[server.name] for server in cluster.members]

    def stored(self) -> Any:
        """For what a test wants to know of its log, wherever that is: ``async with system.stored() as log: await
        log.events(conversation)``. See :class:`tests.contract.harness.PostgresHarness`; ``log.store`` is a store on it."""
        from tests.contract.cassandra import CassandraHarness
        from tests.contract.harness import PostgresHarness

        env = self.stack.env
        if env.get("LOG_STORE") != "cassandra":
            return PostgresHarness(self.database_url)
        host, port = env["CASSANDRA_CONTACT_POINTS"].partition(",")[0].split(":")
        credentials = {"username": env.get("CASSANDRA_USER"), "password": env.get("CASSANDRA_PASSWORD")}
        return CassandraHarness(
            (host, int(port), env["CASSANDRA_KEYSPACE"]), self.hot_url, eager=False, **credentials
        )

    def _child(self, name: str) -> Child:
        return self.stack.children[name]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def hot_on_cluster() -> bool:
    """Whether ``./dev test --hot cluster`` asks for hot state on a Valkey Cluster."""
    return os.environ.get("WHATSAPP_TEST_HOT") == "cluster"


def _caller() -> dict[str, str]:
    """This process's environment without what :mod:`tests.support.early` and the developer set for other systems."""
    secret = {"SECRET_KEY", "TOKEN_KEYS", "FRANKING_KEYS"}
    hidden = {*URL_VARIABLES, "WHATSAPP_ENV", "WHATSAPP_DATA", "WHATSAPP_LIMITS", *secret}
    return {name: value for name, value in os.environ.items() if name not in hidden}


def _template_folder() -> Path:
    global _template
    with _template_lock:
        if _template is None:
            _template = _make_template()
    return _template


def _copy_template(data: DataFolder, *, servers: bool) -> None:
    """Give ``data`` a migrated database: initdb and migrations run once a session."""
    shutil.copy2(_template_folder() / "secrets.json", data.secrets)
    if servers:
        copy_database(data.postgres)


def copy_database(folder: Path) -> str:
    """Make ``folder`` the data folder of a migrated server that never ran; returns its password."""
    template = _template_folder()
    target = unprivileged.data_folder(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(unprivileged.data_folder(template / "postgres"), target)
    unprivileged.hand_over(target)
    return str(json.loads((template / "secrets.json").read_text())["POSTGRES_PASSWORD"])


def _make_template() -> Path:
    # A new one: the test before may have ended on its deadline in the middle of this.
    root = early.folder("system-template")
    stack = Stack(
        DataFolder(root),
        port=ports.choose(),
        gateways=0,
        worker=False,
        fanout=False,
        beat=False,
        caller=_caller(),
        python=Path(sys.executable),
    )
    try:
        stack.start()
    finally:
        stack.stop()
    return root
