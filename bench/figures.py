"""From samples to figures: percentiles, medians over repeats, and how far the repeats lie apart."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

Figures = dict[str, Any]  # names → numbers or Figures


def percentiles(values: Sequence[float], scale: float = 1.0, digits: int = 2) -> dict[str, float]:
    """``{"p50": …, "p99": …}`` of ``values * scale`` (nearest rank); empty without values."""
    if not values:
        return {}
    ordered = sorted(values)
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * part))] * scale, digits)
        for name, part in (("p50", 0.50), ("p99", 0.99))
    }


def combine(runs: Sequence[Figures]) -> Figures:
    """``{"median": Figures, "spread": the same names → [lowest, highest], "runs": […]}``. Series, such as a figure for each
    second, are of their run alone: there is no median of them."""
    return {"median": _median(runs), "spread": _spread(runs), "runs": list(runs)}


def _median(runs: Sequence[Figures]) -> Figures:
    return {
        name: _median([run.get(name, {}) for run in runs])
        if isinstance(value, dict)
        else _rounded(statistics.median([run[name] for run in runs if name in run]))
        for name, value in _names(runs)
    }


def _spread(runs: Sequence[Figures]) -> Figures:
    return {
        name: _spread([run.get(name, {}) for run in runs])
        if isinstance(value, dict)
        else [min(run[name] for run in runs if name in run), max(run[name] for run in runs if name in run)]
        for name, value in _names(runs)
    }


def _names(runs: Sequence[Figures]) -> list[tuple[str, Any]]:
    found: dict[str, Any] = {}
    for run in runs:
        for name, value in run.items():
            if not isinstance(value, list):
                found.setdefault(name, value)
    return list(found.items())


def _rounded(value: float) -> float:
    """A count stays a whole number."""
    return int(value) if value == int(value) else round(value, 3)
