"""Blocks: what is withheld is owed to its sender alone, for ever, and counts nowhere for who has blocked."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from delivery.store.values import Behind, Outcome, PageRequest, Position, PositionWrite, ReceiptWrite
from tests.contract.people import T0, People, new_id, read_all, seqs


class Pair(People):
    """Alice writes, Bob blocks her."""

    async def block(self, on: bool = True) -> str:
        return await self.store.withhold(self.bob, self.alice, on, T0)

    async def said(self, user: str) -> list[tuple[int, bytes | None]]:
        return [(event.seq, event.content) for event in await self.read(user)]

    async def answer(self, *bodies: bytes) -> list[int]:
        sends = [self.send(sender=self.bob, device=self.tablet, body=body) for body in bodies]
        return [result.seq for result in await self.append(*sends)]

    async def edit(self, target: str, kind: str, body: bytes = b"") -> Any:
        (result,) = await self.append(self.amend(target, kind, body))
        return result

    async def listed(self, user: str) -> Any:
        (one,) = await self.store.listed(user, 10)
        return one

    async def head(self, user: str, device: str) -> int:
        return (await self.store.positions(user, device, [self.conversation]))[self.conversation].head


async def meet(harness: Any) -> Pair:
    pair = Pair(harness.store)
    await pair.meet()
    return pair


async def test_withheld_from_the_block_to_its_end(harness: Any) -> None:
    pair = await meet(harness)
    assert await pair.say(b"1", b"2") == [1, 2]
    assert await pair.block() == pair.conversation
    results = await pair.append(pair.send(body=b"3"), pair.send(body=b"4"))
    assert [(r.outcome, r.seq, r.withheld) for r in results] == [
        (Outcome.STORED, 3, True),
        (Outcome.STORED, 4, True),
    ]
    await pair.answer(b"5")
    await pair.say(b"6")
    await pair.block(False)
    (seventh,) = await pair.append(pair.send(body=b"7"))
    assert not seventh.withheld
    await pair.block()
    await pair.say(b"8")
    for _ in range(2):
        assert await pair.said(pair.bob) == [(1, b"1"), (2, b"2"), (5, b"5"), (7, b"7")]
        assert seqs(await pair.read(pair.alice)) == [1, 2, 3, 4, 5, 6, 7, 8]
        page = await pair.store.history(pair.conversation, pair.bob, 0, 1 << 40, 10)
        assert (seqs(page.events), page.through, page.head) == ([1, 2, 5, 7], 7, 7)
        await pair.block(False)  # reveals nothing


async def test_counts_nowhere(harness: Any) -> None:
    pair = await meet(harness)
    await pair.say(b"1")
    await pair.block()
    for _ in range(3):  # one batch and more, with retries and mentions
        first = pair.send(mentions=[pair.bob])
        await pair.append(first, first, pair.send())
        await pair.append(first, pair.send())
    for user, unread, last, head in ((pair.bob, 1, 1, 1), (pair.alice, 0, 10, 10)):
        if user == pair.alice:
            # As of anybody's own messages, until it is written that they are read.
            assert (await pair.listed(user)).unread == 10
            assert await pair.store.badges([user], T0) == {user: 10}
            await pair.store.save([], [ReceiptWrite(pair.conversation, user, sent=10)], T0)
        listed = await pair.listed(user)
        assert (listed.unread, listed.mentioned, listed.last.seq, listed.head) == (unread, 0, last, head)
        assert await pair.store.badges([user], T0) == {user: unread}
    await pair.store.set_flags(
        pair.bob,
        pair.conversation,
        (await pair.store.flags(pair.bob, pair.conversation)).flags._replace(archived=True),
        T0,
    )
    assert await pair.store.badges([pair.bob], T0) == {pair.bob: 0}  # no mention pierces
    await pair.store.save([PositionWrite(pair.tablet, pair.conversation, 1)], [], T0)
    assert await pair.store.behind(pair.bob, pair.tablet) == []
    assert (await pair.store.positions(pair.bob, pair.tablet, [pair.conversation]))[
        pair.conversation
    ] == Position(1, 1)
    assert await pair.store.withheld_after([pair.conversation]) == {(pair.conversation, pair.bob): (1, 10)}
    await pair.block(False)
    assert (await pair.listed(pair.bob)).unread == 1
    await pair.say(b"11", b"12")
    assert (await pair.listed(pair.bob)).unread == 3
    assert [b.head for b in await pair.store.behind(pair.bob, pair.tablet)] == [12]
    assert seqs(await pair.read(pair.bob, after=1)) == [11, 12]


async def test_the_history_of_a_new_device_holds_nothing_that_is_withheld(harness: Any) -> None:
    pair = await meet(harness)
    await pair.say(b"1")
    await pair.block()
    await pair.say(b"2", b"3")
    while_blocked = new_id()
    await pair.store.link_device(pair.bob, while_blocked, T0, 1)
    assert await pair.store.behind(pair.bob, while_blocked) == [Behind(pair.conversation, 1, 0)]
    assert seqs(await pair.read(pair.bob)) == [1]
    await pair.block(False)
    await pair.say(b"4")
    afterwards = new_id()
    await pair.store.link_device(pair.bob, afterwards, T0, 1)
    for device in (while_blocked, afterwards):
        assert await pair.store.behind(pair.bob, device) == [Behind(pair.conversation, 4, 0)]
    assert seqs(await pair.read(pair.bob)) == [1, 4]


async def test_from_the_first_message(harness: Any) -> None:
    pair = await meet(harness)
    await pair.block()
    await pair.say(b"1", b"2")
    assert await pair.said(pair.bob) == []
    listed = await pair.listed(pair.bob)
    assert (listed.head, listed.unread, listed.last) == (0, 0, None)
    (page,) = await pair.store.pages([PageRequest(pair.conversation, pair.bob, 0)])
    assert (page.events, page.through, page.head) == ([], 0, 0)
    await pair.store.link_device(pair.bob, other := new_id(), T0)
    assert await pair.store.behind(pair.bob, other) == []


async def test_both_block_each_other(harness: Any) -> None:
    pair = await meet(harness)
    await pair.block()
    await pair.store.withhold(pair.alice, pair.bob, True, T0)
    await pair.say(b"1")
    await pair.answer(b"2")
    await pair.say(b"3")
    assert seqs(await pair.read(pair.alice)) == [1, 3]
    assert seqs(await pair.read(pair.bob)) == [2]
    assert (await pair.listed(pair.alice)).head == 3
    assert (await pair.listed(pair.bob)).head == 2
    await pair.block(False)
    await pair.say(b"4")
    await pair.answer(b"5")
    assert seqs(await pair.read(pair.alice)) == [1, 3, 4]
    assert seqs(await pair.read(pair.bob)) == [2, 4, 5]


async def test_no_conversation_and_groups(harness: Any) -> None:
    a, b = new_id(), new_id()
    assert await harness.store.withhold(a, b, True, T0) == ""
    pair = await meet(harness)
    group = await harness.group(pair.alice, pair.bob)
    await pair.block()
    (said,) = await pair.append(pair.send(conversation=group))
    assert not said.withheld
    assert seqs(await pair.read(pair.bob, conversation=group)) == [1]
    assert await pair.store.silent([pair.alice, pair.bob, a]) == {
        pair.alice: frozenset([pair.conversation]),
        pair.bob: frozenset([pair.conversation]),
        a: frozenset(),
    }


async def test_the_rest_of_a_batch_is_as_always(harness: Any) -> None:
    pair, other = await meet(harness), await meet(harness)
    await pair.block()
    first = other.send()
    await pair.append(first)
    # One is a retry: the batch is judged send by send.
    for mixed in ([other.send(), pair.send(), other.send()], [first, pair.send(), other.send(), pair.send()]):
        results = await pair.append(*mixed)
        assert [r.withheld for r in results] == [one.conversation == pair.conversation for one in mixed]
    assert seqs(await other.read(other.bob)) == [1, 2, 3, 4]
    assert (await other.listed(other.bob)).unread == 4
    assert await pair.said(pair.bob) == []
    retry = pair.send()
    (stored,), (again,) = await pair.append(retry), await pair.append(retry)
    assert (stored.withheld, again.outcome, again.seq) == (True, Outcome.DUPLICATE, stored.seq)


async def test_edits_of_earlier_messages(harness: Any) -> None:
    """The other user keeps what was said; the sender reads what it would read of somebody who is offline."""
    pair, free = await meet(harness), await meet(harness)
    for one, blocks in ((pair, True), (free, False)):
        message = one.send(body=b"first")
        await one.append(message)
        await one.edit(message.message_id, "edit", b"second")
        if blocks:
            await one.block()
        for body in (b"third", b"fourth"):
            assert (await one.edit(message.message_id, "edit", body)).withheld is blocks
        own = await one.read(one.alice)
        assert [(e.seq, e.kind, e.content, e.edited) for e in own] == [
            (1, "text", b"fourth", True),
            (4, "edit", b"fourth", False),
        ]
        page = await one.store.history(one.conversation, one.alice, 0, 1 << 40, 10)
        assert page.events == own
        theirs = [(e.seq, e.content, e.edited) for e in await one.read(one.bob)]
        assert theirs == ([(1, b"second", True), (2, b"second", False)] if blocks else [
            (1, b"fourth", True), (4, b"fourth", False)])  # fmt: skip
        await one.block(False)
        assert [(e.seq, e.content, e.edited) for e in await one.read(one.bob)] == theirs
        # What is not withheld any more is for both, and takes the place of all before.
        await one.edit(message.message_id, "edit", b"fifth")
        for user in (one.alice, one.bob):
            assert [(e.seq, e.content) for e in await one.read(user)] == [(1, b"fifth"), (5, b"fifth")]


async def test_reactions(harness: Any) -> None:
    pair = await meet(harness)
    message = pair.send(body=b"hm")
    await pair.append(message)
    await pair.edit(message.message_id, "reaction", b"a")
    await pair.block()
    await pair.edit(message.message_id, "reaction", b"b")
    assert await pair.said(pair.alice) == [(1, b"hm"), (3, b"b")]
    assert await pair.said(pair.bob) == [(1, b"hm"), (2, b"a")]
    assert (await pair.edit(message.message_id, "reaction", b"")).withheld
    assert await pair.said(pair.alice) == [(1, b"hm"), (4, b"")]
    assert (await pair.edit(message.message_id, "reaction", b"")).outcome is Outcome.NO_TARGET
    await pair.block(False)
    assert await pair.said(pair.bob) == [(1, b"hm"), (2, b"a")]
    await pair.edit(message.message_id, "reaction", b"c")
    for user in (pair.alice, pair.bob):
        assert await pair.said(user) == [(1, b"hm"), (5, b"c")]


async def test_a_delete_empties_what_is_stored(harness: Any) -> None:
    """Who deletes wants it gone from the server: its word does not depend on a block. The other user is not told."""
    pair = await meet(harness)
    message = pair.send(body=b"secret")
    await pair.append(message)
    await pair.block()
    await pair.edit(message.message_id, "edit", b"other")
    assert (await pair.edit(message.message_id, "delete")).withheld
    assert await pair.said(pair.alice) == [(1, None), (3, b"")]
    assert await pair.said(pair.bob) == [(1, None)]
    assert not {b"secret", b"other"} & {*await harness.contents(pair.conversation)}


async def test_what_is_withheld_stays_so_with_all_about_it(harness: Any) -> None:
    pair = await meet(harness)
    await pair.block()
    message = pair.send(body=b"secret")
    await pair.append(message)
    await pair.block(False)
    for kind, body in (("edit", b"still secret"), ("reaction", b"a"), ("delete", b"")):
        assert (await pair.edit(message.message_id, kind, body)).withheld, kind
        assert await pair.said(pair.bob) == []
    await pair.say(b"5")
    assert await pair.said(pair.bob) == [(5, b"5")]
    # The other user cannot say anything about it, or find out that it is there.
    asked = (pair.conversation, pair.bob, message.message_id)
    unknown = (pair.conversation, pair.bob, new_id())
    mine = (pair.conversation, pair.alice, message.message_id)
    assert await pair.store.knows([asked, unknown, mine]) == [False, False, True]
    about = pair.amend(message.message_id, "reaction", b"x", sender=pair.bob, device=pair.tablet)
    assert (await pair.append(about))[0].outcome is Outcome.NO_TARGET


async def test_receipts_stand_still(harness: Any) -> None:
    """Each is shown what it was shown; then all that was acknowledged meanwhile."""
    pair = await meet(harness)
    await pair.say(b"1", b"2")
    c = pair.conversation
    message = (await pair.read(pair.alice))[1].message_id
    await pair.store.save([], [ReceiptWrite(c, pair.bob, delivered=1, read=1)], T0 + 1)
    await pair.block()

    async def shown(user: str, since: int = 0) -> list[tuple[str, int, int]]:
        found = await pair.store.receipts([], user, since)
        return [(r.user, r.delivered, r.read) for r in found if r.user != user]

    await pair.store.save(
        [],
        [
            ReceiptWrite(c, pair.bob, delivered=2, read=2),
            ReceiptWrite(c, pair.alice, delivered=2, read=2),
        ],
        T0 + 100,
    )
    assert await shown(pair.alice) == [(pair.bob, 1, 1)]
    assert await shown(pair.alice, T0 + 50) == []
    assert await shown(pair.bob) == []
    seq = await pair.store.find(c, message)
    (receipt,) = await pair.store.message_receipts(c, pair.alice, seq, "", 10)
    assert not receipt.delivered
    assert not receipt.read
    assert (await pair.listed(pair.bob)).read == 2  # one's own
    await pair.block()  # again: nothing new is frozen
    await pair.store.withhold(pair.bob, pair.alice, False, T0 + 200)
    assert await shown(pair.alice, T0 + 150) == [(pair.bob, 2, 2)]
    assert await shown(pair.bob, T0 + 150) == [(pair.alice, 2, 2)]


async def test_appends_beside_blocks(harness: Any) -> None:
    """Each event is withheld or not as the order of the locks has it: what the append said is what every reader gets."""
    pair = await meet(harness)
    gates = [await harness.gateway() for _ in range(3)]
    told: dict[int, bool] = {}
    toggles: list[tuple[int, bool]] = []

    async def write(store: Any) -> None:
        for _ in range(30):
            sends = [pair.send() for _ in range(random.randint(1, 3))]
            for result in (await store.append(new_id(), sends, T0)).results:
                told[result.seq] = result.withheld

    async def toggle(store: Any) -> None:
        for turn in range(12):
            await store.withhold(pair.bob, pair.alice, turn % 2 == 0, T0)
            before = len(told)
            while len(told) < before + 4 and not all(one.done() for one in writing):
                await asyncio.sleep(0.001)  # something is said in between
            heads = await store.conversations([pair.conversation])
            toggles.append((heads[pair.conversation].head, turn % 2 == 0))

    writing = [asyncio.create_task(write(store)) for store in gates[:2]]
    await asyncio.gather(*writing, toggle(gates[2]))
    assert sorted(told) == list(range(1, len(told) + 1))
    assert {True, False} <= set(told.values())
    visible = [seq for seq in sorted(told) if not told[seq]]
    assert seqs(await read_all(harness.store, pair.conversation, pair.bob, limit=7)) == visible
    assert seqs(await pair.read(pair.alice)) == sorted(told)
    assert (await pair.listed(pair.bob)).unread == len(visible)
    assert await pair.head(pair.bob, pair.tablet) == visible[-1]
    runs = sum(1 for seq in sorted(told) if told[seq] and not told.get(seq - 1))
    assert runs <= 6


async def test_the_floor_passes(harness: Any) -> None:
    pair = await meet(harness)
    # A day of its own: what others expire they do not look at again.
    past = T0 - random.randrange(1_000, 10_000) * 86_400_000
    await pair.say(b"1", now=past)
    await pair.block()
    await pair.say(b"2", b"3", now=past)
    later = past + 40 * 86_400_000
    while await harness.store.expire(later, 30 * 86_400_000):
        pass
    (page,) = await pair.store.pages([PageRequest(pair.conversation, pair.bob, 0)])
    assert (page.events, page.head, page.floor) == ([], 1, 3)
    assert (await pair.listed(pair.bob)).unread == 0
    await pair.append(pair.send(), now=later)
    await pair.block(False)
    await pair.append(pair.send(), now=later)
    assert seqs(await pair.read(pair.bob)) == [5]
    assert (await pair.listed(pair.bob)).unread == 1
