"""A primary that hung, was replaced and wakes up: it confirms nothing, nobody takes it for the primary, and it can
be brought back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import psycopg
import pytest

from devtools import ports
from devtools.standby import Cluster, Standby
from tests.support import early
from tests.support.patience import until
from whatsapp.infra import primary
from whatsapp.infra.postgres import parameters

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240, func_only=True)]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    folder = early.folder("fence")
    taken: list[int] = []
    for _ in range(3):
        taken.append(ports.choose(taken))
    cluster = Cluster(folder, password="x", ports=taken)
    try:
        cluster.start()
        cluster.primary.create_database()
        yield cluster
    finally:
        cluster.stop()


async def test_a_primary_that_was_replaced_does_nothing_when_it_wakes_up(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, told = cluster.primary, {**parameters(cluster.url()), "connect_timeout": 5}
    old.sql("CREATE TABLE confirmed ()")
    cluster.signal(old, signal.SIGSTOP)
    await asyncio.to_thread(cluster.fence)
    await asyncio.to_thread(cluster.promote)
    new = cluster.primary
    await asyncio.to_thread(new.sql, "CREATE TABLE later ()")
    cluster.signal(old, signal.SIGCONT)

    # The twin: it is the first of the list, says that it takes writes, and shows what was.
    assert await _place(psycopg.Connection, told) == old.port
    for _ in range(2):  # also a process that knows nothing yet
        monkeypatch.setattr(primary, "guard", primary.Guard())
        assert await _place(primary.Connection, told) == new.port
    unconfirmed = asyncio.create_task(asyncio.to_thread(old.sql, "CREATE TABLE unconfirmed ()"))
    await until(lambda: _waiting(old) >= 2, "its commit waits as the proof does")
    assert not unconfirmed.done()

    await asyncio.to_thread(cluster.end, old)
    await asyncio.gather(unconfirmed, return_exceptions=True)
    await asyncio.to_thread(cluster.rewind, old)
    await until(lambda: list(cluster.streaming().values()) == ["quorum"] * 2, "both follow", 60)
    tables = "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    await until(lambda: old.sql(tables) == "confirmed,later", "what nobody confirmed is undone", 20)


async def _place(kind: type[psycopg.Connection], told: dict[str, object]) -> int:
    """The port of the server that is taken."""
    connection = await asyncio.to_thread(kind.connect, **told)  # type: ignore[arg-type]
    with connection:
        return connection.info.port


def _waiting(server: Standby) -> int:
    return int(server.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"))
