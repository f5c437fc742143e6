"""Where archives for people are kept: a port. The storage belongs to an app above this one, which binds it in its
``AppConfig.ready``, for imports point down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Final, Protocol


class ArchivesUnavailable(Exception):
    """The storage does not answer. Try again."""


class Sink(Protocol):
    """Bytes that become a file when its ``with`` ends well, and are never seen when it does not. Holds one part in memory."""

    def write(self, data: bytes, /) -> int: ...

    def flush(self) -> None: ...


class Archives(Protocol):
    """Every method blocks, and raises :class:`ArchivesUnavailable`. ``name``: a UUID in hexadecimal."""

    def writing(self, name: str) -> AbstractContextManager[Sink]:
        """Write the file anew; one that is there already is replaced when this is whole."""

    def read(self, name: str) -> Iterator[bytes]:
        """The file; nothing at all when there is none."""

    def delete(self, name: str) -> None:
        """Of what is not there nothing is said."""

    def url(self, name: str, now_ms: int) -> str:
        """An address to fetch it with GET, good for some minutes: absolute, or a path of this server."""

    def sweep(self, before_ms: int) -> int:
        """Delete files that were written before, whoever forgot them. Returns how many."""


_bound: Final[list[Archives]] = []


def bind(archives: Archives) -> None:
    _bound[:] = [archives]


def archives() -> Archives:
    return _bound[0]
