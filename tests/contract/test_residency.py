"""Whatever is called, a store gets no row of a conversation that another region holds (``delivery/store/door.py``)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from delivery.ids import conversation_id, region_of
from delivery.store.cassandra.sample import TABLES
from delivery.store.values import Change, Flags, PositionWrite, ReceiptWrite, Send
from tests.contract.cassandra import CassandraHarness
from tests.contract.people import T0, new_id, send
from whatsapp.infra.residency import WrongRegion

HERE, ELSEWHERE = 1, 2
REGIONS = {
    "1": {"name": "one", "jurisdiction": "a", "url": ""},
    "2": {"name": "two", "jurisdiction": "b", "url": ""},
}


def hold(settings: Any, *here: int) -> None:
    settings.JURISDICTIONS = ["a", "b"]
    settings.REGION_OF_NUMBERS = {"*": HERE}
    settings.REGIONS_HERE = here
    settings.HOME_REGION = here[0]
    settings.REGIONS = REGIONS


def add(user: str) -> Change:
    return Change(new_id(), "member_added", joins=(user,))


async def rows_of(store: Any, users: list[str], ids: list[str]) -> set[str]:
    """Those of these conversations of which there is anything to see."""
    found = set(await store.conversations(ids))
    for user in users:
        found |= {one.conversation for one in await store.listed(user, 500)} & set(ids)
        found |= {one for one in ids if await store.flags(user, one) is not None}
    return found


@pytest.mark.parametrize("protected", [True, False])
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_no_sequence_of_calls_leaves_a_row_of_elsewhere(
    harness: Any, settings: Any, protected: bool, seed: int
) -> None:
    hold(settings, HERE) if protected else hold(settings, HERE, ELSEWHERE)
    store, rng = harness.store, random.Random(seed)
    users, devices = [new_id() for _ in range(4)], [new_id() for _ in range(4)]
    for user, device in zip(users, devices, strict=True):
        await store.link_device(user, device, T0)
    ids = {region: [conversation_id(T0, "group", region) for _ in range(3)] for region in (HERE, ELSEWHERE)}
    pool = [*ids[HERE], *ids[ELSEWHERE]]
    opened: list[str] = []

    async def direct() -> None:
        a, b = rng.sample(users, 2)
        new = conversation_id(T0, "direct", rng.choice((HERE, ELSEWHERE)))
        opened.append(await store.ensure_direct(a, b, new, T0))

    async def append() -> None:
        await store.append(new_id(), [send(one, users[0], devices[0]) for one in rng.sample(pool, 2)], T0)

    calls = [
        direct,
        append,
        lambda: store.create_group(rng.choice(pool), T0),
        lambda: store.change(new_id(), rng.choice(pool), users[0], [add(rng.choice(users))], T0),
        lambda: store.set_timer(new_id(), rng.choice(pool), users[0], new_id(), 60, b"\x80", T0),
        lambda: store.set_flags(rng.choice(users), rng.choice(pool), Flags(pinned=True), T0),
        lambda: store.save(
            [PositionWrite(devices[0], rng.choice(pool), 1)], [ReceiptWrite(rng.choice(pool), users[1], 1, 1)], T0
        ),
    ]  # fmt: skip
    refused: list[int] = []
    for _ in range(80):
        try:
            await rng.choice(calls)()
        except WrongRegion as error:
            refused.append(error.details["region"])
    elsewhere = await rows_of(store, users, ids[ELSEWHERE])
    assert await rows_of(store, users, ids[HERE])
    if protected:
        assert set(refused) == {ELSEWHERE}
        assert elsewhere == set()
        assert {region_of(one) for one in opened} <= {HERE}
    else:
        assert not refused
        assert elsewhere


async def test_who_should_not_be_here_can_leave(harness: Any, settings: Any) -> None:
    hold(settings, HERE, ELSEWHERE)
    store, (ann, bob) = harness.store, (new_id(), new_id())
    group = conversation_id(T0, "group", ELSEWHERE)
    await store.create_group(group, T0)
    await store.change(new_id(), group, ann, [add(ann), add(bob)], T0)
    hold(settings, HERE)
    with pytest.raises(WrongRegion):
        await store.change(new_id(), group, ann, [add(new_id())], T0)
    await store.change(new_id(), group, ann, [Change(new_id(), "member_removed", leaves=(ann,))], T0)
    assert (await store.conversations([group]))[group].current == {bob}


async def test_an_id_without_a_region_is_nobodys(harness: Any, settings: Any) -> None:
    hold(settings, HERE)
    for one in (new_id(), conversation_id(T0, "direct", 1023)):
        with pytest.raises(WrongRegion):
            await harness.store.create_group(one, T0)
    ours, theirs = conversation_id(T0, "group", HERE), conversation_id(T0, "group", ELSEWHERE)
    await harness.store.create_group(ours, T0)
    batch: list[Send] = [send(ours, new_id(), new_id()), send(theirs, new_id(), new_id())]
    with pytest.raises(WrongRegion):
        await harness.store.append(new_id(), batch, T0)
    assert (await harness.store.conversations([ours]))[ours].head == 0


@pytest.mark.needs_cassandra
async def test_the_audit_finds_what_lies_in_cassandra(contract_cassandra: Any, settings: Any) -> None:
    """By their ids: who was planted comes out of a sample of all there is."""
    hold(settings, HERE, ELSEWHERE)
    ann, group = new_id(), conversation_id(T0, "group", ELSEWHERE)
    async with CassandraHarness(contract_cassandra, "") as harness:
        store = harness.store
        await store.create_group(group, T0)
        await store.change(new_id(), group, ann, [add(ann)], T0)
        await store.append(new_id(), [send(group, ann, new_id())], T0)
        for table in TABLES:
            assert group in await store.inspected("sample", table, 1_000_000), table
            assert len(await store.inspected("sample", table, 1)) == 1, table
