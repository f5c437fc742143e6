"""Senders of many large groups are told the counts of their messages in turn (C7)."""

from __future__ import annotations

from typing import Any

import pytest

from delivery import counts as counts_module
from delivery.counts import Counts
from delivery.store.values import RECEIPTS_EACH, Conversation, Interval, ReceiptCount
from tests.support.patience import until


class Everything:
    """Hub, roster and store in one: everybody is here, groups are large, each answer is another one."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def of(self, user: str) -> list[Any]:
        return [self]

    state = None

    async def lists(self, heads: Any) -> dict[str, Conversation]:
        members = tuple(Interval(str(number), 1, 0) for number in range(RECEIPTS_EACH + 5))
        return {one: Conversation(one, "group", 1, members, None) for one in heads}

    async def receipt_counts(self, events: Any) -> list[ReceiptCount]:
        self.asked += [conversation for conversation, _, _ in events]
        return [ReceiptCount(len(self.asked), 0) for _ in events]


async def test_c7_who_is_asked_for_often_does_not_keep_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts_module, "AT_ONCE", 3)
    monkeypatch.setattr(counts_module, "EVERY_S", 0.05)
    everything: Any = Everything()
    counts = Counts(everything, everything, everything)
    for number in range(9):
        counts.sent(str(number), "ann", 1)
    await until(lambda: len(everything.asked) >= 18, "six rounds")
    await counts.stop()
    assert len(set(everything.asked)) == 9
