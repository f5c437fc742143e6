"""The last door before rows: nothing is written of a conversation that another region holds (``whatsapp.infra.residency``).

Whoever has to answer a client has looked before, and refused: what comes here all the same is somebody's mistake, a command's or
a copy's, and raises :class:`WrongRegion`. What only takes something away passes: who should not be here must be able to go.
"""

from __future__ import annotations

from collections.abc import Sequence

from delivery.store.values import Change, PositionWrite, ReceiptWrite, Send
from whatsapp.infra import residency


def check(conversation: str) -> None:
    """Raises :class:`WrongRegion`."""
    residency.check(conversation)


def check_sends(sends: Sequence[Send]) -> None:
    """Raises :class:`WrongRegion`, and nothing of the list is stored."""
    for send in sends:
        if not residency.holds(send.conversation):
            residency.check(send.conversation)


def check_changes(conversation: str, changes: Sequence[Change]) -> None:
    """As :func:`check`, unless somebody leaves by it and nobody joins."""
    if any(one.joins for one in changes) or not any(one.leaves for one in changes):
        residency.check(conversation)


def of_here(
    positions: Sequence[PositionWrite], receipts: Sequence[ReceiptWrite]
) -> tuple[Sequence[PositionWrite], Sequence[ReceiptWrite]]:
    """Those that may be written. The others are left out: they come in batches of many people."""
    here = residency.current()
    if not here.on:
        return positions, receipts
    return (
        [one for one in positions if here.holds(one.conversation)],
        [one for one in receipts if here.holds(one.conversation)],
    )
