"""Sends that say whom they are encrypted for, looked at before they are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from delivery.keyed import Keyed, Sealed
from delivery.sending import Sending
from delivery.store.interface import Unavailable
from delivery.store.values import Conversation
from whatsapp.wire.errors import Code

#: Code, text and details of an error.
Refusal = tuple[str, str] | tuple[str, str, dict[str, Any]]


class Seals:
    def __init__(self, keyed: Keyed) -> None:
        self._keyed = keyed

    async def judge(
        self, batch: Sequence[Sending], refusals: list[Refusal | None], lists: Mapping[str, Conversation]
    ) -> set[tuple[str, str]]:
        """Refuse, in ``refusals``, what is encrypted for others than those who are owed it. What cannot be judged is
        ``unavailable``; returned are the keys of these sends, for what waits behind them would overtake. Raises ``Unavailable``
        when the store is away."""
        sealed = [i for i, p in enumerate(batch) if p.seal and p.seal.envelopes and refusals[i] is None]
        asked = [(batch[i].send, batch[i].seal) for i in sealed]
        unread: set[tuple[str, str]] = set()
        try:
            found = await self._keyed.mismatches(
                [Sealed(lists[send.conversation], send.device, seal) for send, seal in asked if seal]
            )
        except Unavailable:
            unread = {batch[i].key for i in sealed}
            for i, pending in enumerate(batch):
                if pending.key in unread and refusals[i] is None:
                    refusals[i] = Code.UNAVAILABLE, "the devices cannot be looked up, send it again"
            found = []
        for i, details in zip(sealed, found, strict=False):
            if details is not None:
                refusals[i] = Code.DEVICE_MISMATCH, "the envelopes are not those of all devices", details
        return unread
