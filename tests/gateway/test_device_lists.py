"""The device lists that a process keeps: none serves too long, and those in use are read together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

import pytest

from delivery.roster import READ_AHEAD, Roster
from delivery.store.interface import Store
from delivery.store.values import DEVICE_LIST_MAX_AGE_MS, DeviceRow

MAX_AGE_S = DEVICE_LIST_MAX_AGE_MS / 1000


class Lists:
    """A store of device lists that says what it was asked, and a clock that is moved."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.linked: dict[str, int] = {}
        self.now = 1_000.0
        self.before: Callable[[], None] = lambda: None

    async def devices(self, users: Sequence[str]) -> dict[str, tuple[DeviceRow, ...]]:
        self.asked.append(sorted(users))
        found = {user: (DeviceRow(f"{user}-phone", self.linked.get(user, 0)),) for user in users}
        await asyncio.sleep(0)
        self.before()
        return found


async def roster() -> tuple[Roster, Lists]:
    lists = Lists()
    made = Roster(cast(Store, lists))
    made._time = lambda: lists.now
    return made, lists


async def linked_at(made: Roster, user: str) -> int:
    return (await made.devices([user]))[user][0].linked_at


async def test_lists_in_use_are_read_again_with_the_next_that_is_missing() -> None:
    made, lists = await roster()
    everybody = [f"user{n}" for n in range(100)]
    for user in everybody:
        await made.devices([user])
    assert len(lists.asked) == 100
    for _ in range(40):  # a second and a half of conversation each
        for user in everybody:
            lists.now += 0.015
            await made.devices([user])
    assert len(lists.asked) < 100 + 40


async def test_a_list_that_nobody_needed_is_not_read_again_and_leaves() -> None:
    made, lists = await roster()
    await made.devices(["once"])
    lists.now += MAX_AGE_S + 0.1
    await made.devices(["other"])
    assert lists.asked == [["once"], ["other"]]
    assert list(made._devices) == ["other"]


@pytest.mark.parametrize("step_s", [0.1, 0.9, 2.4, 2.6, 4.9])
async def test_no_list_is_older_than_it_may_be(step_s: float) -> None:
    made, lists = await roster()
    read_at: dict[str, float] = {}
    users = ["ann", "bob", "cid"]
    for step in range(60):
        lists.now += step_s
        user = users[step % 3]
        before = len(lists.asked)
        lists.linked = dict.fromkeys(users, round(lists.now * 1000))
        shown = await linked_at(made, user)
        for asked in lists.asked[before:]:
            read_at.update(dict.fromkeys(asked, lists.now))
        assert shown == round(read_at[user] * 1000)
        assert lists.now - read_at[user] <= MAX_AGE_S


async def test_what_was_forgotten_while_it_was_read_ahead_is_read_anew() -> None:
    made, lists = await roster()
    await made.devices(["ann"])
    await made.devices(["ann"])
    lists.now += MAX_AGE_S / 2 + 0.1
    lists.before = lambda: (made.forget_devices("ann"), lists.linked.update(ann=7))[0]
    await made.devices(["bob"])
    assert lists.asked[-1] == ["ann", "bob"]
    lists.before = lambda: None
    assert await linked_at(made, "ann") == 7


async def test_one_read_ahead_is_bounded() -> None:
    made, lists = await roster()
    everybody = [f"user{n}" for n in range(3 * READ_AHEAD)]
    await made.devices(everybody)
    await made.devices(everybody)
    lists.now += MAX_AGE_S / 2 + 0.1
    await made.devices(["one more"])
    assert len(lists.asked[-1]) == READ_AHEAD + 1
    assert made._devices.keys() == {*everybody, "one more"}
