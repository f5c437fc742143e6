"""What was offered to a connected device, and what of it is reported as unacknowledged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from delivery.unacked import Unacked


@dataclass(eq=False)
class _Session:
    user: str
    device: str
    acked: dict[str, int]


def test_an_earlier_event_offered_again_does_not_hide_a_later_one() -> None:
    reported: list[tuple[str, str]] = []
    unacked = Unacked(lambda devices, wait_ms: reported.extend(devices))
    session: Any = _Session("ann", "phone", {"c": 3})
    unacked.offered(session, "c", 5)
    unacked.offered(session, "c", 3)
    unacked.end()
    assert reported == [("ann", "phone")]
