"""C4: what a device is owed from the moment it is linked; C5: positions and receipts only rise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from delivery.store.values import Behind, DeviceRow, Position, PositionWrite, Receipt, ReceiptWrite
from tests.contract.people import T0, People, new_id, seqs


async def position(people: People, user: str, device: str, conversation: str = "") -> Position | None:
    conversation = conversation or people.conversation
    return (await people.store.positions(user, device, [conversation])).get(conversation)


async def test_devices_of_users(people: People) -> None:
    await people.store.link_device(people.alice, people.desk, T0 + 5)
    nobody = new_id()
    assert await people.store.devices([people.alice, people.bob, nobody]) == {
        people.alice: (DeviceRow(people.phone, T0), DeviceRow(people.desk, T0 + 5)),
        people.bob: (DeviceRow(people.tablet, T0),),
        nobody: (),
    }
    assert await people.store.devices([]) == {}


async def test_c4_a_later_device_is_owed_from_the_heads_at_its_link(people: People) -> None:
    await people.say(b"1", b"2", b"3")
    await people.store.link_device(people.bob, people.desk, T0 + 1)
    assert await position(people, people.bob, people.desk) == Position(3, 3)
    assert await position(people, people.bob, people.tablet) == Position(0, 3)
    assert await people.store.behind(people.bob, people.desk) == []
    await people.say(b"4")
    assert await people.store.behind(people.bob, people.desk) == [Behind(people.conversation, 4, 3)]


async def test_what_many_devices_have_to_read_is_asked_at_once(people: People) -> None:
    """In order, whoever is named twice, is no member, is not linked or is somebody else's."""
    await people.say(b"1", b"2")
    await people.store.link_device(people.bob, people.desk, T0 + 1)
    later = await people.store.ensure_direct(people.bob, new_id(), new_id(), T0)
    await people.append(people.send(conversation=later))
    await people.store.save([PositionWrite(people.tablet, people.conversation, 1)], [], T0 + 2)
    asked = [
        (people.bob, people.tablet),
        (people.alice, people.tablet),  # Bob's
        (people.bob, people.desk),
        (people.bob, new_id()),
        (new_id(), people.desk),
        (people.bob, people.tablet),
        (people.alice, people.phone),
    ]
    found = await people.store.behind_each(asked)
    assert [sorted(one) for one in found] == [sorted(await people.store.behind(*one)) for one in asked]
    assert sorted(found[0]) == sorted([Behind(people.conversation, 2, 1), Behind(later, 1, 0)])
    assert (found[1], found[2], found[3], found[4]) == ([], [Behind(later, 1, 0)], [], [])
    assert found[5] == found[0]
    assert await people.store.behind_each([]) == []


async def test_linking_again_moves_nothing(people: People) -> None:
    await people.say(b"1")
    await people.store.link_device(people.bob, people.desk, T0 + 1)
    await people.say(b"2")
    later = await people.store.ensure_direct(people.bob, new_id(), new_id(), T0)
    await people.append(people.send(conversation=later))
    await people.store.link_device(people.bob, people.desk, T0 + 9)
    assert await position(people, people.bob, people.desk) == Position(1, 2)
    assert await position(people, people.bob, people.desk, later) == Position(0, 1)
    assert DeviceRow(people.desk, T0 + 1) in (await people.store.devices([people.bob]))[people.bob]


async def test_a_device_that_a_test_lets_grow_up_is_the_same_but_older(people: People, harness: Any) -> None:
    """What fault tests say of devices behind the store's back: nothing else of them changes, then and afterwards."""
    await people.say(b"1", b"2")
    await people.store.save([PositionWrite(people.tablet, people.conversation, 1)], [], T0)
    await harness.grow_up([people.bob, people.alice], 1_000)
    assert await people.store.devices([people.bob]) == {people.bob: (DeviceRow(people.tablet, T0 - 1_000),)}
    assert await position(people, people.bob, people.tablet) == Position(1, 2)
    gateway = await harness.gateway()
    await gateway.save([PositionWrite(people.tablet, people.conversation, 2)], [], T0)
    assert await gateway.behind(people.bob, people.tablet) == []
    await gateway.unlink_device(people.bob, people.tablet, T0 + 1)
    assert await gateway.devices([people.bob]) == {people.bob: ()}


async def test_c4_a_link_races_appends_and_nothing_falls_between(people: People, harness: Any) -> None:
    """Whatever is stored after the link is above the device's position."""
    other = await harness.gateway()

    async def write() -> None:
        for _ in range(20):
            await other.append(people.writer, [people.send()], T0)

    async def link() -> list[tuple[int, int]]:
        found = []
        for _ in range(8):
            device = new_id()
            await people.store.link_device(people.bob, device, T0)
            at_link = (await people.store.conversations([people.conversation]))[people.conversation].head
            acked = (await people.store.positions(people.bob, device, [people.conversation]))[
                people.conversation
            ].acked
            found.append((acked, at_link))
        return found

    _, found = await asyncio.gather(write(), link())
    assert all(acked <= head for acked, head in found)
    assert [acked for acked, _ in found] == sorted(acked for acked, _ in found)


async def test_a_window_of_history_lowers_the_start(people: People, harness: Any) -> None:
    """From the first event of each conversation that is young enough and that the user may read; never below what expired."""
    store, conversation, day = people.store, people.conversation, 86_400_000
    quiet = await store.ensure_direct(people.bob, new_id(), new_id(), T0)
    await people.append(people.send(conversation=quiet), now=T0)
    young = await store.ensure_direct(people.bob, new_id(), new_id(), T0)
    await people.append(people.send(conversation=young), now=T0 + 20 * day)
    empty = await store.ensure_direct(people.bob, new_id(), new_id(), T0)
    for number in range(1, 21):  # one a day
        await people.say(str(number).encode(), now=T0 + number * day)
    left = await harness.group(people.alice, people.bob)
    for number in range(1, 11):
        await people.append(people.send(conversation=left), now=T0 + 10 * day + number)
    await harness.leave(left, people.bob, 6)
    late = await harness.group(people.alice)
    for number in range(1, 11):
        await people.append(people.send(conversation=late), now=T0 + 19 * day + number)
    await harness.join(late, people.bob, 8)

    async def start(since: int) -> dict[str, int]:
        device = new_id()
        await store.link_device(people.bob, device, T0 + 20 * day, since)
        names = {
            quiet: "quiet",
            young: "young",
            empty: "empty",
            conversation: "daily",
            left: "left",
            late: "late",
        }
        found = await store.positions(people.bob, device, list(names))
        return {name: found[key].acked for key, name in names.items()}

    heads = {"quiet": 1, "young": 1, "empty": 0, "daily": 20, "left": 6, "late": 10}
    assert await start(0) == heads
    assert await start(T0 + 21 * day) == heads
    week = T0 + 13 * day
    assert await start(week) == {**heads, "young": 0, "daily": 12, "late": 7}
    assert await start(week + 1) == {**heads, "young": 0, "daily": 13, "late": 7}
    assert await start(T0 + 10 * day + 4) == {**heads, "young": 0, "daily": 10, "left": 3, "late": 7}
    assert await start(1) == {"quiet": 0, "young": 0, "empty": 0, "daily": 0, "left": 0, "late": 7}
    # What the user reads of it is what the user may read: nothing of the time before and after.
    assert seqs(await people.read(people.bob, 3, left)) == [4, 5, 6]
    await harness.raise_floor(conversation, 15)
    assert (await start(1))["daily"] == 15
    assert (await start(T0 + 18 * day))["daily"] == 17
    assert await store.receipts([], people.alice, 0) == []


@pytest.mark.sql_only
async def test_the_window_of_a_long_log_costs_a_few_looks(people: People, harness: Any) -> None:
    """Not a read of the log: the blocks that a hundred of them touch are counted."""
    await harness.sql(
        "INSERT INTO delivery_event"
        " (seq, ordinal, at, sent_at, seq_num, conversation, sender, device, message_id, kind, body_hash)"
        " SELECT n, n, %s + n, 0, 0, %s, %s, %s, gen_random_uuid(), 'text', '' FROM generate_series(1, 20000) n",
        T0, people.conversation, people.alice, people.phone,
    )  # fmt: skip
    await harness.sql("UPDATE delivery_head SET head = 20000 WHERE conversation = %s", people.conversation)
    device = new_id()
    await people.store.link_device(people.bob, device, T0 + 30_000, T0 + 7_001)
    assert await position(people, people.bob, device) == Position(7_000, 20_000)
    (found,) = await harness.sql(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT delivery_before(%s, 0, 20000, %s + n) FROM generate_series(1, 100) n",
        people.conversation,
        T0 + 7_001,
    )
    plan = found[0][0]["Plan"]
    assert (
        plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 12_000
    )  # 15 looks of 4 blocks; the log has about 300


async def test_a_conversation_joined_after_the_link_starts_below_joined(people: People, harness: Any) -> None:
    group = await harness.group(people.alice)
    await people.append(*(people.send(conversation=group) for _ in range(5)))
    await harness.join(group, people.bob, 4)
    assert await position(people, people.bob, people.tablet, group) == Position(3, 5)
    assert await people.store.behind(people.bob, people.tablet) == [Behind(group, 5, 3)]


async def test_positions_end_where_the_user_left(people: People, harness: Any) -> None:
    group = await harness.group(people.alice, people.bob)
    await people.append(*(people.send(conversation=group) for _ in range(5)))
    await harness.leave(group, people.bob, 3)
    assert await position(people, people.bob, people.tablet, group) == Position(0, 3)
    assert await people.store.behind(people.bob, people.tablet) == [Behind(group, 3, 0)]
    await people.store.save([PositionWrite(people.tablet, group, 5)], [], T0)
    assert await position(people, people.bob, people.tablet, group) == Position(5, 3)
    assert await people.store.behind(people.bob, people.tablet) == []
    await people.store.link_device(people.bob, people.desk, T0)
    assert await position(people, people.bob, people.desk, group) == Position(3, 3)
    await harness.join(group, people.bob, 7)
    await people.append(*(people.send(conversation=group) for _ in range(3)))
    assert await people.store.behind(people.bob, people.desk) == [Behind(group, 8, 3)]


async def test_positions_of_strangers_are_absent(people: People) -> None:
    await people.say(b"1")
    stranger, device = new_id(), new_id()
    await people.store.link_device(stranger, device, T0)
    assert await people.store.positions(stranger, device, [people.conversation, new_id()]) == {}
    assert await people.store.positions(people.bob, people.tablet, []) == {}


async def test_c5_saved_positions_never_go_back(people: People) -> None:
    await people.say(*[b"x"] * 5)
    save = people.store.save
    await save([PositionWrite(people.tablet, people.conversation, 3)], [], T0)
    await save([PositionWrite(people.tablet, people.conversation, n) for n in (2, 4, 1)], [], T0)
    assert await position(people, people.bob, people.tablet) == Position(4, 5)
    await save([PositionWrite(people.tablet, people.conversation, 2)], [], T0)
    assert await position(people, people.bob, people.tablet) == Position(4, 5)
    assert await people.store.behind(people.bob, people.tablet) == [Behind(people.conversation, 5, 4)]
    await save([], [], T0)


async def test_a_position_below_the_start_of_a_late_member_counts_for_nothing(
    people: People, harness: Any
) -> None:
    group = await harness.group(people.alice)
    await people.append(*(people.send(conversation=group) for _ in range(5)))
    await harness.join(group, people.bob, 5)
    await people.store.save([PositionWrite(people.tablet, group, 1)], [], T0)
    assert await position(people, people.bob, people.tablet, group) == Position(4, 5)


async def test_c5_receipts_never_go_back_and_say_when_they_moved(people: People) -> None:
    store, conversation = people.store, people.conversation
    await store.save([], [ReceiptWrite(conversation, people.bob, 3, 1)], T0)
    await store.save([], [ReceiptWrite(conversation, people.bob, 2, 0)], T0 + 10)
    assert await store.receipts([conversation], people.alice, 0) == [
        Receipt(conversation, people.bob, 3, 1, T0, T0)
    ]
    await store.save(
        [], [ReceiptWrite(conversation, people.bob, 1, 2), ReceiptWrite(conversation, people.bob, 4)], T0 + 20
    )
    changed = Receipt(conversation, people.bob, 4, 2, T0 + 20, T0 + 20)
    assert await store.receipts([conversation], people.alice, T0 + 20) == [changed]
    assert await store.receipts([conversation], people.alice, T0 + 21) == []
    assert await store.receipts([], people.alice, 0) == [changed]
    # Of one's own what was read, for one's other devices; what was delivered is nothing to them.
    own = Receipt(conversation, people.bob, 0, 2, T0 + 20)
    assert await store.receipts([conversation], people.bob, 0) == [own]
    assert await store.receipts([], people.bob, T0 + 20) == [own]
    assert await store.receipts([], people.bob, T0 + 21) == []
    await store.save([], [ReceiptWrite(conversation, people.alice, delivered=4)], T0 + 30)
    assert await store.receipts([], people.alice, T0 + 21) == []
    assert await store.receipts([], new_id(), 0) == []
    assert await store.receipts([conversation], new_id(), 0) == []


async def test_ones_own_sent_mark_is_shown_to_nobody(people: People) -> None:
    store, conversation = people.store, people.conversation
    await store.save([], [ReceiptWrite(conversation, people.bob, sent=7)], T0)
    assert await store.receipts([conversation], people.alice, 0) == []
    await store.save([], [ReceiptWrite(conversation, people.bob, delivered=1)], T0 + 1)
    await store.save([], [ReceiptWrite(conversation, people.bob, sent=9)], T0 + 2)
    assert await store.receipts([conversation], people.alice, 0) == [
        Receipt(conversation, people.bob, 1, 0, T0 + 1, T0 + 1)
    ]


async def test_an_unlinked_device_has_nothing_and_gets_nothing(people: People) -> None:
    store = people.store
    await people.say(b"1", b"2")
    await people.append(people.send(seq_num=1))
    await store.save([PositionWrite(people.phone, people.conversation, 1)], [], T0)
    for _ in range(2):
        await store.unlink_device(people.alice, people.phone, T0 + 1)
    assert (await store.devices([people.alice]))[people.alice] == ()
    assert await position(people, people.alice, people.phone) is None
    assert await store.behind(people.alice, people.phone) == []
    await store.save([PositionWrite(people.phone, people.conversation, 3)], [], T0)
    assert await position(people, people.alice, people.phone) is None
    # Nothing of the old life is left: linked again it is new, and counts from 1.
    await store.link_device(people.alice, people.phone, T0 + 2)
    assert await position(people, people.alice, people.phone) == Position(3, 3)
    (result,) = await people.append(people.send(seq_num=1))
    assert result.seq == 4


async def test_a_device_that_is_not_linked_has_no_count_once_it_is_unlinked(people: People) -> None:
    phone = new_id()
    for _ in range(2):
        (result,) = await people.append(people.send(device=phone, seq_num=1))
        assert result.seq
        await people.store.unlink_device(people.alice, phone, T0 + 1)


async def test_a_device_is_unlinked_by_its_owner_only(people: People) -> None:
    await people.store.unlink_device(people.bob, people.phone, T0)
    assert (await people.store.devices([people.alice]))[people.alice] == (DeviceRow(people.phone, T0),)


async def test_saves_race_an_unlink_and_leave_nothing_behind(people: People, harness: Any) -> None:
    other = await harness.gateway()
    await people.say(*[b"x"] * 9)
    for _ in range(10):
        device = new_id()
        await people.store.link_device(people.bob, device, T0)

        async def save(device: str = device) -> None:
            for seq in range(1, 6):
                await other.save([PositionWrite(device, people.conversation, seq)], [], T0)

        await asyncio.gather(save(), people.store.unlink_device(people.bob, device, T0))
        await people.store.link_device(people.bob, device, T0)
        assert await position(people, people.bob, device) == Position(9, 9)


async def test_saves_from_several_gateways_never_deadlock(people: People, harness: Any) -> None:
    """Two gateways name the same rows in opposite orders; a row that is locked out of order would end one of them."""
    conversations = [new_id() for _ in range(300)]
    other = await harness.gateway()

    async def push(store: Any, order: list[str], receipts: bool) -> None:
        for seq in range(1, 9):
            acks = [] if receipts else [PositionWrite(people.tablet, c, seq) for c in order]
            await store.save(acks, [ReceiptWrite(c, people.bob, seq) for c in order] if receipts else [], T0)

    for receipts in (False, True):
        await asyncio.gather(
            push(people.store, conversations, receipts), push(other, conversations[::-1], receipts)
        )
    assert await harness.acked(people.tablet) == [8] * 300
