"""Doing something at an exact moment: between an answer and its arrival, or instead of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any


class Held:
    """The next call of ``owner.name`` has its answer, which waits for ``go_on``."""

    def __init__(self, owner: Any, name: str) -> None:
        self._reached, self._released = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            self._reached.set()
            await self._released.wait()

        meanwhile(owner, name, wait)

    async def reached(self) -> None:
        async with asyncio.timeout(10):
            await self._reached.wait()

    def go_on(self) -> None:
        self._released.set()


def meanwhile(owner: Any, name: str, what: Callable[[], Awaitable[None] | None]) -> asyncio.Event:
    """``what`` happens between the next answer of ``owner.name(…)`` and its arrival. Set when it has happened."""
    happened = asyncio.Event()
    original = getattr(owner, name)

    async def call(*args: Any, **options: Any) -> Any:
        setattr(owner, name, original)
        answer = await original(*args, **options)
        done = what()
        if done is not None:
            await done
        happened.set()
        return answer

    setattr(owner, name, call)
    return happened


def failing(owner: Any, name: str, error: Exception) -> asyncio.Event:
    """The next call of ``owner.name(…)`` raises. Set when it has."""
    happened = asyncio.Event()
    original = getattr(owner, name)

    async def call(*args: Any, **options: Any) -> Any:
        setattr(owner, name, original)
        happened.set()
        raise error

    setattr(owner, name, call)
    return happened
