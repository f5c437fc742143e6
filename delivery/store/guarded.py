"""A store behind circuit breakers: one for each operation of the node that answers it.

On Cassandra the node is the cluster as the driver sees it: the driver leaves out single nodes that are down or do not answer,
by its heartbeats, and tries an idempotent statement on the next one; what fails here failed on all that were tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast
from weakref import WeakSet

from django.conf import settings

from delivery.store.errors import Busy
from delivery.store.interface import Store, Unavailable
from whatsapp.infra import metrics
from whatsapp.infra.breaker import CLOSED, Breaker, Policy

#: A gateway has two: its own, and the one of the services that run in it.
_known: WeakSet[Guarded] = WeakSet()


def _states() -> dict[tuple[str, str], int]:
    states: dict[tuple[str, str], int] = {}
    for one in list(_known):
        for key, state in one.states().items():
            states[key] = max(state, states.get(key, CLOSED))
    return states


metrics.source(
    "whatsapp_breaker_state",
    "Circuit breakers that are not closed, by node and operation: 1 half open, 2 open.",
    _states,
    ("node", "operation"),
)


class CircuitOpen(Unavailable):
    """Not asked: the last calls of this operation all failed."""


class Guarded:
    """A :class:`Store` whose operations raise :class:`CircuitOpen` at once while their breaker is open.

    What the store does not offer as a coroutine function (``close`` apart) it hands through as it is.
    """

    def __init__(self, store: Store, node: str, policy: Policy) -> None:
        self.store = store
        self._node, self._policy = node, policy
        self._breakers: dict[str, Breaker] = {}
        _known.add(self)

    def states(self) -> dict[tuple[str, str], int]:
        """By node and operation the breakers that are not closed."""
        return {
            (self._node, name): state
            for name, breaker in list(self._breakers.items())
            if (state := breaker.state) != CLOSED
        }

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        if name == "close" or name.startswith("_") or not asyncio.iscoroutinefunction(found):
            return found
        breaker = self._breakers.setdefault(name, Breaker(self._node, name, self._policy))
        call = _behind(breaker, found, f"{self._node}: {name}")
        setattr(self, name, call)  # found there from now on
        return call


def _behind(
    breaker: Breaker, call: Callable[..., Awaitable[Any]], name: str
) -> Callable[..., Awaitable[Any]]:
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        began = breaker.begin()
        if began is None:
            raise CircuitOpen(f"{name} is left alone for {breaker.opens_in_s:.1f} s")
        try:
            result = await call(*args, **kwargs)
        except Busy:
            breaker.succeeded(began)  # it answered, if only that others hold what was asked for
            raise
        except Unavailable:
            breaker.failed(began)
            raise
        except BaseException:
            breaker.cancelled(began)
            raise
        breaker.succeeded(began)
        return result

    return guarded


def guarded(store: Store, node: str, policy: Policy) -> Store:
    """``store`` behind breakers; ``node``: how logs and metrics name it."""
    return cast(Store, Guarded(store, node, policy))


def from_settings(store: Store, node: str) -> Store:
    """As :func:`guarded`, by ``STORE_BREAKER_FAILURES`` and ``STORE_BREAKER_OPEN_MS``."""
    policy = Policy(settings.STORE_BREAKER_FAILURES, settings.STORE_BREAKER_OPEN_MS / 1000)
    return guarded(store, node, policy)
