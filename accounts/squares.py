"""Squares of a picture that somebody uploads: photos of people, icons of groups. Tools that make a stranger's file harmless
belong to an app above this one; it binds what makes them in its ``AppConfig.ready``, for imports point down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

#: Media types that are taken. Nothing else is ever decoded.
TAKEN: Final = ("image/jpeg", "image/png", "image/webp")
#: Of what is made.
MEDIA_TYPE: Final = "image/jpeg"


class NoPicture(Exception):
    """The file's doing; ``reason`` is a name of ``docs/subsystems/media-tools.md``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unavailable(Exception):
    """The machine's doing, or a server that has to look at the file is away. Try again."""


#: The file, its media type as declared (one of :data:`TAKEN`), the sides.
Make = Callable[[bytes, str, Sequence[int]], list[bytes]]
_bound: Final[list[Make]] = []


def bind(how: Make) -> None:
    _bound[:] = [how]


def make(data: bytes, media_type: str, sides: Sequence[int]) -> list[bytes]:
    """JPEGs of the picture's middle, ``sides`` pixels wide, largest first; the first is no wider than the picture is.

    Blocks for 0.1 to 0.5 s, and for as long as others are before it: not on a loop, and without a connection of the database in
    hand. Raises :class:`NoPicture`, :class:`Unavailable`.
    """
    return _bound[0](data, media_type, sides)
