"""Which cores the servers have and which the load generator has."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Cores:
    """The same ones for both when there is only one."""

    servers: frozenset[int]
    client: frozenset[int]

    @classmethod
    def choose(cls, clients: int) -> Cores:
        """The last ``clients`` cores for the generator, the others for the servers; at least one each."""
        mine = sorted(os.sched_getaffinity(0))
        if len(mine) == 1:
            return cls(frozenset(mine), frozenset(mine))
        split = max(1, len(mine) - clients)
        return cls(frozenset(mine[:split]), frozenset(mine[split:]))

    @contextlib.contextmanager
    def of_servers(self) -> Iterator[None]:
        """What is started within has the servers' cores; we have the client's afterwards."""
        # Children inherit the cores, PostgreSQL's later ones too: nothing has to be moved afterwards.
        os.sched_setaffinity(0, self.servers)
        try:
            yield
        finally:
            os.sched_setaffinity(0, self.client)

    def __str__(self) -> str:
        if self.servers == self.client:
            return f"servers and client share core {_listed(self.servers)}"
        return f"servers pinned to core {_listed(self.servers)}, client to core {_listed(self.client)}"


def _listed(cores: frozenset[int]) -> str:
    return ",".join(map(str, sorted(cores)))
