"""Self-clocked batching: one batch in flight, what arrives meanwhile is the next. Order is kept; no timer but for a spacing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from whatsapp.infra.spacing import Spacing

log = logging.getLogger(__name__)

Item = TypeVar("Item")


class Batcher(Generic[Item]):
    """Hands everything added so far to ``run`` as one list, then again what came while it ran.

    ``run`` answers the items itself and must not raise; if it does, the error is logged and the items are gone. With
    ``spacing`` a batch that is not full waits when the ones before it came too fast.
    """

    __slots__ = ("_items", "_max", "_run", "_spacing", "_task")

    def __init__(
        self,
        run: Callable[[list[Item]], Awaitable[None]],
        max_batch: int = 512,
        spacing: Spacing | None = None,
    ) -> None:
        self._spacing = spacing
        self._run = run
        self._items: list[Item] = []
        self._task: asyncio.Task[None] | None = None
        self._max = max_batch

    def add(self, item: Item) -> None:
        self._items.append(item)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._loop())

    def __len__(self) -> int:
        return len(self._items)

    @property
    def idle(self) -> bool:
        return self._task is None

    def take(self, predicate: Callable[[Item], bool]) -> list[Item]:
        """Remove and return waiting items (not those in flight) for which ``predicate`` holds."""
        taken = [item for item in self._items if predicate(item)]
        if taken:
            self._items = [item for item in self._items if not predicate(item)]
        return taken

    async def drained(self) -> None:
        """Wait until nothing is waiting or in flight."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _loop(self) -> None:
        # One turn of the loop first: everything read from the sockets in this turn joins the first batch.
        await asyncio.sleep(0)
        while self._items:
            if self._spacing is not None and len(self._items) < self._max:
                wait = self._spacing.wait(asyncio.get_running_loop().time())
                if wait > 0:
                    await asyncio.sleep(wait)
            batch = self._items
            if len(batch) > self._max:
                batch, self._items = batch[: self._max], batch[self._max :]
            else:
                self._items = []
            try:
                await self._run(batch)
            except Exception:
                log.exception("a batch of %s failed", getattr(self._run, "__qualname__", "?"))
        self._task = None


class AskBatcher(Generic[Item]):
    """A :class:`Batcher` for questions: ``await ask(item)`` gives the answer that ``run`` returned at the item's place.

    ``run(items)`` returns one answer per item; what it raises is raised to every asker of that batch.
    """

    __slots__ = ("_answer", "_batcher")

    def __init__(
        self,
        run: Callable[[list[Item]], Awaitable[list[Any]]],
        max_batch: int = 512,
        spacing: Spacing | None = None,
    ) -> None:
        self._answer = run
        self._batcher: Batcher[tuple[Item, asyncio.Future[Any]]] = Batcher(self._run, max_batch, spacing)

    def ask(self, item: Item) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._batcher.add((item, future))
        return future

    async def _run(self, batch: list[tuple[Item, asyncio.Future[Any]]]) -> None:
        try:
            answers = await self._answer([item for item, _ in batch])
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)
