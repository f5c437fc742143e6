"""A Cassandra node in a folder: the jars of the published server on Java, without its shell scripts."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from devtools import java, maven, nodetool, ports
from devtools.bootstrap import say
from devtools.cql import Cql, CqlError, NotLoggedIn, Row
from devtools.errors import DevError
from devtools.processes import Child, Spec

VERSION = "5.0.9"
JARS = Path(__file__).with_name("cassandra.sha256")
#: What the SimpleSnitch calls the only data centre.
DATA_CENTRE = "datacenter1"
USER = "whatsapp"

#: A node for tests and small machines: starts in 4 s of CPU, and its compiled code is slower. ``full`` has both compilers.
_COMPILERS = {"quick": ["-XX:TieredStopAtLevel=1"], "full": []}
_LOGBACK = """<configuration>
<appender name="OUT" class="ch.qos.logback.core.ConsoleAppender"><encoder>
<pattern>%-5level %date{ISO8601,UTC} %logger{0}:%line - %msg%n</pattern></encoder></appender>
<root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
"""


class CassandraNode:
    """One node: :meth:`prepare` gets the server and writes its configuration, :attr:`spec` starts it.

    ``address`` and ``storage_port`` are where other nodes find it, ``port`` is where clients do. ``seeds``: the addresses of
    the cluster's first nodes, its own by default; ``token``: the only token it owns. ``bootstrap``: it joins a cluster that
    has data, and takes its part over; it is then none of the seeds, which never do that. ``replaces``: the address of a dead
    node whose part and token it takes instead. ``manager``: port of 127.0.0.1 and password for ``nodetool``. ``tls``: how we
    reach a node whose ``settings`` ask clients for it. ``sync``: ``batch`` writes to disk before it answers, for one node
    alone; ``periodic`` once a second, as clusters do, whose other replicas have it. ``lasting=False`` is for throw-away nodes
    only: cheaper changes of the schema, which do not survive a kill.
    """

    def __init__(
        self,
        folder: Path,
        *,
        log: Path,
        name: str = "cassandra-1",
        address: str = "127.0.0.1",
        port: int | None = None,
        storage_port: int | None = None,
        seeds: Sequence[str] = (),
        token: int = -(2**63),
        bootstrap: bool = False,
        replaces: str = "",
        manager: tuple[int, str] | None = None,
        data_centre: str = DATA_CENTRE,
        compilers: str = "full",
        heap_mb: int = 1024,
        sync: str = "batch",
        ring_delay_ms: int = 0,
        lasting: bool = True,
        env: dict[str, str] | None = None,
        settings: dict[str, str] | None = None,
        options: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
        say: Callable[[str], None] = say,
    ) -> None:
        self.folder = folder
        self.log = log
        self.name = name
        self.address = address
        self.port = port or ports.remembered(folder.with_name(folder.name + ".port"), address)
        self.storage_port = storage_port or ports.remembered(
            folder.with_name(folder.name + ".storage-port"), address
        )
        self.seeds = list(seeds) or [address]
        self.token = token
        self.bootstrap = bootstrap or bool(replaces)
        self.replaces = replaces
        self.manager = manager
        self.data_centre = data_centre
        self.compilers = compilers
        self.heap_mb = heap_mb
        self.sync = sync
        self.ring_delay_ms = ring_delay_ms
        self.lasting = lasting
        self.env = dict(os.environ if env is None else env)
        self.settings = dict(settings or {})
        self.options = list(options)
        self.tls = tls
        self.say = say

    # -- life ----------------------------------------------------------------------------------------------------------

    def prepare(self, *, archive: bool = True) -> None:
        """Get Java and the jars (both the first time only) and write the configuration. Raises :class:`DevError`."""
        if archive:
            ensure(self.say)
        else:
            _classpath(self.say)
        self._write()

    @property
    def spec(self) -> Spec:
        return Spec(
            name=self.name,
            argv=self.command(class_archive()),
            env=self.env,
            cwd=Path("/"),
            log=self.log,
            ready=lambda child: self.answers(),
            ready_timeout=900.0,  # what it has to read of its log, or to take over from others, before it answers
            before_start=self._write,
            stop_timeout=60.0,  # it writes its tables to disk
        )

    def start(self) -> Child:
        """Prepare, start and wait until it answers; for callers that supervise nothing."""
        self.prepare()
        child = Child(self.spec)
        child.start()
        child.wait_ready()
        return child

    def answers(self) -> bool:
        """Whether it answers a query: its port opens before that."""
        try:
            self.cql("SELECT key FROM system.local", timeout=2.0)
        except NotLoggedIn:  # it looked us up
            return True
        except CqlError:
            return False
        return True

    def cql(self, statement: str, *, timeout: float = 30.0, **login: str) -> list[Row]:
        """Run one statement; values are bytes. Raises :class:`CqlError`."""
        with Cql(self.address, self.port, timeout=timeout, tls=self.tls, **login) as connection:
            return connection.run(statement)

    def peers(self) -> int:
        """How many other nodes it knows and can reach by CQL; 0 when it does not answer."""
        try:
            return len(self.cql("SELECT peer FROM system.peers_v2", timeout=2.0))
        except CqlError:
            return 0

    def nodetool(self, *words: str, timeout: float = 900.0) -> str:
        """What ``nodetool WORDS`` printed. Raises :class:`DevError`."""
        return nodetool.run(_classpath(self.say), self.folder, words, timeout)

    # -- the command -----------------------------------------------------------------------------------------------------

    def command(self, archive: Path | None, *, write_archive: bool = False) -> list[str]:
        jars = _classpath(self.say)
        agent = next(jar for jar in jars if jar.name.startswith("jamm-"))
        folder = self.folder
        properties = {
            "java.net.preferIPv4Stack": "true",
            "jdk.attach.allowAttachSelf": "true",
            "io.netty.tryReflectionSetAccessible": "true",
            "java.io.tmpdir": str(folder / "tmp"),
            "jna.tmpdir": str(folder / "tmp"),
            "cassandra.config": (folder / "cassandra.yaml").as_uri(),
            "cassandra-rackdc.properties": (folder / "rackdc.properties").as_uri(),
            "cassandra.storagedir": str(folder),
            "cassandra.logdir": str(folder),
            "logback.configurationFile": str(folder / "logback.xml"),
            "cassandra-foreground": "yes",
            "cassandra.memtable_row_overhead_computation_step": "100",
            "cassandra.skip_wait_for_gossip_to_settle": "0",
            "cassandra.gossip_settle_min_wait_ms": "0",
            "cassandra.ring_delay_ms": str(self.ring_delay_ms),
            "cassandra.superuser_setup_delay_ms": "0",
            # The password is a long random one: it needs no slow hash.
            "cassandra.auth_bcrypt_gensalt_log2_rounds": "4",
            "cassandra.system_auth.default_rf": str(len(self.seeds)),
        }
        if not self.lasting:
            properties["cassandra.unsafesystem"] = "true"
        if self.replaces:
            properties["cassandra.replace_address_first_boot"] = self.replaces
        if self.manager:
            properties |= nodetool.options(folder, self.manager[0])
        shared = []
        if archive is not None:
            name = "-XX:ArchiveClassesAtExit" if write_archive else "-XX:SharedArchiveFile"
            shared = [
                "-XX:+UnlockDiagnosticVMOptions",
                "-XX:+AllowArchivingWithJavaAgent",
                f"{name}={archive}",
            ]
        return [
            str(java.program()),
            "-Xms256m", f"-Xmx{self.heap_mb}m", "-Xss512k", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError",
            "-XX:+PerfDisableSharedMem", *_COMPILERS[self.compilers], *shared,
            *(f"-D{name}={value}" for name, value in properties.items()),
            *java.access(), f"-javaagent:{agent}", *self.options,
            "-cp", ":".join(map(str, jars)), "org.apache.cassandra.service.CassandraDaemon",
        ]  # fmt: skip

    def _write(self) -> None:
        """The configuration, anew at each start: ports and addresses may have changed."""
        if not self.lasting:  # a killed one has rows of tables that it does not know any more
            shutil.rmtree(self.folder, ignore_errors=True)
        for part in ("tmp", "data"):
            (self.folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        lines = [f"{name}: {value}" for name, value in {**self._settings(), **self.settings}.items()]
        (self.folder / "cassandra.yaml").write_text("\n".join(lines) + "\n")
        (self.folder / "rackdc.properties").write_text(f"dc={self.data_centre}\nrack=rack1\n")
        (self.folder / "logback.xml").write_text(_LOGBACK)
        if self.manager:
            (self.folder / "logback-tools.xml").write_text(_LOGBACK.replace('"INFO"', '"WARN"'))
            nodetool.write(self.folder, *self.manager)

    def _settings(self) -> dict[str, str]:
        seeds = ",".join(f"{seed}:{self.storage_port}" for seed in self.seeds)
        commitlog = (
            {"commitlog_sync": "batch"}
            if self.sync == "batch"
            else {"commitlog_sync": "periodic", "commitlog_sync_period": "1000ms"}
        )
        simple = self.data_centre == DATA_CENTRE
        return {
            "cluster_name": "whatsapp",
            "num_tokens": "1",
            **({} if self.replaces else {"initial_token": f'"{self.token}"'}),
            "auto_bootstrap": str(self.bootstrap).lower(),
            "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
            "seed_provider": (
                "[{class_name: org.apache.cassandra.locator.SimpleSeedProvider, "
                f'parameters: [{{seeds: "{seeds}"}}]}}]'
            ),
            "listen_address": self.address,
            "rpc_address": self.address,
            "storage_port": str(self.storage_port),
            "native_transport_port": str(self.port),
            "endpoint_snitch": "SimpleSnitch" if simple else "GossipingPropertyFileSnitch",
            "dynamic_snitch": "false",
            "data_file_directories": f"['{self.folder / 'data'}']",
            "commitlog_directory": f"'{self.folder / 'commitlog'}'",
            "saved_caches_directory": f"'{self.folder / 'saved_caches'}'",
            "hints_directory": f"'{self.folder / 'hints'}'",
            "cdc_raw_directory": f"'{self.folder / 'cdc_raw'}'",
            **commitlog,
            "commitlog_segment_size": "8MiB",
            "commitlog_total_space": "256MiB",
            "memtable_heap_space": "128MiB" if self.heap_mb >= 1000 else "64MiB",
            "memtable_offheap_space": "64MiB",
            "file_cache_size": "32MiB",
            "key_cache_size": "8MiB",
            "counter_cache_size": "0MiB",
            "concurrent_reads": "16",
            "concurrent_writes": "16",
            "concurrent_compactors": "1",
            "auto_snapshot": "false",
            "storage_compatibility_mode": "NONE",
            # The first version loses what conditional writes have decided when a part of the data gets another owner.
            "paxos_variant": "v2",
            "batch_size_warn_threshold": "64KiB",
            "batch_size_fail_threshold": "640KiB",
            "unlogged_batch_across_partitions_warn_threshold": "100",
        }


def _classpath(say: Callable[[str], None]) -> list[Path]:
    return maven.fetch(JARS, maven.cache() / f"cassandra-{VERSION}", say=say)


def become_nodetool(folder: Path, words: Sequence[str]) -> NoReturn:
    """This process is ``nodetool WORDS`` for the node in ``folder``. Raises :class:`DevError`."""
    argv = nodetool.command(_classpath(say), folder, words)
    os.execv(argv[0], argv)


def ensure(say: Callable[[str], None]) -> None:
    """Java, the jars and the archive of classes: what is slow the first time, for who has a deadline later. Raises
    :class:`DevError`."""
    _classpath(say)
    if not class_archive().exists():
        make_archive(say)


def class_archive() -> Path:
    """Where the archive of parsed classes is, which halves the time of a start. It fits one Java and these jars only."""
    program = java.program()
    state = program.stat()
    key = f"{program}:{state.st_mtime_ns}:{state.st_size}:{JARS.read_text()}"
    return maven.cache() / f"cassandra-{VERSION}" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.jsa"


def make_archive(say: Callable[[str], None]) -> None:
    """Start a node once that writes the archive when it ends. A failure is told, not raised: it costs only time."""
    target = class_archive()
    with (target.parent / ".archive-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return
        say("preparing a faster start of Cassandra (once, half a minute)")
        started = time.monotonic()
        folder = target.parent / f"prepare-{os.getpid()}"
        draft = folder / "classes.jsa"
        try:
            _run_once(folder, draft)
            draft.replace(target)
            say(f"prepared in {time.monotonic() - started:.1f} s")
        except (DevError, OSError) as error:
            say(f"the faster start could not be prepared: {error}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _run_once(folder: Path, archive: Path) -> None:
    folder.mkdir(parents=True)
    node = CassandraNode(
        folder / "node", log=folder / "log", compilers="quick", lasting=False, sync="periodic"
    )
    node._write()
    spec = node.spec
    spec.argv = node.command(archive, write_archive=True)
    child = Child(spec)
    child.start()
    try:
        child.wait_ready()
        child.send(signal.SIGTERM)
        if not child.wait(120):
            raise DevError("the node did not end")
    finally:
        child.kill()
