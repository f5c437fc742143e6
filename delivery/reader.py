"""Reads of the log for all sessions of a process, batched: what they ask in one turn is one statement."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from delivery.store.interface import Store
from delivery.store.values import Page, PageRequest, Position
from whatsapp.infra.batcher import AskBatcher

#: Pages read in one statement; a page is at most 512 KiB, so this bounds the memory of one answer.
PAGES_AT_ONCE = 16


class Reader:
    """All methods raise ``Unavailable``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pages: AskBatcher[PageRequest] = AskBatcher(store.pages, PAGES_AT_ONCE)

    async def page(self, request: PageRequest) -> Page:
        """A page with something in it, or with what is owed read to its end: before an event that is under way it waits."""
        page: Page = await self._pages.ask(request)
        while page.wait_ms and not page.events and page.through <= request.after:
            await asyncio.sleep(page.wait_ms / 1000)
            page = await self._pages.ask(request)
        return page

    async def position(self, user: str, device: str, conversation: str) -> Position | None:
        """None if the user was never a member."""
        return (await self.positions(user, device, [conversation])).get(conversation)

    async def positions(self, user: str, device: str, conversations: Sequence[str]) -> dict[str, Position]:
        return await self._store.positions(user, device, conversations)
