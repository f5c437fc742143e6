"""Times as the admin's pages tell them."""

from __future__ import annotations

import pytest

from whatsapp.staff.times import ago


@pytest.mark.parametrize(
    ("ms", "said"),
    [(39_100, "now"), (40_900, "now"), (28_000, "12 s ago"), (52_000, "in 12 s"), (None, "—")],
)
def test_nobody_counts_milliseconds_since_something_happened(ms: int | None, said: str) -> None:
    assert ago(ms, now=40_000) == said
