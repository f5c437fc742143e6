"""Fixtures for every test: real PostgreSQL and Valkey, and whole running systems."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import early
from tests.support.cassandra import Cassandra, on_cassandra
from tests.support.clamd import Clamd
from tests.support.cluster import Cluster
from tests.support.s3 import S3
from tests.support.servers import Postgres, Valkey

#: The file that ``.ci/run`` wants to be told in; not by what tests start.
_FAILURES = os.environ.pop("WHATSAPP_TEST_FAILURES", "")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL 18 for this session (fsync off: tests that kill machines are not among ours), with an empty database
    ``whatsapp``. ``.url(name)``, ``.sql(text, database=…)``, ``.create(name)``: a new migrated database."""
    with Postgres(early.FOLDER, port=early.POSTGRES_PORT, password=early.SECRET) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Valkey]:
    """A Valkey 9 for this session. ``.url(database)``; database 0 is HOT_URL's, 1 BROKER_URL's, 2 CACHE_URL's."""
    with Valkey(early.FOLDER, port=early.VALKEY_PORT, password=early.SECRET) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres_server: Postgres) -> str:
    """The URL of a migrated database that this session's tests share; each test uses ids of its own."""
    return postgres_server.create("shared")


@pytest.fixture
def new_postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """The URL of a migrated database for this test alone."""
    name, url = postgres_server.create_numbered()
    yield url
    postgres_server.drop(name)


@pytest.fixture(scope="session")
def valkey_url(valkey_server: Valkey) -> str:
    """The URL of this session's Valkey, database 0."""
    return valkey_server.url()


@pytest.fixture(scope="session")
def hot_cluster() -> Iterator[Cluster]:
    """Three Valkey masters without replicas for this session's hot state; not to be killed."""
    with Cluster(early.folder("hot-cluster"), replicas=0) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def cassandra_node() -> Iterator[Cassandra]:
    """A Cassandra node for this session. ``.host``, ``.port``, ``.new_keyspace()``, ``.env(keyspace)``; not to be killed."""
    with Cassandra(early.FOLDER) as node:
        yield node


@pytest.fixture(scope="module")
def cassandra_keyspace(cassandra_node: Cassandra) -> Iterator[str]:
    """The name of a keyspace for this module's tests, with the tables as ``manage.py sync_cassandra`` makes them."""
    name = cassandra_node.new_keyspace()
    yield name
    cassandra_node.drop(name)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """An S3 server for this session, with a bucket. ``.variables()``: what settings need; not to be killed or frozen."""
    with S3(early.FOLDER, shared=True) as server:
        yield server


@pytest.fixture(scope="session")
def clamd_server() -> Iterator[Clamd]:
    """A ClamAV daemon for this session, which knows the EICAR test file. ``.url``; not to be killed or frozen."""
    with Clamd(early.folder("clamd")) as server:
        yield server


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgres_server: Postgres) -> None:
    """Let pytest-django make its test database from the migrated template: migrations run once a session, not twice."""
    from django.db import connections  # Django is set up by now, not when this file is read

    from tests.support import emptied

    emptied.install()
    connections.settings["default"].setdefault("TEST", {})["TEMPLATE"] = postgres_server.template()


@pytest.hookimpl(tryfirst=True)  # before -m chooses by marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that ask for a running system are marked ``needs_system``, those on Cassandra ``needs_cassandra``, on an S3
    server ``needs_s3``, those of the engine, which run on either store, ``any_store``, so that none forgets it."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        if "cassandra_node" in names or "cassandra_at" in names:
            item.add_marker(pytest.mark.needs_cassandra)
        if "s3_server" in names or "own_s3" in names:
            item.add_marker(pytest.mark.needs_s3)
        if "clamd_server" in names or "own_clamd" in names:
            item.add_marker(pytest.mark.needs_packages)
        if "stack" in names or "own_stack" in names:
            item.add_marker(pytest.mark.needs_system)
        if {"stack", "own_stack", "rig", "hot_url"}.intersection(names) or item.get_closest_marker(
            "needs_system"
        ):
            item.add_marker(pytest.mark.needs_hot)
        if "log" in names and "tests/faults/" in item.nodeid:
            item.add_marker(pytest.mark.any_store)
        if (
            on_cassandra()
            and (bound := item.get_closest_marker("timeout"))
            and not item.get_closest_marker("needs_cassandra")
        ):
            # It is of PostgreSQL; the waits inside are four times as long as well (tests/gateway/peer.py).
            item.add_marker(pytest.mark.timeout(4 * bound.args[0], **bound.kwargs), append=False)
        if on_cassandra() and (inside := item.get_closest_marker("sql_only")) and inside.args:
            item.add_marker(pytest.mark.skip(reason=inside.args[0]))


@pytest.hookimpl(optionalhook=True)  # pytest-xdist may be off
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """``-n``: whole files, the longest first; another ``--dist`` than loadfile is left to pytest-xdist."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.support.by_file import ByFile

    return ByFile(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """``./dev test --all``: what is missing is a failure, never a skip. What failed is shown with the logs of running systems."""
    report = yield
    if report.failed and (stacks := sys.modules.get("tests.support.stack")) is not None:
        for system in stacks.running:
            report.sections.append((f"what {system.data.name} wrote last", system.said()))
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("WHATSAPP_TEST_ALL"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = (
            "failed",
            f"{item.nodeid} was skipped, which --all forbids: {reason}",
        )
    return report


@pytest.fixture(scope="session", autouse=True)
def log_store(request: pytest.FixtureRequest) -> None:
    """``./dev test --store cassandra``: every system has its messages on the session's node, in a keyspace of its own."""
    if on_cassandra():
        from tests.support import stack

        stack.log_node = lambda: request.getfixturevalue("cassandra_node")


@pytest.fixture(scope="session")
def stack() -> Iterator[Any]:
    """A whole running system that tests share: 2 gateways on one port, an api process, a worker, beat. See
    :class:`tests.support.stack.System`.

    Tests leave it running and use people of their own; a test that kills something takes ``own_stack``.
    """
    from tests.support.stack import System

    # A busy machine gives a drain task its turn late: what happens then is tested where nothing else depends on it.
    with System(apis=1, fanout=True, beat=True, limits={"drain_wait_ms": 10_000}) as system:
        yield system


@pytest.fixture
def own_stack() -> Iterator[Callable[..., Any]]:
    """Makes systems for one test: ``own_stack(gateways=2, worker=True, beat=False, env={…}, limits={…})``."""
    from tests.support.stack import System

    made: list[System] = []

    def make(**options: Any) -> System:
        system = System(**options)
        made.append(system)
        return system.start()

    yield make
    for system in made:
        system.stop()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What failed and why, a line each, for who runs several parts: what failed in the first is far above the end of the last."""
    if not _FAILURES:
        return
    with Path(_FAILURES).open("a") as told:
        for report in [one for kind in ("failed", "error") for one in terminalreporter.stats.get(kind, ())]:
            crash = getattr(report.longrepr, "reprcrash", None)
            why = " ".join((crash.message if crash else str(report.longrepr)).split())
            told.write(f"{report.nodeid} ({report.when}): {why[:500]}\n")
