"""A QR code in half blocks: two rows of its squares in a row of the terminal."""

from __future__ import annotations

import importlib.util

QUIET = 2  # squares around it; the standard asks for 4, and the box around it gives the rest


def can_draw() -> bool:
    """Whether ``segno`` is installed; without it there is only the text."""
    return importlib.util.find_spec("segno") is not None


def half_blocks(text: str) -> list[str]:
    """Rows of ``█▀▄`` and spaces: what is filled is light. To be drawn white on black, whatever the theme: scanners
    want dark squares on a light ground."""
    import segno

    code = segno.make(text, error="l", micro=False, boost_error=False)
    squares = [[bool(square) for square in row] for row in code.matrix_iter(scale=1, border=QUIET)]
    if len(squares) % 2:
        squares.append([False] * len(squares[0]))
    rows = []
    for upper, lower in zip(squares[::2], squares[1::2], strict=True):
        rows.append("".join(_block(not a, not b) for a, b in zip(upper, lower, strict=True)))
    return rows


def _block(above: bool, below: bool) -> str:
    return {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}[above, below]
