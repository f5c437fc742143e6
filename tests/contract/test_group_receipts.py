"""Receipts of groups: counts for those who sent, names for those who ask (C5)."""

from __future__ import annotations

from delivery.store.values import RECEIPTS_EACH, Change, MemberReceipt, ReceiptCount, ReceiptWrite
from tests.contract.people import T0, People, new_id


async def group(people: People, *members: str) -> str:
    conversation = new_id()
    await people.store.create_group(conversation, T0)
    await change(people, conversation, joins=members)
    return conversation


async def change(people: People, conversation: str, **fields: tuple[str, ...]) -> None:
    await people.store.change(
        new_id(), conversation, people.alice, [Change(new_id(), "member_added", None, **fields)], T0
    )


async def receipt(people: People, conversation: str, user: str, delivered: int, read: int) -> None:
    await people.store.save([], [ReceiptWrite(conversation, user, delivered, read)], T0)


async def test_counts_are_of_the_others_who_are_owed_the_event(people: People) -> None:
    store, carol, dave = people.store, new_id(), new_id()
    conversation = await group(people, people.alice, people.bob, carol)  # 1
    await people.append(people.send(conversation=conversation))  # 2
    await change(people, conversation, joins=(dave,))  # 3
    await people.append(people.send(conversation=conversation))  # 4
    await receipt(people, conversation, people.alice, 4, 4)
    await receipt(people, conversation, people.bob, 4, 2)
    await receipt(people, conversation, carol, 2, 0)
    await receipt(people, conversation, dave, 4, 4)
    assert await store.receipt_counts(
        [(conversation, people.alice, 2), (conversation, people.alice, 4), (new_id(), people.alice, 1)]
    ) == [ReceiptCount(2, 1), ReceiptCount(2, 1), ReceiptCount(0, 0)]
    assert await store.receipt_counts([]) == []


async def test_who_left_counts_for_what_was_owed(people: People) -> None:
    conversation = await group(people, people.alice, people.bob)
    await people.append(people.send(conversation=conversation))  # 2
    await receipt(people, conversation, people.bob, 2, 2)
    await change(people, conversation, leaves=(people.bob,))  # 3
    await people.append(people.send(conversation=conversation))  # 4
    assert await people.store.receipt_counts(
        [(conversation, people.alice, 2), (conversation, people.alice, 4)]
    ) == [ReceiptCount(1, 1), ReceiptCount(0, 0)]


async def test_who_left_is_told_no_receipts(people: People) -> None:
    """How far the others are says how far the conversation has come."""
    conversation = await group(people, people.alice, people.bob)
    await change(people, conversation, leaves=(people.bob,))  # 2
    await people.append(people.send(conversation=conversation))  # 3
    await receipt(people, conversation, people.alice, 3, 3)
    assert await people.store.receipts([], people.bob, 0) == []
    assert await people.store.receipts([conversation], people.bob, 0) == []
    await change(people, conversation, joins=(people.bob,))
    assert [r.user for r in await people.store.receipts([], people.bob, 0)] == [people.alice]


async def test_each_receipt_of_a_message_in_pages(people: People) -> None:
    others = sorted(new_id() for _ in range(3))
    conversation = await group(people, people.alice, *others)
    await people.append(people.send(conversation=conversation))
    await receipt(people, conversation, others[0], 2, 2)
    await receipt(people, conversation, others[1], 2, 0)
    first = await people.store.message_receipts(conversation, people.alice, 2, "", 2)
    assert first == [MemberReceipt(others[0], True, True), MemberReceipt(others[1], True, False)]
    second = await people.store.message_receipts(conversation, people.alice, 2, first[-1].user, 2)
    assert second == [MemberReceipt(others[2], False, False)]


async def test_a_large_group_tells_no_single_receipts(people: People) -> None:
    """Whoever comes back is not told what a thousand others have read."""
    others = [new_id() for _ in range(RECEIPTS_EACH - 1)]
    conversation = await group(people, people.alice, *others)
    await receipt(people, conversation, others[0], 1, 0)
    assert [r.user for r in await people.store.receipts([], people.alice, 0)] == [others[0]]
    await change(people, conversation, joins=(people.bob,))
    assert await people.store.receipts([], people.alice, 0) == []
    assert await people.store.receipts([conversation], people.alice, 0) == []
    await change(people, conversation, leaves=(people.bob,))
    assert [r.user for r in await people.store.receipts([], people.alice, 0)] == [others[0]]
