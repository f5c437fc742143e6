"""The clients of the bench of herds come back as the library does: in their slot, or by its delays."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from bench.frames import CODECS, Reconnect
from bench.strays import Stray
from whatsapp.wire import frames
from whatsapp.wire.codec import CODECS as WIRE

PERSON = {"user": "01900000-0000-7000-8000-000000000001", "url": "ws://first", "token": ""}


@pytest.fixture(params=["json", "protobuf"])
async def stray(request: pytest.FixtureRequest) -> Any:
    made = Stray(CODECS[request.param](), PERSON, "ws://home", Counter())
    made.told = lambda frame: made._on_frame(WIRE[request.param].encode(frame))  # type: ignore[attr-defined]
    return made


async def test_in_its_slot(stray: Any) -> None:
    for _ in range(8):  # however often
        stray.told(frames.Reconnect(4_000, "busy"))
        assert 4.0 <= stray._delay(1013) <= 4.25


async def test_by_delays_that_grow_without_one(stray: Any) -> None:
    assert stray._delay(1006) <= 0.25
    assert max(stray._delay(1013) for _ in range(10)) > 2
    assert stray._tally == {"closed_1006": 1, "closed_1013": 10}


def test_both_codecs_know_the_frame() -> None:
    for name, codec in CODECS.items():
        assert codec().decode(WIRE[name].encode(frames.Reconnect(7, "busy"))) == Reconnect(7)
