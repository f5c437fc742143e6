"""Charts as SVG, written by hand: lines, and bars made of parts. They follow the reader's scheme, light or dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 176, 58, 56
#: Told apart by who does not see red and green, too (Okabe and Ito); in the order of the series.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_STYLE = (
    "<style>.bg{fill:#fff}.t{fill:#1f2328}.s{fill:#59636e}.g{stroke:#d1d9e0}.a{stroke:#59636e}"
    "@media(prefers-color-scheme:dark){.bg{fill:#0d1117}.t{fill:#e6edf3}.s{fill:#9198a1}.g{stroke:#30363d}.a{stroke:#9198a1}}"
    "text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;font-size:12px}"
    ".h{font-size:15px;font-weight:600}</style>"
)


class Series(NamedTuple):
    """``points``: (x, y), by x. Dashed ones say the same of something beside the matter, such as a p99 beside its p50."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    dashed: bool = False


class Text(NamedTuple):
    """What stands around a chart. ``note``: on what it was measured."""

    title: str
    note: str
    x: str
    y: str


def lines(text: Text, series: Sequence[Series], *, log_x: bool = False, log_y: bool = False) -> str:
    """One line for each series, its name at its end. A logarithmic axis takes no value that is 0 or less: ValueError."""
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    x_ticks, y_ticks = _ticks(xs, log_x), _ticks(ys if log_y else [0.0, *ys], log_y)
    across = _scale(x_ticks, _LEFT, WIDTH - _RIGHT, log_x)
    up = _scale(y_ticks, HEIGHT - _BOTTOM, _TOP, log_y)
    parts = [_frame(text), _y_axis(y_ticks, up)]
    for tick in x_ticks:
        parts.append(_text(across(tick), HEIGHT - _BOTTOM + 18, number(tick), "s", "middle"))
    ends: list[tuple[float, Series]] = []
    for one in series:
        places = [(across(x), up(y)) for x, y in one.points]
        colour, dash = COLOURS[one.colour % len(COLOURS)], ' stroke-dasharray="5 4"' if one.dashed else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        ends.append((places[-1][1], one))
    last = -math.inf
    for y, one in sorted(ends, key=lambda end: end[0]):  # names that would lie on each other move down
        last = max(y, last + 15)
        side = WIDTH - _RIGHT + 8
        parts.append(
            f'<text x="{side}" y="{last + 4:.1f}" fill="{COLOURS[one.colour % len(COLOURS)]}">{escape(one.name)}</text>'
        )
    return _document(text, parts)


def bars(text: Text, labels: Sequence[str], parts: Mapping[str, Sequence[float]]) -> str:
    """A bar for each label, made of the parts from below, its sum above it."""
    sums = [sum(values[n] for values in parts.values()) for n in range(len(labels))]
    ticks = _ticks([0.0, *sums], False)
    up = _scale(ticks, HEIGHT - _BOTTOM, _TOP, False)
    room = (WIDTH - _LEFT - _RIGHT) / len(labels)
    drawn = [_frame(text), _y_axis(ticks, up)]
    for n, label in enumerate(labels):
        x, base = _LEFT + room * n + room * 0.18, 0.0
        for colour, values in enumerate(parts.values()):
            top = base + values[n]
            drawn.append(
                f'<rect x="{x:.1f}" y="{up(top):.1f}" width="{room * 0.64:.1f}" height="{up(base) - up(top):.1f}" '
                f'fill="{COLOURS[colour % len(COLOURS)]}"/>'
            )
            base = top
        middle = x + room * 0.32
        drawn.append(_text(middle, up(base) - 5, number(base), "t", "middle"))
        for row, line in enumerate(label.split("\n")):
            drawn.append(_text(middle, HEIGHT - _BOTTOM + 16 + 14 * row, line, "s", "middle"))
    for place, part in enumerate(reversed(list(parts))):
        shade, y = COLOURS[(len(parts) - 1 - place) % len(COLOURS)], _TOP + 20 * place
        drawn.append(f'<rect x="{WIDTH - _RIGHT + 12}" y="{y}" width="11" height="11" fill="{shade}"/>')
        drawn.append(_text(WIDTH - _RIGHT + 30, y + 10, part, "t", "start"))
    return _document(text, drawn)


def number(value: float) -> str:
    """As short as an axis wants it: 1,500; 25; 0.4."""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _document(text: Text, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{escape(text.title)}">{_STYLE}\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _frame(text: Text) -> str:
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    return "\n".join(
        (
            f'<rect class="bg" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
            f'<text class="t h" x="16" y="24">{escape(text.title)}</text>',
            _text(16, 42, text.note, "s", "start"),
            _text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 8, text.x, "t", "middle"),
            f'<text class="t" text-anchor="middle" transform="translate(18 {middle}) rotate(-90)">{escape(text.y)}</text>',
            f'<line class="a" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{HEIGHT - _BOTTOM}" y2="{HEIGHT - _BOTTOM}"/>',
        )
    )


def _y_axis(ticks: Sequence[float], up: Scale) -> str:
    return "\n".join(
        f'<line class="g" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{up(tick):.1f}" y2="{up(tick):.1f}"/>'
        + _text(_LEFT - 8, up(tick) + 4, number(tick), "s", "end")
        for tick in ticks
    )


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


class Scale:
    """From a value to a place."""

    def __init__(self, low: float, high: float, first: float, last: float, log: bool) -> None:
        self._log = log
        self._low, high = (math.log(low), math.log(high)) if log else (low, high)
        self._first, self._by = first, (last - first) / ((high - self._low) or 1)

    def __call__(self, value: float) -> float:
        return self._first + ((math.log(value) if self._log else value) - self._low) * self._by


def _scale(ticks: Sequence[float], first: float, last: float, log: bool) -> Scale:
    return Scale(ticks[0], ticks[-1], first, last, log)


def _ticks(values: Sequence[float], log: bool) -> list[float]:
    """Round numbers, the first not above and the last not below all values."""
    low, high = min(values), max(values)
    if log:
        if low <= 0:
            raise ValueError(f"a logarithmic axis cannot show {low}")
        grid = [10.0**power * part for power in range(-3, 8) for part in (1, 2, 5)]
        begin = max((n for n, tick in enumerate(grid) if tick <= low * 1.0001), default=0)
        end = next(n for n, tick in enumerate(grid) if tick >= high * 0.9999)
        return grid[begin : max(end, begin + 1) + 1]
    step = 10.0 ** math.floor(math.log10((high - low) or 1))
    step = next(step * part for part in (0.2, 0.5, 1.0, 2.0) if (high - low) / (step * part) <= 6)
    begin = math.floor(low / step)
    return [step * n for n in range(begin, math.ceil(high / step + 1e-9) + 1)]
