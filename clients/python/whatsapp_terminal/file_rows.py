"""The rows of a bubble that show a file: its small picture or its sound, what it is, and how far it is on its way."""

from __future__ import annotations

from . import halfblocks, sound, text
from .attachment import PICTURES, SOUNDS, File, size_words
from .cells import Row, Span
from .facts import Shape

#: Cells and rows of a small picture, at most: twice as many pixels from top to bottom.
WIDTH, HEIGHT = 30, 12
BAR, EMPTY = "━", "─"
LONG = 24  # cells of a bar of progress


def rows(file: File, shape: Shape, key: str, most: int) -> list[Row]:
    """``most``: cells; ``key``: of the block, for what a click does."""
    found: list[Row] = []
    action = f"look {key}" if file.kind in ("image", "sticker") else f"menu {key}"
    if shape.pixels is not None and shape.pixels.width <= most:
        for row in halfblocks.rows(shape.pixels):
            found.append([Span(span.text, span.role, action=action, ink=span.ink) for span in row])
    if shape.sound is not None and shape.sound.bars and most >= sound.BARS:
        found.append([Span(sound.drawn(shape.sound), "bar", action=action)])
    found.append([Span(text.cut(_said(file, shape), most), "label", action=action)])
    if shape.note:
        found.append([Span(text.cut(text.one_line(shape.note), most), "time")])
    return found


def _said(file: File, shape: Shape) -> str:
    sign = "♪" if file.kind in SOUNDS else "▣" if file.kind in PICTURES else "▤"
    length = sound.length_words(shape.sound.duration_ms) if shape.sound is not None else ""
    facts = " · ".join(word for word in (length, size_words(file.size)) if word)
    return f"{sign} {file.title}{' · ' if facts else ''}{facts}"


def progress(done: int, total: int, most: int) -> Row:
    """``━━━━──── 42 %``."""
    share = min(1.0, done / total) if total > 0 else 0.0
    length = max(4, min(LONG, most - 6))
    filled = round(length * share)
    return [
        Span(BAR * filled, "bar"),
        Span(EMPTY * (length - filled), "track"),
        Span(f" {int(100 * share):3d} %", "time"),
    ]
