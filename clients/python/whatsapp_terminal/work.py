"""Work beside the drawing."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from textual.screen import Screen


def spawn(
    screen: Screen[Any], work: Callable[[], Coroutine[Any, Any, Any]], group: str, *, exclusive: bool = False
) -> None:
    """Run ``work`` until it ends or the screen goes. ``exclusive``: ends what runs in ``group``.

    A function, not a coroutine: one that is cancelled before it began would complain that nobody awaited it.
    """
    screen.run_worker(work, group=group, exclusive=exclusive)  # type: ignore[arg-type]
