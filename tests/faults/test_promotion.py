"""The primary dies under load and a standby takes its place. What was confirmed is there, nothing that was gone comes back, and
every process finds the new primary by itself. With asynchronous replication (the twin) the same fault loses confirmed things."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from devtools import ports
from devtools.standby import Cluster, Standby
from tests.faults.ledger import BLOCKED, KEY, MESSAGE, REMOVED, SIGNED_OUT
from tests.faults.promoted import CROWD, Load, goes_on, loaded, under_way
from tests.faults.rig import Rig, meeting
from tests.gateway.metrics import scrape
from tests.observability.manage import managed
from tests.support import early, plain
from tests.support.patience import until
from tests.support.stack import System, copy_database

pytestmark = [pytest.mark.needs_system, pytest.mark.slow, pytest.mark.timeout(240, func_only=True)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A primary with two standbys, one of which confirms each commit."""
    folder = early.folder("promotion")
    password = copy_database(folder / "p0")
    taken: list[int] = []
    for _ in range(3):
        taken.append(ports.choose(taken))
    # Replication that is cut stays cut.
    cluster = Cluster(folder, password=password, ports=taken, settings={"wal_receiver_timeout": "120s"})
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def rig(cluster: Cluster) -> Iterator[Rig]:
    with System(fanout=True, beat=True, env={"WHATSAPP_TEST_BUILD": "1"}, database=cluster) as system:
        yield Rig(system)


@pytest.fixture
async def whole(cluster: Cluster) -> AsyncIterator[Cluster]:
    """All three servers live and stream, before and after."""
    yield cluster
    for server in cluster.servers:
        if server is not cluster.primary:
            cluster.signal(server, signal.SIGCONT)
            if cluster.children[server.name].pid is None:
                await asyncio.to_thread(cluster.rejoin, server)
    cluster.synchronous(True)
    await until(lambda: list(cluster.streaming().values()) == ["quorum"] * 2, "both standbys stream", 60)


async def test_nothing_confirmed_is_lost_by_a_promotion_under_load(rig: Rig, whole: Cluster) -> None:
    async with meeting(rig) as cast:
        load = await loaded(rig, cast)
        async with load.running():
            await under_way(load)
            await asyncio.to_thread(whole.kill_primary)
            await asyncio.to_thread(whole.promote)
            before, sends = load.ledger.count(), len(cast.history.sends)
            await until(lambda: load.ledger.count() > before + 20, "changes are confirmed again", 60)
            await until(lambda: len(cast.history.sends) > sends + 60, "messages are confirmed again", 60)
            await load.end()
        assert load.ledger.count() > 4 * CROWD * 0.6, "most were confirmed"
        assert await load.ledger.breaches(rig.system, cast.history.sends) == {}
        assert any(sent.attempts > 1 for sent in cast.history.sends), "the server died under a send"
        await cast.laptop.online(timeout=60)
        await cast.all_here(*cast.devices, timeout=40)
        for device in (cast.ann, cast.phone):
            assert not device.closes, "sockets stay"
        await _all_parts_have_found_it(rig)


async def _all_parts_have_found_it(rig: Rig) -> None:
    """Django in gateways, tasks and beat, the workers' own pools, the sweep."""
    system = rig.system
    addresses = {
        name: url.removesuffix("/metrics") for name, url in system.stack.describe()["metrics"].items()
    }

    async def ready(name: str) -> bool:
        async with plain.AsyncClient(timeout=20) as client:
            return (await client.get(addresses[name] + "/health/ready")).status_code == 200

    for name in addresses:
        await until(lambda name=name: ready(name), f"{name} is ready", 40)
    done = 'whatsapp_celery_tasks_total{state="success",task="accounts.tasks.prune"}'

    async def succeeded() -> float:
        return (await scrape(addresses["worker-1"] + "/metrics")).get(done, 0)

    before = await succeeded()
    await managed(
        system, "shell", "-c", "import whatsapp.celery\nfrom accounts.tasks import prune\nprune.delay()"
    )
    await until(lambda: _more(succeeded, before), "a task of the worker wrote to the new primary", 40)


async def _more(read: object, before: float) -> bool:
    return (await read()) > before  # type: ignore[operator]


@pytest.mark.long
async def test_a_primary_that_hangs_is_left_and_does_nothing_when_it_wakes_up(
    rig: Rig, whole: Cluster
) -> None:
    """It sends no reset: its connections stand, and its kernel answers keepalives."""
    old = whole.primary
    async with meeting(rig) as cast:
        load = await loaded(rig, cast)
        async with load.running():
            await under_way(load)
            await asyncio.to_thread(whole.signal, old, signal.SIGSTOP)
            await asyncio.to_thread(whole.fence)
            await asyncio.to_thread(whole.promote)
            await goes_on(load)
            await asyncio.to_thread(whole.signal, old, signal.SIGCONT)
            await goes_on(load)
            # Commits that it had begun wait there for ever: it does not see that nobody listens.
            await until(
                lambda: not _clients(old, "wait_event IS DISTINCT FROM 'SyncRep'"),
                "nobody is left at the old primary",
                20,
            )
            # Who asks it by name can read there, and gets no answer to a commit.
            asked = asyncio.create_task(asyncio.to_thread(old.sql, "CREATE TABLE unconfirmed ()"))
            await until(lambda: _clients(old, "wait_event = 'SyncRep'"), "its commit waits")
            await goes_on(load)
            assert not asked.done()
            await load.end()
        assert await load.ledger.breaches(rig.system, cast.history.sends) == {}
        await cast.laptop.online(timeout=60)
        await cast.all_here(*cast.devices, timeout=40)
        for device in (cast.ann, cast.phone):
            assert not device.closes, "sockets stay"
        await _all_parts_have_found_it(rig)
        # What it had written by itself is undone, and it follows.
        await asyncio.to_thread(whole.end, old)
        await asyncio.gather(asked, return_exceptions=True)
        await asyncio.to_thread(whole.rewind, old)
        await until(lambda: list(whole.streaming().values()) == ["quorum"] * 2, "both standbys stream", 60)
        assert not old.sql("SELECT 1 FROM pg_class WHERE relname = 'unconfirmed'")


def _clients(server: Standby, which: str = "true") -> int:
    """How many sessions a server has, besides the one that asks."""
    return int(
        server.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            f" AND pid <> pg_backend_pid() AND {which}"
        )
    )


@pytest.mark.long
async def test_what_no_standby_has_is_not_confirmed(rig: Rig, whole: Cluster) -> None:
    """The primary hears nothing of its standbys, and dies."""
    async with meeting(rig) as cast:
        load = await loaded(rig, cast)
        async with load.running():
            await under_way(load)
            whole.cut_replication()
            # Answers that are on their way come, then none for a while.
            await until(lambda: _quiet(load), "nothing is confirmed any more", 20)
            confirmed = load.confirmed
            await asyncio.to_thread(whole.kill_primary)
            await asyncio.to_thread(whole.promote)
            await until(lambda: load.confirmed > confirmed + 100, "all goes on", 60)
            await load.end()
        assert await load.ledger.breaches(rig.system, cast.history.sends) == {}
        await cast.laptop.online(timeout=60)
        await cast.all_here(*cast.devices, timeout=40)


async def _quiet(load: Load) -> bool:
    before = load.confirmed
    await asyncio.sleep(1.5)
    return load.confirmed == before


@pytest.mark.long
async def test_twin_without_synchronous_replication_confirmed_things_are_lost(
    rig: Rig, whole: Cluster
) -> None:
    whole.synchronous(False)
    async with meeting(rig) as cast:
        load = await loaded(rig, cast)
        async with load.running():
            await under_way(load)
            whole.cut_replication()
            counts = {kind: load.ledger.count(kind) for kind in (KEY, BLOCKED, REMOVED, SIGNED_OUT)}
            sends = len(cast.history.sends)
            await until(
                lambda: (
                    all(load.ledger.count(kind) > number + 2 for kind, number in counts.items())
                    and len(cast.history.sends) > sends + 20
                ),
                "some of everything is confirmed, and no standby has it",
                60,
            )
        await asyncio.to_thread(whole.kill_primary)
        await asyncio.to_thread(whole.promote)
        await until(lambda: _answers(rig), "the gateways are back", 60)
        lost = await load.ledger.breaches(rig.system, cast.history.sends)
        assert set(lost) == {MESSAGE, REMOVED, SIGNED_OUT, BLOCKED, KEY}, lost


async def _answers(rig: Rig) -> bool:
    async with plain.AsyncClient(timeout=20) as client:
        answers = [await client.get(gate["http"] + "/health/ready") for gate in rig.system.gateways.values()]
    return all(answer.status_code == 200 for answer in answers)
