"""The bench of presence counts what followers were told, and blames what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from bench import presence
from bench.comings import Comings, Guest
from bench.frames import CODECS

PEOPLE = [{"user": f"01900000-0000-7000-8000-00000000000{n}", "url": "", "token": ""} for n in range(6)]


class NoSocket:
    def close(self) -> None:
        pass


@pytest.fixture
async def comings() -> Comings:
    """Two guests, four followers, each of one: no server."""
    made = Comings(CODECS["json"](), PEOPLE[:2], PEOPLE[2:], 1)
    made.begin(0.001, 1)
    return made


def here(guest: Guest) -> None:
    guest._move(True)
    guest._idler = NoSocket()  # type: ignore[assignment]


async def test_each_follower_counts_once(comings: Comings) -> None:
    ann, bob = comings.guests
    assert (ann.followers, bob.followers, ann.still) == (2, 2, True)
    here(ann)
    assert not ann.still
    for _ in range(2):
        comings._told(ann, "offline", "online")
    assert ann.still
    assert len(comings.online_us) == 2
    ann.go()
    for _ in range(2):
        comings._told(ann, "online", "offline")
    found: dict[str, Any] = await comings.stop(1.0)
    assert (len(found["offline_us"]), found["problems"]) == (2, {})


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ([("offline", "offline")], "told_twice"),
        ([("online", "offline")], "told_wrong"),
        ([("offline", "online")], "never_told"),
    ],
)
async def test_what_is_wrong_is_blamed(comings: Comings, said: list[tuple[str, str]], problem: str) -> None:
    ann = comings.guests[0]
    here(ann)
    for before, status in said:
        comings._told(ann, before, status)
    found = await comings.stop(0.0)
    assert problem in found["problems"]


def test_everybody_has_as_many_followers() -> None:
    with pytest.raises(ValueError, match="as many"):
        Comings(CODECS["json"](), PEOPLE[:2], PEOPLE[2:5], 1)


def test_numbers_that_do_not_divide_are_told_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["presence", "--people", "20", "--followers", "10", "--each", "5"])
    monkeypatch.setattr(presence, "run", lambda *_: pytest.fail("it was started"))
    with pytest.raises(SystemExit, match="2"):
        presence.main()
    assert "--followers 10 times --each 5 is no multiple of --people 20" in capsys.readouterr().err
