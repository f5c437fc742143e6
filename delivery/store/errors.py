"""What a statement can end in besides rows. Executors raise these into an operation; callers see :class:`Unavailable` only."""

from __future__ import annotations

from delivery.store.interface import Unavailable
from delivery.store.values import Appended


class Locked(Exception):
    """The statement waited longer than ``lock_timeout`` and did nothing."""


class Clash(Exception):
    """The statement lost against a concurrent one (unique violation, deadlock) and did nothing; it may be sent again."""


class Busy(Unavailable):
    """The store answered; what was asked for is held by others."""


class Blocked(Busy):
    """Some conversations of a batch stayed locked by another transaction; nothing of theirs was stored.

    ``results`` is in the order of the sends, None where the answer is "unavailable"; ``row`` is the outbox row of what was
    stored, 0 if nothing was. A caller that only knows :class:`Unavailable` may drop it: the outbox is swept, and the client
    sends again with the same message id.

    ``unsure``: one that has no result may be stored all the same, and would be a duplicate when it is sent again. ``row`` is its
    row too, so the writer must not say that it is done: it takes another name, as after :class:`Unavailable`.
    """

    def __init__(self, results: list[Appended | None], row: int, *, unsure: bool = False) -> None:
        super().__init__(f"{results.count(None)} of {len(results)} sends wait for a locked conversation")
        self.results = results
        self.row = row
        self.unsure = unsure
