"""Counts of devices for which a conversation's document has no room. The processes that keep them elsewhere have clocks that
differ."""

from __future__ import annotations

import pytest

from delivery.store.cassandra import amend, append, judge, rows
from delivery.store.cassandra.judge import Full
from delivery.store.cassandra.session import Cassandra
from delivery.store.values import Appended, Outcome
from tests.cassandra.two_gateways import Two, two
from tests.contract.people import T0, new_id

__all__ = ["two"]  # a fixture

#: By how much the first gateway's clock is ahead, ms.
AHEAD = 5_000


async def the_highest_count_wins(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device sends by two gateways; each time other devices put its number out of the document."""
    monkeypatch.setattr(judge, "MAX_LASTS", 1)
    phone, others = two.people.phone, iter([new_id() for _ in range(2)])

    async def said(number: int, device: str, store: object, now: int) -> Appended:
        one = two.people.send(device=device, seq_num=number)
        return (await store.append(new_id(), [one], now)).results[0]  # type: ignore[attr-defined]

    for number, store, now in ((1, two.first, T0 + AHEAD), (2, two.other, T0 + 1), (3, two.other, T0 + 2)):
        assert (await said(number, phone, store, now)).outcome is Outcome.STORED, number
        if number < 3:
            assert (await said(1, next(others), store, now)).outcome is Outcome.STORED


async def test_the_highest_count_wins_whatever_clocks_say(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    await the_highest_count_wins(two, monkeypatch)


async def test_twin_by_the_clock_an_older_count_wins(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([T0 + AHEAD, T0 + 1, T0 + 2, T0 + 3])

    async def by_the_clock(session: Cassandra, conversation: str, full: Full) -> None:
        stamp = next(moments) * 1000
        await session.write(
            [
                rows.of("seqnum", device=device, conversation=conversation, last=last, stamp=stamp)
                for device, last in full.lasts.items()
            ]
        )

    for module in (append, amend):
        monkeypatch.setattr(module, "push_out", by_the_clock)
    with pytest.raises(AssertionError):
        await the_highest_count_wins(two, monkeypatch)
