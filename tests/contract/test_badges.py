"""The number on the badge over many conversations, against the model. Each history is another one, and the same each time."""

from __future__ import annotations

import random
from typing import Any

import pytest

from delivery.store.values import Flags, ReceiptWrite
from tests.contract.model import Model, Talk
from tests.contract.people import T0, new_id, send

TALKS, STEPS = 24, 150
LATER = T0 + 1_000


@pytest.mark.parametrize("seed", range(3))
async def test_badges_are_the_models(harness: Any, seed: int) -> None:
    chance = random.Random(seed)
    store, model = harness.store, Model()
    users = [new_id() for _ in range(3)]
    talks = [await harness.group(*users) for _ in range(TALKS)]
    model.talks = {talk: Talk("group", intervals={user: [(1, 0)] for user in users}) for talk in talks}

    async def say(talk: str, sender: str, kind: str = "text") -> int:
        mentions = [user for user in users if kind == "text" and chance.random() < 0.3]
        one = send(talk, sender, sender, kind=kind, mentions=mentions)
        (stored,) = (await store.append(users[0], [one], T0)).results
        assert [stored] == model.append([one], T0)
        return int(stored.seq)

    async def come_or_go(talk: str, user: str) -> None:
        intervals = model.talks[talk].intervals[user]
        there = not intervals[-1][1]
        seq = await say(talk, users[0], "member_removed" if there else "member_added")
        if there:
            await harness.leave(talk, user, seq)
            intervals[-1] = (intervals[-1][0], seq)
        else:
            await harness.join(talk, user, seq)
            intervals.append((seq, 0))

    async def read(talk: str, user: str) -> None:
        """By whichever device; or the user's own message."""
        up_to = chance.randint(0, len(model.talks[talk].log))
        write = chance.choice([ReceiptWrite(talk, user, up_to, up_to), ReceiptWrite(talk, user, sent=up_to)])
        await store.save([], [write], T0)
        model.save([], [write], T0)

    async def set_flags(talk: str, user: str) -> None:
        new = Flags(chance.choice([0, T0 - 1, LATER]), archived=chance.random() < 0.2)
        assert await store.set_flags(user, talk, new, T0) == model.set_flags(user, talk, new, T0)

    seen = set()
    for step in range(STEPS):
        talk, user = chance.choice(talks), chance.choice(users)
        act = chance.choice([say, say, say, say, come_or_go, read, set_flags, set_flags])
        await act(talk, user)
        if step % 15 == 0:
            for now in (T0, LATER):
                wanted = {user: model.badge(user, now) for user in users}
                assert await store.badges(users, now) == wanted
                seen |= set(wanted.values())
    assert len(seen) > 10  # the history is about something
