"""Promotion behind one address: HAProxy, which asks a check beside each server, and pgbouncer before it. The configurations are
those of docker/haproxy-postgres.cfg and docs/postgresql.md."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from devtools import ports
from devtools.paths import REPO
from devtools.postgres import DATABASE, USER
from devtools.processes import Child, Spec
from devtools.standby import Cluster
from tests.faults.promoted import goes_on, loaded, under_way
from tests.faults.rig import Rig, meeting
from tests.infra.test_pooler import Pooler
from tests.support import early
from tests.support.patience import until
from tests.support.stack import System, copy_database

pytestmark = [pytest.mark.long, pytest.mark.needs_system, pytest.mark.timeout(400, func_only=True)]

CONFIGURATION = REPO / "docker" / "haproxy-postgres.cfg"


class Balancer:
    """HAProxy before the servers of a cluster, and the check beside each. ``url`` is its address."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.cluster, self.port = cluster, ports.choose()
        self.password = cluster.password
        env = {"PATH": os.environ["PATH"], "BIND": f"127.0.0.1:{self.port}"}
        self.children: list[Child] = []
        for number, server in enumerate(cluster.servers, 1):
            check = ports.choose()
            env |= {f"DB{number}": f"127.0.0.1:{server.port}", f"CHECK{number}": str(check)}
            self.children.append(
                Child(
                    Spec(
                        name=f"check{number}",
                        argv=[sys.executable, "-m", "whatsapp.infra.primary_check"],
                        env={
                            "PATH": os.environ["PATH"],
                            "PRIMARY_CHECK_URL": server.url("postgres"),
                            "PRIMARY_CHECK_BIND": f"127.0.0.1:{check}",
                        },
                        cwd=REPO,
                        log=folder / f"check{number}.log",
                        ready=lambda child, check=check: ports.answers("127.0.0.1", check),
                    )
                )
            )
        self.children.append(
            Child(
                Spec(
                    name="haproxy",
                    argv=["/usr/sbin/haproxy", "-W", "-f", str(CONFIGURATION)],
                    env=env,
                    cwd=Path("/"),
                    log=folder / "haproxy.log",
                    ready=lambda child: ports.answers("127.0.0.1", self.port),
                )
            )
        )

    def url(self, database: str = DATABASE) -> str:
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, *, database: str = DATABASE) -> str:
        return self.cluster.sql(statement, database=database)

    def start(self) -> None:
        for child in self.children:
            child.start()
        for child in self.children:
            child.wait_ready()

    def stop(self) -> None:
        for child in reversed(self.children):
            child.kill()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    folder = early.folder("behind")
    password = copy_database(folder / "p0")
    taken: list[int] = []
    for _ in range(3):
        taken.append(ports.choose(taken))
    cluster = Cluster(folder, password=password, ports=taken)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(params=["haproxy", "pgbouncer"])
def rig(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Rig]:
    folder = early.folder("behind")
    balancer = Balancer(folder, cluster)
    pooler: Pooler | None = None
    try:
        balancer.start()
        if request.param == "pgbouncer":
            behind = SimpleNamespace(port=balancer.port, password=cluster.password, sql=balancer.sql)
            pooler = Pooler(folder / "pgbouncer", behind).start()  # type: ignore[arg-type]
        env = {"WHATSAPP_TEST_BUILD": "1", **({"DATABASE_POOLER": "transaction"} if pooler else {})}
        with System(fanout=True, env=env, database=pooler or balancer) as system:
            yield Rig(system)
    finally:
        if pooler is not None:
            pooler.child.stop()
        balancer.stop()


async def _all_stream(cluster: Cluster) -> None:
    await until(lambda: list(cluster.streaming().values()) == ["quorum"] * 2, "both standbys stream", 60)


async def test_nothing_confirmed_is_lost_behind_one_address(rig: Rig, cluster: Cluster) -> None:
    """The primary is killed; the next one hangs, is replaced and wakes up."""
    await _all_stream(cluster)
    async with meeting(rig) as cast:
        load = await loaded(rig, cast)
        async with load.running():
            await under_way(load)
            killed = cluster.primary
            await asyncio.to_thread(cluster.kill_primary)
            await asyncio.to_thread(cluster.promote)
            await goes_on(load)
            await asyncio.to_thread(cluster.rewind, killed)
            await _all_stream(cluster)
            frozen = cluster.primary
            await asyncio.to_thread(cluster.signal, frozen, signal.SIGSTOP)
            await asyncio.to_thread(cluster.fence)
            await asyncio.to_thread(cluster.promote)
            await goes_on(load)
            await asyncio.to_thread(cluster.signal, frozen, signal.SIGCONT)
            await goes_on(load)
            await load.end()
        assert load.ledger.count() > 60
        assert await load.ledger.breaches(rig.system, cast.history.sends) == {}
        await cast.laptop.online(timeout=60)
        await cast.all_here(*cast.devices, timeout=40)
        for device in (cast.ann, cast.phone):
            assert not device.closes, "sockets stay"
        await asyncio.to_thread(cluster.end, frozen)
        await asyncio.to_thread(cluster.rewind, frozen)
