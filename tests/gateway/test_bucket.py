"""The bucket and its slots, with a clock of the test's own (ADR 0116)."""

from __future__ import annotations

import random

import pytest

from chats.admission import LATE_MS, Admission, Slots, most_connections
from whatsapp.infra.limits import LIMITS

START = 1_000_000


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "authentications_per_minute": 6_000,
        "authentications_burst": 50,
        "slot_least_ms": 500,
        "slot_most_ms": 300_000,
    }.items():
        monkeypatch.setattr(LIMITS, name, value)


def herd(
    gateways: int, devices: int, *, obey: bool = True, seed: int = 1
) -> tuple[list[float], list[int], list[int]]:
    """All devices come within 250 ms, each time to any gateway. When each was let in; how often each was turned away; how many
    were let in in the busiest second of each gateway. Without ``obey`` slots are not kept: they come again after up to 250 ms."""
    chance = random.Random(seed)
    doors = [Admission() for _ in range(gateways)]
    coming = sorted((START + chance.uniform(0, 250), f"d{number}") for number in range(devices))
    let_in: dict[str, float] = {}
    turned: dict[str, int] = {device: 0 for _, device in coming}
    seconds: dict[tuple[int, int], int] = {}
    while coming:
        now, device = coming.pop(0)
        door = chance.randrange(gateways)
        after = doors[door].enter(device, round(now))
        if not after:
            let_in[device] = now - START
            key = door, int((now - START) // 1000)
            seconds[key] = seconds.get(key, 0) + 1
            continue
        turned[device] += 1
        coming.append((now + (after + chance.uniform(1, 50) if obey else chance.uniform(1, 250)), device))
        coming.sort()
    return list(let_in.values()), list(turned.values()), list(seconds.values())


def test_a_herd_is_let_in_at_the_rate_and_nobody_is_turned_away_twice() -> None:
    times, turned, seconds = herd(1, 2_000)
    assert max(turned) == 1
    assert max(seconds) <= 50 + 100 + 1
    assert max(times) < 2_000 / (100 * 0.9) * 1000 + 1_000


def test_over_several_gateways_few_are_turned_away_again() -> None:
    """A slot of another gateway is worth a token as good as always."""
    times, turned, seconds = herd(4, 4_000)
    assert sum(turned) < 4_000 * 1.15
    assert max(seconds) <= 2 * 50 + 100 + 1
    assert max(times) < 1.6 * 4_000 / (4 * 100 * 0.9) * 1000


def test_twin_without_their_slots_they_come_again_and_again() -> None:
    _, turned, _ = herd(1, 500, obey=False)
    assert sum(turned) > 5 * 500


def test_who_was_early_keeps_its_slot_and_who_was_late_gets_another_one() -> None:
    door = Admission()
    while not door.enter(f"filler{len(door._rates)}", START):
        pass
    first = door.enter("a", START)
    assert abs(door.enter("a", START) - first) <= 100
    for number in range(100):
        door.enter(f"n{number}", START)
    assert "a" in door.due
    door.enter("b", START + first + LATE_MS + 1_000)
    assert "a" not in door.due


@pytest.mark.parametrize("twin", [False, True], ids=["", "twin"])
def test_one_device_that_comes_all_the_time_delays_nobody(
    monkeypatch: pytest.MonkeyPatch, twin: bool
) -> None:
    """One token is enough to be let in again and again: it took every token of the bucket, and a slot for each."""
    monkeypatch.setattr(LIMITS, "authentications_per_device", 10**9 if twin else 20)
    door = Admission()
    let_in, told = 0, []
    for ms in range(0, 60_000, 2):
        let_in += not door.enter("always", START + ms)
        if ms % 500 == 0:
            told.append(door.enter(f"n{ms}", START + ms))
    assert (let_in > 5_000) is twin
    if twin:
        assert max(told) > 5_000
    else:
        assert let_in <= 2 * 20 + 1
        assert not any(told)


def test_who_came_too_often_comes_again_a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "authentications_per_device", 3)
    door = Admission()
    assert [door.enter("a", START) for _ in range(3)] == [0] * 3
    assert 19_000 < door.enter("a", START) <= 20_000
    assert not door.enter("b", START)
    assert not door.enter("a", START + 20_000)
    assert door.enter("a", START + 20_000)
    assert not door.enter("a", START - 600_000)  # the clock was set back
    assert not door.enter("a", START + 600_000)


def test_those_who_come_together_in_their_slots_are_bounded_by_a_burst() -> None:
    """The network stood still: ten seconds of slots come at once."""
    door = Admission()
    for number in range(1_000):
        door.enter(f"d{number}", START)
    now = START + 9_000
    let_in = sum(not door.enter(device, now) for device in list(door.due))
    assert let_in <= 2 * 50 + 1


def test_a_clock_that_is_set_back_keeps_nobody_away() -> None:
    door = Admission()
    for number in range(1_000):
        door.enter(f"d{number}", START)
    later = START - 600_000
    assert door.enter("x", later) < 15_000
    assert door.furthest_s(later) < 15


def test_nobody_is_told_a_slot_further_away_than_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "slot_most_ms", 2_000)
    door, slots = Admission(), Slots(500)
    told = [after for number in range(2_000) if (after := door.enter(f"d{number}", START))]
    told += [slots.after(START) for _ in range(2_000)]
    assert max(told) <= 2_100
    assert len(door.due) <= 200


def test_the_cap_leaves_descriptors_for_what_is_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "connections", 50_000)
    assert most_connections(1_024) == 896
    assert most_connections(20_000) == 18_976
    assert most_connections(1_048_576) == 50_000
