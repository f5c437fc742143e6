"""A whole system whose messages are on three nodes of Cassandra, three copies of each."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Iterator

import pytest

from devtools.errors import DevError
from tests.support.stack import System


@pytest.fixture(scope="session")
def cluster_system() -> Iterator[System]:
    with System(gateways=2, worker=True, cassandra=3, limits={"http_requests_per_address": 10_000}) as system:
        yield system


@pytest.fixture
def cluster(cluster_system: System) -> Iterator[System]:
    """The system with all nodes alive; afterwards they are again."""
    yield cluster_system
    nodes = [name for name in cluster_system.processes if name.startswith("cassandra-")]
    for name in nodes:
        if cluster_system.processes[name] is not None:
            cluster_system.kill(name, signal.SIGCONT)
    for name in nodes[:3]:
        if cluster_system.processes[name] is None:
            cluster_system.restart(name)
    for name in nodes[3:]:  # of a test that failed
        with contextlib.suppress(DevError):
            cluster_system.stack.leave_node(name)


@pytest.fixture
def chance() -> random.Random:
    """Another choice of nodes: ``./dev faults --seed N``."""
    return random.Random(int(os.environ.get("WHATSAPP_SEED") or 1))
