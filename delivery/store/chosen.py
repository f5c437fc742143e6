"""Which store the services of Django use: settings say where the log is."""

from __future__ import annotations

import time
from typing import Any, Final, cast

from django.conf import settings

from delivery.store.background import Background
from delivery.store.cassandra.configured import store
from delivery.store.deferred import DeferredStore
from delivery.store.guarded import from_settings
from delivery.store.interface import Unavailable
from delivery.store.pending import Elsewhere
from delivery.store.probe import PATIENCE_S, Probe


async def _open() -> Elsewhere:
    opened = store()
    try:
        await opened.open()
    except BaseException:
        await opened.close()
        raise
    return cast(Elsewhere, from_settings(opened, "cassandra"))


background = Background(_open)
deferred = DeferredStore(background.ask)
_probe = Probe(lambda: background.begin(_asked))


async def _asked(store: Any) -> Any:
    return await store.traced("answers")


#: Longest wait for one question of fsck, seconds: it may read a whole log.
_INSPECTION_S: Final = 120.0
#: Longest wait for one that is asked while others wait for locks of the caller.
_LOCKED_S: Final = 10.0
#: Longest wait of a page, seconds.
_PAGE_S: Final = 6.0
#: Before it is asked again: a walk along a table may take longer than a request.
_PAUSES_S: Final = (0.5, 2.0, 5.0, 10.0)


def inspect(question: str, *args: Any) -> Any:
    """The answer of the store on Cassandra to a question of fsck, all of which may be repeated. Raises ``Unavailable``."""
    for pause_s in _PAUSES_S:
        try:
            return _inspected(question, args, _INSPECTION_S)
        except Unavailable:
            time.sleep(pause_s)
    return _inspected(question, args, _INSPECTION_S)


def inspect_once(question: str, *args: Any) -> Any:
    """The same for a caller who holds locks: asked for a moment, and not again. Raises ``Unavailable``."""
    return _inspected(question, args, _LOCKED_S)


def _inspected(question: str, args: tuple[Any, ...], patience_s: float) -> Any:
    def call(store: Any) -> Any:
        return store.inspected(question, *args)

    return background.ask(call, patience_s)


def shown(question: str, *args: Any) -> Any:
    """The answer of the store on Cassandra to a question of a page for staff. Raises ``Unavailable``."""

    def call(store: Any) -> Any:
        return store.traced(question, *args)

    return background.ask(call, _PAGE_S)


def answers(patience_s: float = PATIENCE_S) -> bool:
    """Whether a majority of Cassandra's nodes answers this process."""
    return _probe.answers(patience_s)


def elsewhere() -> bool:
    """Whether the log is outside the database of the services."""
    return bool(settings.LOG_STORE == "cassandra")
