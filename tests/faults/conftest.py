"""Each module of fault tests that kill processes owns a system, whose tests repair what they broke; tests of exact
interleavings have a database, a Valkey and processes inside the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from devtools import ports
from tests.faults.engine import World, valkey
from tests.faults.rig import Rig
from tests.support.cluster import Cluster
from tests.support.stack import System, hot_on_cluster
from whatsapp.infra import faults


@pytest.fixture(scope="module")
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A test build with two gateways and a worker. ``LIMITS`` of the module goes over the limits table."""
    limits = getattr(request.module, "LIMITS", {})
    with System(env={"WHATSAPP_TEST_BUILD": "1"}, limits=limits) as system:
        yield Rig(system)


@pytest.fixture
def hot_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a Valkey of this test alone; with ``./dev test --hot cluster`` that of the session's cluster, emptied."""
    if hot_on_cluster():
        cluster: Cluster = request.getfixturevalue("hot_cluster")
        cluster.empty()
        yield cluster.url
        return
    with valkey(tmp_path / "hot", ports.choose()) as url:
        yield url


@pytest.fixture
def one_hot_url(hot_url: str) -> str:
    """The same for what is about one node; ``infra/test_cluster.py`` has its like for several."""
    if hot_on_cluster():
        pytest.skip("it is about one node")
    return hot_url


@pytest.fixture
async def world(new_postgres_url: str, hot_url: str) -> AsyncIterator[World]:
    """A database and a Valkey of this test alone, for processes inside the test."""
    async with World(new_postgres_url, hot_url) as world:
        yield world


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``off("sent", …)``: these protections are off in the processes inside this test, until it ends or calls again."""

    def switch(*names: str) -> None:
        monkeypatch.setattr(faults, "off", names.__contains__)

    return switch
