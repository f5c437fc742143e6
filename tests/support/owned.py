"""A server of one process that a test owns: it may freeze it, kill it and start it again."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from typing import Self

from devtools.processes import Child


class Owned(ABC):
    """``with`` starts it. ``child``: its process, None before it was ever started."""

    child: Child | None = None

    @abstractmethod
    def _launch(self) -> Child:
        """Start its process; back when it answers."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.child:
            self.thaw()
            self.child.kill()

    def start(self) -> None:
        self.child = self._launch()

    def kill(self) -> None:
        assert self.child is not None
        self.child.kill()

    def freeze(self) -> None:
        """It accepts connections and answers nothing."""
        assert self.child is not None
        self.child.send(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.child is not None
        self.child.send(signal.SIGCONT)
