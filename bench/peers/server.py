"""What every peer is to the bench: processes on the servers' cores, whose CPU and memory are read as those of our own system."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.cores import Cores
from bench.cpu import Meter, resident_kb, settle, tree
from devtools import unprivileged
from devtools.processes import Child


class Peer(ABC):
    """``groups``: part → names of its children, as ``cpu_us_per_life`` shows them; ``holders``: children that hold sockets."""

    name: str
    groups: dict[str, tuple[str, ...]]
    holders: tuple[str, ...]

    def __init__(self, folder: Path, cores: Cores, say: Callable[[str], None]) -> None:
        self.folder = folder / self.name
        self.folder.mkdir(mode=0o711)
        self.cores = cores
        self.say = say
        self.children: dict[str, Child] = {}
        self.rooms = 0  # made so far
        self.env = {
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            "HOME": str(self.folder),
        }

    # -- of each peer ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def prepare(self) -> None:
        """Install what is missing, fill :attr:`children` in the order of their start; what is started here already stays. Raises
        DevError."""

    @abstractmethod
    def setup(self) -> list[str]:
        """How it is set up, a sentence a line."""

    @abstractmethod
    def versions(self) -> dict[str, str]: ...

    @abstractmethod
    def person(self, number: int) -> dict[str, str]:
        """How the generator connects as the ``number``-th user."""

    @abstractmethod
    def room(self, members: int) -> list[dict[str, str]]:
        """A new room. How the generator connects its ``members``, the first users."""

    def stored(self) -> int | None:
        """Messages in its store, those of pairs once; None if it has none."""
        return None

    #: Whether lives can also be had without receipts, as another load.
    bare = True

    # -- as bench.phases wants it ---------------------------------------------------------------------------------------

    def start(self) -> None:
        with self.cores.of_servers():
            self.prepare()
            for child in self.children.values():
                if child.pid is None:
                    child.start()
                    child.wait_ready()
        self.settle()

    def stop(self) -> None:
        for child in reversed(self.children.values()):
            child.stop()

    def remove(self) -> None:
        """Its files, wherever they are."""
        shutil.rmtree(unprivileged.data_folder(self.folder / "postgres"), ignore_errors=True)

    def restart_gateways(self) -> None:
        """Fresh processes that hold sockets."""
        held = [self.children[name] for name in self.holders]
        for child in held:
            child.stop()
        with self.cores.of_servers():
            for child in held:
                child.start()
            for child in held:
                child.wait_ready()
        self.settle()

    def meter(self) -> Meter:
        return Meter({part: [self._pid(name) for name in names] for part, names in self.groups.items()})

    def settle(self) -> None:
        settle(self.meter())

    def resident_kb(self) -> int:
        """Resident memory of what holds sockets, with its helpers."""
        return sum(resident_kb(pid) for pid in tree([self._pid(name) for name in self.holders]))

    def counters(self) -> dict[tuple[str, str], float]:
        return {}

    def people(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        return [self.person(number) for number in numbers]

    def _pid(self, name: str) -> int:
        child = self.children[name]
        if child.pid is None:
            raise RuntimeError(f"{name} has ended:\n{child.tail()}")
        return child.pid
