"""A whole system in a data folder: which processes it has, in which order they start and stop."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from devtools import archiver, backup, environment, ports, push_providers, ring, valkey
from devtools.cassandra import CassandraNode
from devtools.errors import DevError
from devtools.media_servers import MediaServers
from devtools.paths import REPO, VENV_PYTHON, DataFolder
from devtools.postgres import PostgresServer
from devtools.processes import Child, Spec, end_all, of_stack
from devtools.push_providers import PushProviders
from devtools.ring import Ring
from devtools.valkey import ValkeyServer
from devtools.valkey_cluster import ValkeyCluster

QUEUES = "drain,media,maintenance,celery"
#: Celery workers, in the order in which they are told to stop, and beat.
WORKERS = ("worker-1", "fanout-1", "push-1", "beat")


def _silent(text: str) -> None:
    pass


class Stack:
    """Servers from wheels (those that no URL of ``external`` replaces), gateways on one port, a worker, beat; ``apis``: processes
    that gateways hand uploads over to. With ``PUSH_APPS`` in the environment beside the worker one for notifications.

    ``caller`` is the environment the children inherit from; ``overrides`` are variables for the application's processes only;
    ``extra_limits`` go over the development table. ``cassandra``: how many nodes keep the messages (1 or 3); 0: PostgreSQL does.
    ``s3``: files are on an S3 server, not in a folder; ``scanner``: a ClamAV daemon; ``push``: providers of push notifications,
    and apps there. Nothing runs before :meth:`start`.
    """

    def __init__(
        self,
        data: DataFolder,
        *,
        port: int,
        gateways: int = 2,
        apis: int = 0,
        worker: bool = True,
        fanout: bool = True,
        beat: bool = True,
        external: Mapping[str, str] | None = None,
        caller: Mapping[str, str] | None = None,
        overrides: Mapping[str, str] | None = None,
        extra_limits: Mapping[str, int] | None = None,
        cassandra: int = 0,
        quick: bool = False,
        valkey_cluster: bool = False,
        s3: bool = False,
        scanner: bool = False,
        push: bool = False,
        python: Path = VENV_PYTHON,
        vault: Path | None = None,
        keys: Path | None = None,
        say: Callable[[str], None] = _silent,
    ) -> None:
        data.create()
        self.data = data
        self.port = port
        self.say = say
        self.python = python
        self.external = dict(external or {})
        caller = dict(os.environ if caller is None else caller)
        known = environment.load_secrets(data)
        server_env = environment.base(data, caller)
        self.postgres: PostgresServer | None = None
        self.valkey: ValkeyServer | None = None
        if "DATABASE_URL" not in self.external:
            # A gateway holds up to 30 connections (its own pool and Django's), the worker's three processes the rest.
            connections = {"max_connections": str(max(100, 40 + 30 * (gateways + apis)))}
            self.postgres = PostgresServer(
                data.postgres,
                password=known["POSTGRES_PASSWORD"],
                log=data.logs / "postgres.log",
                env=server_env,
                settings=connections | (backup.SETTINGS if vault else {}),
            )
        if not {"HOT_URL", "BROKER_URL", "CACHE_URL"} <= self.external.keys():
            self.valkey = ValkeyServer(
                data.valkey, password=known["VALKEY_PASSWORD"], log=data.logs / "valkey.log", env=server_env
            )
        self.hot_cluster: ValkeyCluster | None = None
        if valkey_cluster and "HOT_URL" not in self.external:
            folder = data.valkey.with_name("valkey-cluster")
            self.hot_cluster = ValkeyCluster(
                folder, password=known["VALKEY_PASSWORD"], logs=data.logs, env=server_env
            )
        #: Where its messages are is written into the data folder.
        self.remembers = True
        self.urls = {**self._own_urls(), **self.external}
        self.ring = (
            self._ring(cassandra, known["CASSANDRA_PASSWORD"], server_env, quick) if cassandra else None
        )
        self.log = {"LOG_STORE": "cassandra", **self.ring.variables()} if self.ring else {}
        self.media = MediaServers(
            data, bucket=s3, scanner=scanner, secret=known["S3_SECRET"], env=server_env, caller=caller
        )
        self.push = PushProviders(data, python=python, env=server_env) if push else None
        self.apps = self.push.variables() if self.push else {}
        self.env = environment.application(
            data,
            urls=self.urls,
            caller=caller,
            overrides={**self.log, **self.media.variables(), **self.apps, **(overrides or {})},
            extra_limits=extra_limits,
        )
        taken = {port}
        self.private_ports: dict[str, int] = {}
        self.api_ports: dict[str, int] = {}
        #: Where worker and beat show their metrics and health.
        self.metrics_ports: dict[str, int] = {}
        self.children: dict[str, Child] = {}
        for number in range(1, gateways + 1):
            name = f"gateway-{number}"
            self.private_ports[name] = ports.choose(taken)
            taken.add(self.private_ports[name])
            self.add(self._gateway(name))
        for number in range(1, apis + 1):
            name = f"api-{number}"
            self.api_ports[name] = ports.choose(taken)
            taken.add(self.api_ports[name])
            self.add(self._api(name))
        pushing = worker and bool(self.env.get("PUSH_APPS"))
        for name in ["worker-1"] * worker + ["fanout-1"] * fanout + ["push-1"] * pushing + ["beat"] * beat:
            self.metrics_ports[name] = ports.choose(taken)
            taken.add(self.metrics_ports[name])
        if worker:
            self.add(self._worker())
        if fanout:
            self.add(self._fanout())
        if pushing:
            self.add(self._push())
        if beat:
            self.add(self._beat())
        if self.valkey:
            self.add(self.valkey.spec)
        if self.hot_cluster:
            for server in self.hot_cluster.members:
                self.add(server.spec)
        if self.postgres:
            self.add(self.postgres.spec)
            if vault:
                self.add(self._archive(self.postgres, vault, keys))
        for node in self.ring.nodes if self.ring else []:
            self.add(node.spec)
        for spec in self.media.specs:
            self.add(spec)
        if self.push:
            self.add(self.push.spec)

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self, *, migrate: bool = True, abort: Callable[[], bool] = lambda: False) -> None:
        """Start everything and wait until it is ready. Raises :class:`DevError`; what was started is then for :meth:`stop`."""
        self.end_strays()
        servers = [self.children[name] for name in self._servers() if name in self.children]
        if self.postgres:
            self.postgres.prepare()
        for node in self.ring.nodes if self.ring else []:
            node.prepare()
        if self.ring:
            count = len(self.ring.nodes)
            self.say(f"starting {count} node{'s' * (count > 1)} of Cassandra, which takes a moment")
        self._start(servers, abort)
        if self.hot_cluster:
            self.hot_cluster.form()
        if self.postgres:
            self.postgres.create_database()
        if self.ring:
            self.ring.secure()
            self.ring.wait_whole()
            self._repair()
            if self.remembers:
                self.data.nodes.write_text(f"{len(self.ring.nodes)}\n")
        if migrate:
            self.migrate()
        if migrate or self.ring:
            self.sync()
        self._start([child for child in self.children.values() if child not in servers], abort)

    def _start(self, children: list[Child], abort: Callable[[], bool]) -> None:
        started = time.monotonic()
        for child in children:
            child.start()
        for child in children:
            self._wait_ready(child, abort)
        if children:
            self.say(
                f"{', '.join(child.name for child in children)} ready after {time.monotonic() - started:.1f} s"
            )

    def _wait_ready(self, child: Child, abort: Callable[[], bool]) -> None:
        """A private port was free when it was chosen; who lost it since, to another system say, starts on another one."""
        for again in (True, True, False):
            try:
                child.wait_ready(abort)
                return
            except DevError:
                own = self.api_ports if child.name in self.api_ports else self.private_ports
                private = own.get(child.name)
                lost = private is not None and os.strerror(errno.EADDRINUSE) in child.output()
                if not again or not lost or child.pid is not None or ports.is_free(private or 0):
                    raise
            own[child.name] = ports.choose(
                {self.port, *self.private_ports.values(), *self.api_ports.values()}
            )
            child.spec = (self._api if own is self.api_ports else self._gateway)(child.name)
            child.start()

    def stop(self) -> None:
        """Stop everything in order: gateways drain, worker and beat finish, then the servers. What remains is killed."""
        last = (*WORKERS, *self._servers(), "archive")
        gateways = [name for name in self.children if name not in last]
        for names in (
            gateways,
            list(WORKERS),
            ["valkey", *self._cluster_names(), *self.media.names, push_providers.NAME],
            self._nodes(),
            ["postgres"],
            ["archive"],
        ):
            group = [self.children[name] for name in names if name in self.children]
            for child in group:
                child.send(child.spec.stop_signal)
            for child in group:
                child.stop_waiting()
        self.end_strays()

    def kill(self) -> None:
        """End everything at once and out of order, for tests that are through with a system."""
        for child in self.children.values():
            child.send(child.spec.death_signal)
        for child in self.children.values():
            child.stop_waiting()
        self.end_strays()

    def end_strays(self) -> None:
        """End every process of this data folder that is not one of our living children."""
        ours = {child.pid for child in self.children.values()} - {None}
        if not ours:
            end_all(self.strays, grace=2)

    def strays(self) -> list[int]:
        """The processes of this data folder."""
        return of_stack(self.data.id, self.postgres.folder if self.postgres else None)

    def _nodes(self) -> list[str]:
        return [node.name for node in self.ring.nodes] if self.ring else []

    def _servers(self) -> list[str]:
        return [
            *self._nodes(),
            "postgres",
            "valkey",
            *self._cluster_names(),
            *self.media.names,
            push_providers.NAME,
        ]

    def sync(self) -> None:
        """Bring the tables on Cassandra up to date, where the messages are there. Raises :class:`DevError`."""
        if self.env.get("LOG_STORE") == "cassandra":
            started = time.monotonic()
            ring.sync(self.python, self.env, self.data.logs / "sync_cassandra.log")
            self.say(f"tables on Cassandra up to date after {time.monotonic() - started:.1f} s")

    def _repair(self) -> None:
        """After a restore each node has what its own log had; a majority would say one thing now and another one later."""
        if self.ring and self.data.unrepaired.exists():
            started = time.monotonic()
            self.ring.nodes[0].nodetool("repair", "--full", ring.KEYSPACE)  # its copies are of everything
            self.data.unrepaired.unlink()
            self.say(f"nodes repaired after {time.monotonic() - started:.1f} s")

    def migrate(self) -> None:
        """Bring the database's tables up to date. Raises :class:`DevError` with what Django said."""
        started = time.monotonic()
        run = subprocess.run(
            [str(self.python), "manage.py", "migrate", "--noinput"],
            cwd=REPO,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        (self.data.logs / "migrate.log").write_text(run.stdout + run.stderr)
        if run.returncode:
            reason = (run.stderr.strip() or run.stdout.strip()).splitlines()
            raise DevError(
                f"the migrations failed ({self.data.logs / 'migrate.log'}): {reason[-1] if reason else ''}"
            )
        self.say(f"database migrated after {time.monotonic() - started:.1f} s")

    # -- what it says about itself ---------------------------------------------------------------------------------------

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def describe(self) -> dict[str, Any]:
        """The object that ``./dev status --json`` prints; a part that is down has no pid (None)."""
        return {
            "http": self.http,
            "ws": self.ws,
            "processes": {name: child.pid for name, child in self.children.items()},
            "gateways": {
                name: {"ws": f"ws://127.0.0.1:{port}/ws", "metrics": f"http://127.0.0.1:{port}/metrics"}
                for name, port in self.private_ports.items()
            },
            "metrics": {
                name: f"http://127.0.0.1:{port}/metrics"
                for name, port in {**self.private_ports, **self.api_ports, **self.metrics_ports}.items()
            },
            "urls": {name.removesuffix("_URL").lower(): url for name, url in self.urls.items()},
            "log": self.log,
            "media": self.media.variables(),
            "push": self.apps,
            "data": str(self.data.root),
        }

    def join_gateway(self, name: str) -> None:
        """One more gateway on the shared port of a running stack. Raises :class:`DevError` if it does not become ready."""
        self.private_ports[name] = ports.choose(
            {self.port, *self.private_ports.values(), *self.metrics_ports.values()}
        )
        self.add(self._gateway(name))
        self.children[name].start()
        self._wait_ready(self.children[name], lambda: False)

    def join_node(self, node: CassandraNode) -> None:
        """Start one more node of Cassandra and wait until it has its part. Raises :class:`DevError`."""
        node.prepare()
        self.add(node.spec)
        self.children[node.name].start()
        self.children[node.name].wait_ready()

    def leave_node(self, name: str) -> None:
        """Let a node of Cassandra hand over its part, then end it for good. Raises :class:`DevError`."""
        assert self.ring is not None
        node = next(node for node in self.ring.nodes if node.name == name)
        node.nodetool("decommission")
        self.children.pop(name).stop()
        self.ring.nodes.remove(node)
        shutil.rmtree(node.folder)  # it may not come back with what it had

    def leave_gateway(self, name: str) -> None:
        """End a gateway in its orderly way, for good."""
        self.children[name].stop()
        del self.children[name], self.private_ports[name]

    # -- the parts -------------------------------------------------------------------------------------------------------

    def _own_urls(self) -> dict[str, str]:
        urls = {}
        if self.postgres:
            urls["DATABASE_URL"] = self.postgres.url()
        if self.valkey:
            urls["HOT_URL"] = self.valkey.url(valkey.HOT)
            urls["BROKER_URL"] = self.valkey.url(valkey.BROKER)
            urls["CACHE_URL"] = self.valkey.url(valkey.CACHE)
        if self.hot_cluster:
            urls["HOT_URL"] = self.hot_cluster.url()
        return urls

    def _ring(self, count: int, password: str, env: dict[str, str], quick: bool) -> Ring:
        return Ring(
            self.data.cassandra,
            self.data.logs,
            count,
            password=password,
            env=env,
            compilers="quick" if quick else "full",
        )

    def _cluster_names(self) -> list[str]:
        return [server.name for server in self.hot_cluster.members] if self.hot_cluster else []

    def add(self, spec: Spec) -> None:
        """Make one more process part of the stack."""
        self.children[spec.name] = Child(spec)

    def _gateway(self, name: str) -> Spec:
        return self._serving(name, "--port", str(self.port), "--private-port", str(self.private_ports[name]))

    def _api(self, name: str) -> Spec:
        # No public port: its connections come from gateways.
        return self._serving(name, "--role", "api", "--private-port", str(self.api_ports[name]))

    def _serving(self, name: str, *options: str) -> Spec:
        return Spec(
            name=name,
            argv=[str(self.python), "-m", "whatsapp.serve", "--name", name, "--host", "127.0.0.1", *options],
            env={**self.env, "WHATSAPP_PROCESS": name},
            cwd=REPO,
            log=self.data.logs / f"{name}.log",
            ready=_said_ready,
            stop_timeout=20,
        )

    def _named(self, name: str) -> dict[str, str]:
        return {
            **self.env,
            "WHATSAPP_PROCESS": name,
            "WHATSAPP_METRICS_PORT": str(self.metrics_ports[name]),
        }

    def _worker(self) -> Spec:
        return self._celery("worker-1", QUEUES, "-c", "2")

    def _fanout(self) -> Spec:
        # Lanes wait for servers, on one loop: a thread a lane that only waits for it, no pool of processes.
        return self._celery("fanout-1", "fanout", "-P", "threads", "-c", "64")

    def _push(self) -> Spec:
        # Shards are worked on by one loop; a task hands it one and ends.
        return self._celery("push-1", "push", "-P", "threads", "-c", "4")

    def _celery(self, name: str, queues: str, *options: str) -> Spec:
        return Spec(
            name=name,
            argv=[
                str(self.python), "-m", "celery", "-q", "-A", "whatsapp", "worker", "-Q", queues, *options, "--without-gossip",
                "--without-mingle", "--loglevel", "INFO", "-n", f"{name}@%h",
            ],
            env=self._named(name),
            cwd=REPO,
            log=self.data.logs / f"{name}.log",
            ready=lambda child: " ready." in child.output(),
            stop_timeout=15,
        )  # fmt: skip

    def _beat(self) -> Spec:
        return Spec(
            name="beat",
            argv=[
                str(self.python), "-m", "celery", "-q", "-A", "whatsapp", "beat",
                "--scheduler", "django_celery_beat.schedulers:DatabaseScheduler", "--pidfile=", "--loglevel", "INFO",
            ],
            env=self._named("beat"),
            cwd=REPO,
            log=self.data.logs / "beat.log",
            stop_timeout=5,
        )  # fmt: skip

    def _archive(self, server: PostgresServer, vault: Path, keys: Path | None) -> Spec:
        """What keeps backups. It ends last, and so has what PostgreSQL wrote at its end."""
        return Spec(
            name="archive",
            argv=[
                str(self.python), "-m", "devtools.archiver", "--data", str(self.data.root), "--port", str(server.port),
                "--vault", str(vault), *(["--keys", str(keys), "--erased"] if keys else []),
                *(argument for node in (self.ring.nodes if self.ring else ()) for argument in ("--node", str(node.folder))),
            ],
            env=self.env,
            cwd=REPO,
            log=self.data.logs / "archive.log",
            ready=lambda child: archiver.READY in child.output(),
            stop_timeout=10,
        )  # fmt: skip


def _said_ready(child: Child) -> bool:
    """Whether a process that serves HTTP has printed its line ``{"name": …, "port": …, "private_port": …}``."""
    for line in child.output().splitlines():
        if line.startswith("{") and '"private_port"' in line:
            try:
                return json.loads(line)["name"] == child.name
            except (ValueError, KeyError):
                continue
    return False
