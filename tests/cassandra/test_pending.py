"""What Django code changes when the log is on Cassandra: it comes to pass with the commit of its transaction, or not at all."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction
from psycopg_pool import AsyncConnectionPool

from delivery.pending import PendingSweep
from delivery.store.background import Background
from delivery.store.cassandra.session import Cassandra
from delivery.store.cassandra.store import CassandraStore
from delivery.store.deferred import DeferredStore
from delivery.store.pending import GRACE_MS
from delivery.store.values import Change, Flags, Interval
from tests.contract.people import T0, new_id, send
from whatsapp.infra import clock
from whatsapp.infra.build import data_folder
from whatsapp.settings import databases

ALIAS = "services"


@pytest.fixture
def services(
    cassandra_at: tuple[str, int, str], new_postgres_url: str, django_db_blocker: Any
) -> Iterator[DeferredStore]:
    """The store of services whose database is one of its own."""
    host, port, keyspace = cassandra_at

    async def open_store() -> Any:
        return CassandraStore(await Cassandra([host], keyspace, port=port).open())

    connections.settings[ALIAS] = {
        **connections.settings["default"],
        **databases.database(new_postgres_url, pool=False),
        "ATOMIC_REQUESTS": False,
    }
    background = Background(open_store)
    with django_db_blocker.unblock():
        yield DeferredStore(background.ask, ALIAS)
        connections[ALIAS].close()
        del connections[ALIAS]
    background.close()
    del connections.settings[ALIAS]


@pytest.fixture
def left(new_postgres_url: str, postgres_server: Any) -> Any:
    """How many changes are still to be carried out."""

    def count() -> int:
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM delivery_pending")
            return int(cursor.fetchone()[0])

    return count


async def sweep(url: str, cassandra_at: tuple[str, int, str]) -> int:
    """A round of the sweep in another process of the worker's kind."""
    host, port, keyspace = cassandra_at
    session = await Cassandra([host], keyspace, port=port).open()
    async with AsyncConnectionPool(url, min_size=1, max_size=2, open=False) as pool:
        done = await PendingSweep(pool, CassandraStore(session)).once()
    await session.close()
    return done


def made(services: DeferredStore, group: str, *users: str) -> None:
    """A group, in the caller's transaction."""
    services.create_group(group, T0)
    added = Change(new_id(), "member_added", b"\x80", users)
    services.change(new_id(), group, users[0], [added], T0)


def test_with_the_commit_and_not_before(services: DeferredStore, left: Any) -> None:
    group, ann, bob = new_id(), new_id(), new_id()
    told: list[Any] = []
    with transaction.atomic(using=ALIAS):
        services.create_group(group, T0)
        added = Change(new_id(), "member_added", b"\x80", (ann, bob))
        services.change(new_id(), group, ann, [added], T0, told.append)
        assert services.conversations([group]) == {}
        assert told == []
    found = services.conversations([group])[group]
    assert sorted(found.members) == sorted([Interval(ann, 1), Interval(bob, 1)])
    assert [(one.seqs, bool(one.row)) for one in told] == [([1], True)]
    assert left() == 0


def test_a_transaction_that_fails_changes_nothing(services: DeferredStore, left: Any) -> None:
    group, ann, bob = new_id(), new_id(), new_id()
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=ALIAS):
        made(services, group, ann)
        services.ensure_direct(ann, bob, new_id(), T0)
        services.link_device(ann, new_id(), T0)
        raise ZeroDivisionError
    assert services.conversations([group]) == {}
    assert services.directs([(ann, bob)]) == [""]
    assert services.devices([ann]) == {ann: ()}
    assert left() == 0


_DIES = """
import sys, django
django.setup()
from django.db import transaction
from delivery.store.values import (Change)
from delivery.store.sync import store
group, user, message_id = sys.argv[1:]
with transaction.atomic():
    store.create_group(group, 1_800_000_000_000)
    store.change(message_id, group, user, [Change(message_id, "member_added", b"\\x80", (user,))], 1_800_000_000_000)
"""


def test_a_process_that_dies_between_commit_and_store_loses_nothing(
    services: DeferredStore,
    left: Any,
    new_postgres_url: str,
    cassandra_at: tuple[str, int, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host, port, keyspace = cassandra_at
    group, user, message = new_id(), new_id(), new_id()
    armed = Path(data_folder()) / "faults" / "kill-pending-commit"
    armed.parent.mkdir(parents=True, exist_ok=True)
    armed.touch()
    died = subprocess.run(
        [sys.executable, "-c", _DIES, group, user, message],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "whatsapp.settings",
            "WHATSAPP_TEST_BUILD": "1",
            "DATABASE_URL": new_postgres_url,
            "LOG_STORE": "cassandra",
            "CASSANDRA_CONTACT_POINTS": f"{host}:{port}",
            "CASSANDRA_KEYSPACE": keyspace,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    # The twin: as long as nobody sweeps, a change that was committed is not there.
    assert services.conversations([group]) == {}
    assert left() == 2

    def round_() -> int:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, sweep(new_postgres_url, cassandra_at)).result()

    assert round_() == 0, "who wrote it down has a moment of its own"
    later = clock.now_ms() + GRACE_MS + 1_000
    monkeypatch.setattr(clock, "now_ms", lambda: later)
    assert round_() == 2
    assert services.conversations([group])[group].members == (Interval(user, 1),)
    assert left() == 0
    assert round_() == 0


def test_what_was_left_comes_before_what_follows(
    services: DeferredStore, left: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block whose process died, then an unblock: nobody is blocked in the end."""
    ann, bob = new_id(), new_id()
    with transaction.atomic(using=ALIAS):
        conversation = services.ensure_direct(ann, bob, new_id(), T0)
    with monkeypatch.context() as patched:
        patched.setattr(DeferredStore, "_committed", lambda *_: None)  # as if it died
        with transaction.atomic(using=ALIAS):
            services.withhold(ann, bob, True, T0)
    assert left() == 1
    with transaction.atomic(using=ALIAS):
        assert services.withhold(ann, bob, False, T0) == conversation
    assert left() == 0
    assert services.silent([ann]) == {ann: frozenset()}
    writer = new_id()
    (said,) = services.append(writer, [send(conversation, bob, new_id())], T0).results
    assert not said.withheld
    # And where nothing was left, a block is one.
    with transaction.atomic(using=ALIAS):
        services.withhold(ann, bob, True, T0)
    (said,) = services.append(writer, [send(conversation, bob, new_id())], T0).results
    assert said.withheld


def test_a_conversation_begins_with_all_that_its_transaction_says(
    services: DeferredStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody ever finds it without the request or the block."""
    ann, bob = new_id(), new_id()
    assert services.withhold(bob, ann, True, T0) == ""
    with transaction.atomic(using=ALIAS):
        conversation = services.ensure_direct(ann, bob, new_id(), T0)
        services.request(conversation, [bob])
        services.hold_direct(ann, bob)
        services.withhold(bob, ann, True, T0)
        assert services.directs([(ann, bob)]) == [""]
    assert services.conversations([conversation])[conversation].unaccepted == {bob}
    assert services.unaccepted([(bob, ann), (ann, bob)]) == [True, False]
    (said,) = services.append(new_id(), [send(conversation, ann, new_id())], T0).results
    assert said.withheld
    with transaction.atomic(using=ALIAS):
        assert services.accept(bob, T0, others=[ann]) == [(conversation, ann)]
    assert services.unaccepted([(bob, ann)]) == [False]
    with transaction.atomic(using=ALIAS):
        assert services.accept(bob, T0, others=[ann]) == []


def test_two_who_open_at_once_have_one_conversation(services: DeferredStore, left: Any) -> None:
    def open_(a: str, b: str) -> str:
        try:
            with transaction.atomic(using=ALIAS):
                return services.ensure_direct(a, b, new_id(), T0)
        finally:
            connections[ALIAS].close()

    for _ in range(3):
        a, b = new_id(), new_id()
        with ThreadPoolExecutor(4) as threads:
            found = {one.result() for one in [threads.submit(open_, *p) for p in [(a, b), (b, a)] * 2]}
        assert len(found) == 1
        assert services.directs([(a, b)]) == [*found]
    assert left() == 0


def test_flags_and_devices(services: DeferredStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob, phone = new_id(), new_id(), new_id()
    with transaction.atomic(using=ALIAS):
        conversation = services.ensure_direct(ann, bob, new_id(), T0)
        services.link_device(ann, phone, T0)
    assert [row.device for row in services.devices([ann])[ann]] == [phone]
    with monkeypatch.context() as patched:
        patched.setattr(DeferredStore, "_committed", lambda *_: None)  # as if it died
        with transaction.atomic(using=ALIAS):
            first = services.set_flags(ann, conversation, Flags(pinned=True), T0)
    with transaction.atomic(using=ALIAS):
        own = services.flags(ann, conversation)
        assert own is not None
        assert own.flags == first
        again = services.set_flags(ann, conversation, own.flags._replace(archived=True), T0 + 1)
    own = services.flags(ann, conversation)
    assert own is not None
    assert own.flags == again == Flags(0, True, True, None, 2, T0 + 1)
    with transaction.atomic(using=ALIAS):
        services.unlink_device(ann, phone, T0)
        services.forget_flags(ann)
    assert services.devices([ann]) == {ann: ()}


def test_a_timer_is_told_by_who_carries_it_out(services: DeferredStore) -> None:
    ann, bob = new_id(), new_id()
    with transaction.atomic(using=ALIAS):
        conversation = services.ensure_direct(ann, bob, new_id(), T0)
    told: list[Any] = []
    with transaction.atomic(using=ALIAS):
        done = services.set_timer(new_id(), conversation, ann, new_id(), 60, b"\x80", T0, told.append)
        assert done is not None
        assert services.set_timer(new_id(), conversation, new_id(), new_id(), 60, b"\x80", T0) is None
    assert [one.seq for one in told] == [1]
    (listed,) = services.listed(bob, 10)
    assert listed.timer == 60
