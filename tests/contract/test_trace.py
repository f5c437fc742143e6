"""What ``manage.py trace`` asks a store: where a message is, who is owed it, and how far its devices are."""

from __future__ import annotations

from typing import Any

from delivery.store.trace import DeviceState, Head, OutboxPlace, Place, UserState, Watermark
from delivery.store.values import Interval, PositionWrite, ReceiptWrite
from tests.contract.people import T0, People, new_id


async def test_a_message_is_found_by_its_id_and_by_its_place(people: People, harness: Any) -> None:
    first, second = people.send(body=b"1"), people.send(body=b"secret", seq_num=1)
    await people.append(first, second, now=T0 + 5)
    # Another's message with the same id is another message.
    other = people.send(sender=people.bob, device=people.tablet, message_id=second.message_id)
    await people.append(other, now=T0 + 6)
    mine = Place(
        people.conversation, 2, second.message_id, T0 + 5, T0 - 5, people.alice, people.phone, "text", 1, 6, False, False
    )  # fmt: skip
    theirs = mine._replace(seq=3, at=T0 + 6, sender=people.bob, device=people.tablet, seq_num=0, size=5)
    assert await harness.traced("by_message", second.message_id) == [mine, theirs]
    assert await harness.traced("by_seq", people.conversation, 2) == [mine]
    assert await harness.traced("by_message", new_id()) == []
    assert await harness.traced("by_seq", people.conversation, 4) == []
    await people.append(people.amend(second.message_id, "delete"))
    assert await harness.traced("by_seq", people.conversation, 2) == [mine._replace(size=0, deleted=True)]


async def test_an_expired_message_is_gone(people: People, harness: Any) -> None:
    one = people.send()
    await people.append(one)
    await harness.raise_floor(people.conversation, 1)
    assert await harness.traced("by_message", one.message_id) == []
    assert await harness.traced("by_seq", people.conversation, 1) == []
    assert await harness.traced("head", people.conversation) == Head("direct", 1, 1)
    assert await harness.traced("head", new_id()) is None


async def test_members_devices_and_receipts(people: People, harness: Any) -> None:
    carol = new_id()
    group = await harness.group(people.alice, people.bob)
    await people.append(*(people.send(conversation=group) for _ in range(3)))
    await harness.leave(group, people.bob, 2)
    await harness.join(group, carol, 3)
    first = sorted((Interval(people.alice, 1), Interval(people.bob, 1, 2)))
    assert await harness.traced("members", group) == [*first, Interval(carol, 3)]
    await people.store.link_device(people.bob, people.desk, T0 + 9)
    await people.store.save(
        [PositionWrite(people.tablet, group, 1)], [ReceiptWrite(group, people.bob, 2, 1)], T0 + 7
    )
    assert await harness.traced("devices", group, [people.bob, carol]) == [
        DeviceState(people.bob, people.tablet, T0, 1, 0),
        DeviceState(people.bob, people.desk, T0 + 9, 2, 0),
    ]
    assert await harness.traced("devices", people.conversation, [people.alice]) == [
        DeviceState(people.alice, people.phone, T0, None, 0)
    ]
    assert await harness.traced("receipts", group, [people.bob, carol]) == {
        people.bob: UserState(2, 1, T0 + 7)
    }


async def test_the_outbox_row_of_a_batch_and_its_watermarks(people: People, harness: Any) -> None:
    other = await people.store.ensure_direct(people.alice, new_id(), new_id(), T0)
    await people.store.append(people.writer, [people.send()], T0)
    batch = [people.send(), people.send(), people.send(conversation=other)]
    row = (await people.store.append(people.writer, batch, T0 + 5)).row
    assert await harness.traced("outbox", people.conversation, 2, T0 + 5) == OutboxPlace(
        people.writer, row, T0 + 5, 3
    )
    assert await harness.traced("outbox", people.conversation, 4, T0 + 5) is None
    assert await harness.traced("outbox", people.conversation, 2, T0 + 6) is None
    assert await harness.traced("watermarks", people.writer) == []
    await people.store.outbox_done(people.writer, "e1", row - 1, T0 + 6)
    await people.store.outbox_done(people.writer, "e2", row, T0 + 7)
    assert await harness.traced("watermarks", people.writer) == [
        Watermark("e2", row, T0 + 7),
        Watermark("e1", row - 1, T0 + 6),
    ]
