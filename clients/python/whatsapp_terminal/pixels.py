"""A picture as it is drawn."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class Pixels:
    """``data``: three bytes a pixel, row by row."""

    width: int
    height: int
    data: bytes

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or len(self.data) != 3 * self.width * self.height:
            raise ValueError("these are not so many pixels")

    def at(self, x: int, y: int) -> int:
        """``0xRRGGBB``."""
        place = 3 * (y * self.width + x)
        return int.from_bytes(self.data[place : place + 3], "big")
