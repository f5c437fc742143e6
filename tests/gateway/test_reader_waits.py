"""Whoever reads before an event that is under way comes again by himself, and moves on as soon as there is something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from delivery.reader import Reader
from delivery.store.values import Page, PageRequest


class _Slow:
    """A store in which an event is under way for some reads."""

    def __init__(self, *pages: Page) -> None:
        self.left = list(pages)

    async def pages(self, requests: Sequence[PageRequest]) -> list[Page]:
        return [self.left.pop(0) for _ in requests]


async def _read(*pages: Page) -> tuple[Page, int]:
    store: Any = _Slow(*pages)
    page = await Reader(store).page(PageRequest("c", "u", 4))
    return page, len(store.left)


async def test_a_page_before_an_event_under_way_is_asked_for_again() -> None:
    waiting, moved = Page([], 4, 9, 0, wait_ms=1), Page([], 9, 9, 0)
    assert await _read(waiting, waiting, moved) == (moved, 0)


async def test_what_a_page_has_is_not_kept_waiting() -> None:
    event: Any = object()
    some, moved = Page([event], 6, 9, 0, wait_ms=60_000), Page([], 6, 9, 0, wait_ms=60_000)
    assert await _read(some, moved) == (some, 1)
    assert await _read(moved, some) == (moved, 1)
