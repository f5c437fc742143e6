"""Pictures from characters: ▀ has a colour for its upper half and one for its lower half, so a cell is two pixels."""

from __future__ import annotations

from .cells import Row, Span
from .pixels import Pixels

UPPER = "▀"


def rows(pixels: Pixels) -> list[Row]:
    """Half as many rows as pixels, rounded up. Cells of the same two colours share a span."""
    found: list[Row] = []
    for y in range(0, pixels.height, 2):
        row: Row = []
        begun, inks = 0, (-1, -1)
        for x in range(pixels.width):
            upper = pixels.at(x, y)
            ink = (upper, pixels.at(x, y + 1) if y + 1 < pixels.height else upper)
            if ink != inks:
                if x > begun:
                    row.append(Span(UPPER * (x - begun), ink=inks))
                begun, inks = x, ink
        row.append(Span(UPPER * (pixels.width - begun), ink=inks))
        found.append(row)
    return found
