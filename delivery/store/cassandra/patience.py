"""Waiting for the numbers of several conversations, of which some may have to wait for the end of a lease.

A process appends one batch at a time. When hot state of some conversations is lost, these alone wait (seconds): whoever comes in
the same batch is not kept waiting for them, and their senders send them again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

#: How long the others wait at most before it is looked who waits for a lease.
_LOOK_S = 0.1


async def most(
    requests: Mapping[str, Coroutine[Any, Any, T | None]], stuck: Callable[[], set[str]], *, others: bool
) -> dict[str, T | None]:
    """The results by conversation, None of those that are ``stuck`` while somebody else has a result; ``others``: somebody has
    already. When nobody has, all are waited for."""
    tasks = {asyncio.ensure_future(request): conversation for conversation, request in requests.items()}
    left = set(tasks)
    try:
        while left:
            ended, left = await asyncio.wait(left, timeout=_LOOK_S)
            others = others or any(task.result() is not None for task in ended)
            if others and left and stuck().issuperset(tasks[task] for task in left):
                break
    finally:
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
    return {
        conversation: task.result() if not task.cancelled() else None for task, conversation in tasks.items()
    }
