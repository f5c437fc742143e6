"""R2-R4: what a writer has stored can be marked again, by itself or by others, until it is done under the epoch of now."""

from __future__ import annotations

import asyncio
from typing import Any

from delivery.store.values import Outcome
from tests.contract.people import T0, People, new_id

MINUTE = 60_000


async def rows(people: People, epoch: str, now: int = T0, **options: Any) -> list[int]:
    return [row.row for row in await people.store.outbox(people.writer, epoch, now, **options)]


async def put(people: People, now: int = T0) -> int:
    return (await people.store.append(people.writer, [people.send()], now)).row


async def test_c1_a_batch_leaves_one_row_with_its_heads(people: People) -> None:
    other = await people.store.ensure_direct(people.alice, new_id(), new_id(), T0)
    sends = [
        people.send(),
        people.send(conversation=other),
        people.send(),
        people.send(conversation=new_id()),
    ]
    answer = await people.store.append(people.writer, sends, T0 + 3)
    (row,) = await people.store.outbox(people.writer, "e", T0 + 3)
    assert (row.writer, row.row, row.at) == (people.writer, answer.row, T0 + 3)
    assert sorted(row.heads) == sorted([(people.conversation, 2), (other, 1)])


async def test_a_batch_that_stores_nothing_leaves_no_row(people: People) -> None:
    one = people.send(seq_num=1)
    await people.store.append(people.writer, [one], T0)
    answer = await people.store.append(people.writer, [one, people.send(seq_num=3)], T0)
    assert answer.row == 0
    assert len(await rows(people, "e")) == 1


async def test_rows_of_a_writer_ascend_and_come_oldest_first(people: People) -> None:
    made = [await put(people, T0 + i) for i in range(5)]
    assert made == sorted(set(made))
    assert await rows(people, "e", T0 + 5) == made
    assert await rows(people, "e", T0 + 5, limit=2) == made[:2]
    assert await people.store.outbox(new_id(), "e", T0 + 5) == []


async def test_a_split_list_is_covered_by_its_last_row(people: People) -> None:
    one = people.send()
    answer = await people.store.append(people.writer, [one, one, people.send()], T0)
    assert (await rows(people, "e"))[-1] == answer.row


async def test_r2_progress_counts_under_its_epoch_only(people: People) -> None:
    made = [await put(people) for _ in range(4)]
    await people.store.outbox_done(people.writer, "e1", made[1], T0)
    assert await rows(people, "e1") == made[2:]
    assert await rows(people, "e2") == made, "a new epoch replays the window"
    await people.store.outbox_done(people.writer, "e2", made[3], T0)
    assert await rows(people, "e2") == []
    assert await rows(people, "e1") == made[2:]


async def test_r2_a_watermark_never_goes_back(people: People) -> None:
    made = [await put(people) for _ in range(3)]
    await people.store.outbox_done(people.writer, "e", made[1], T0)
    await people.store.outbox_done(people.writer, "e", made[0], T0)
    assert await rows(people, "e") == made[2:]


async def test_r2_without_progress_the_window_and_what_nobody_has_done(people: People) -> None:
    old = [await put(people, T0 + i) for i in range(4)]
    young = [await put(people, T0 + 30 * MINUTE)]
    now = T0 + 35 * MINUTE
    assert await rows(people, "e", now) == old + young, "nothing is done under any epoch: all of it is open"
    await people.store.outbox_done(people.writer, "e0", old[2], T0)
    await people.store.outbox_done(people.writer, "e1", old[1], T0)
    assert await rows(people, "e2", now) == old[3:] + young
    await people.store.outbox_done(people.writer, "e1", young[0], now)
    assert await rows(people, "e2", now) == young, "done ones only within the window"
    assert await rows(people, "e2", now + 60 * MINUTE) == []


async def test_rows_older_than_two_hours_are_nobodys(people: People) -> None:
    row = await put(people, T0)
    assert await rows(people, "e", T0 + 120 * MINUTE) == [row]
    assert await rows(people, "e", T0 + 120 * MINUTE + 1) == []


async def test_r4_v2_a_late_commit_of_a_killed_writer_is_found(people: People, harness: Any) -> None:
    """The sweep asked, found nothing and went on; then the dead writer's statement commits."""
    async with harness.held(people.conversation):
        late = asyncio.create_task(people.store.append(people.writer, [people.send()], T0))
        await harness.waiting()
        sweeper = await harness.gateway()
        assert await sweeper.outbox(people.writer, "e", T0) == []
    answer = await late
    assert answer.results[0].outcome is Outcome.STORED
    assert [row.row for row in await sweeper.outbox(people.writer, "e", T0)] == [answer.row]


async def test_r4_writers_stay_on_the_list_as_long_as_their_rows(people: People) -> None:
    await put(people, T0)
    await put(people, T0 + 10)
    silent = new_id()
    for now, there in ((T0 + 10, True), (T0 + 10 + 120 * MINUTE, True), (T0 + 11 + 120 * MINUTE, False)):
        writers = await people.store.outbox_writers(now)
        assert (people.writer in writers) is there
        assert silent not in writers
        assert len(writers) == len(set(writers))


async def test_r4_writers_with_something_open_are_those_whose_rows_are_asked_for(people: People) -> None:
    """Each minute of some hours, under an epoch with a watermark and under one without."""

    async def agree(now: int, *epochs: str) -> None:
        for epoch in epochs:
            listed = people.writer in await people.store.outbox_writers(now, epoch)
            assert listed is bool(await rows(people, epoch, now)), (now - T0, epoch)

    first, last = await put(people, T0), await put(people, T0 + 4 * MINUTE)
    for done in (0, first, last):
        if done:
            await people.store.outbox_done(people.writer, "e", done, T0)
        for minutes in (4, 9, 10, 11, 13, 14, 15, 60, 119, 120, 123, 124, 125):
            await agree(T0 + minutes * MINUTE, "e", "another")
            await agree(T0 + minutes * MINUTE + 1, "e", "another")


async def test_trim_deletes_rows_and_progress_by_age(people: People) -> None:
    """Ages far below those of the other tests; what is older yet, of tests of the retention, goes first."""
    past = T0 // 2 - 50 * 24 * 60 * MINUTE  # between those of the retention and those of what vanishes
    while await people.store.trim_outbox(past):
        pass
    made = [await put(people, past + i * 40 * MINUTE) for i in range(5)]  # 0 … 160 minutes
    await people.store.outbox_done(people.writer, "old", made[0], past)
    await people.store.outbox_done(people.writer, "new", made[1], past + 100 * MINUTE)
    now = past + 161 * MINUTE
    assert await people.store.trim_outbox(now) == 2
    assert await people.store.trim_outbox(now) == 0
    assert await rows(people, "new", now) == made[2:]
    assert await rows(people, "third", now) == made[2:]
    assert people.writer in await people.store.outbox_writers(now)
    assert await people.store.trim_outbox(now + 120 * MINUTE) == 3
    assert people.writer not in await people.store.outbox_writers(now)
