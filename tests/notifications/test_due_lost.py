"""Who is due stands on a node that may lose it: it follows again from durable state."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from delivery.store.interface import Unavailable
from delivery.store.values import Flags, ReceiptWrite
from notifications.derived import AT_KEY, EVERY_MS, Derived
from notifications.due import Due
from tests.faults.engine import HOUR_MS
from tests.faults.rig import stays
from tests.gateway.phone import new_id
from tests.notifications.crowd import Crowd
from tests.support.patience import until
from whatsapp.infra import clock
from whatsapp.infra.limits import LIMITS

Off = Callable[..., None]

_STATE = """INSERT INTO notifications_pushstate (target_id, conversation, seq, shown, until, told_at)
VALUES (%s, %s, 1, 1, %s, 0)"""
_BADGE = "UPDATE notifications_pushtarget SET badge = 1, success_at = %s WHERE device_id = %s"


async def _told_nothing(crowd: Crowd) -> tuple[str, str, str]:
    """A message is ✓, its reader is absent and due; nobody has told the reader. Conversation, user, device."""
    here, _ = await crowd.process()
    # What one has written oneself is behind one's device too; that is no matter of who is found here.
    ann, ben = await crowd.person(target=False), await crowd.person()
    conversation = await crowd.world.direct(ann[0], ben[0])
    await (await here.seat(*ann)).say(conversation)
    await until(lambda: ben[0] in crowd.due(), "the reader is due")
    return conversation, *ben


async def test_after_a_flush_who_was_sent_something_lately_is_due_again(crowd: Crowd) -> None:
    _, user, _ = await _told_nothing(crowd)
    crowd.world.redis.flushall()
    await until(lambda: user in crowd.due(), "the replay of the outbox says so")


async def test_twin_a_replay_that_reports_nobody(crowd: Crowd, off: Off) -> None:
    _, user, device = await _told_nothing(crowd)
    off("push_report")
    crowd.world.redis.flushall()
    await until(lambda: crowd.world.redis.exists(f"{{{user}}}:dirty:{device}"), "it is marked again")
    await stays(lambda: not crowd.due(), "nobody is due", 1.0)


async def _derived(crowd: Crowd) -> Derived:
    hot = await crowd.hot()
    due = Due(hot, crowd.pool, crowd.submit)
    return Derived(crowd.world.store, hot, crowd.pool, due, new_id())


async def test_who_was_to_be_told_is_found_although_nobody_reports(crowd: Crowd, off: Off) -> None:
    conversation, user, device = await _told_nothing(crowd)
    off("push_report")  # as what is older than a replay
    crowd.world.redis.flushall()
    derived = await _derived(crowd)
    await until(lambda: derived.once(), "there is a pass")
    assert set(crowd.due()) == {user}
    assert not await derived.once()  # it has ended

    # Once the device was told, it is found no more.
    await _told(crowd, conversation, device)
    crowd.world.redis.flushall()
    await until(lambda: derived.once(), "a new epoch begins a pass")
    assert not crowd.due()


async def _told(crowd: Crowd, conversation: str, device: str, until: int = 0) -> None:
    """The device shows the message, which vanishes then, and one on its badge."""
    await crowd.execute(_STATE, device, conversation, until)
    await crowd.execute(_BADGE, clock.now_ms(), device)


async def _reads(crowd: Crowd, conversation: str, user: str) -> None:
    await crowd.world.store.save([], [ReceiptWrite(conversation, user, 1, 1)], clock.now_ms())


async def _reads_what_is_not_on_the_badge(crowd: Crowd, conversation: str, user: str) -> None:
    await _reads(crowd, conversation, user)
    await crowd.execute("UPDATE notifications_pushtarget SET badge = 0")


async def _mutes(crowd: Crowd, conversation: str, user: str) -> None:
    await crowd.world.store.set_flags(user, conversation, Flags(clock.now_ms() + HOUR_MS), clock.now_ms())


@pytest.mark.parametrize("changes", [_reads, _reads_what_is_not_on_the_badge, _mutes])
async def test_who_shows_what_is_not_so_any_more_is_found_although_nobody_reports(
    crowd: Crowd, off: Off, changes: Callable[[Crowd, str, str], Awaitable[None]]
) -> None:
    conversation, user, device = await _told_nothing(crowd)
    await _told(crowd, conversation, device)
    off("push_report")
    crowd.world.redis.flushall()
    derived = await _derived(crowd)
    await until(lambda: derived.once(), "there is a pass")
    assert not crowd.due()  # all is well
    await changes(crowd, conversation, user)
    crowd.world.redis.delete(AT_KEY)
    assert await derived.once()
    assert set(crowd.due()) == {user}


async def test_a_message_that_vanishes_is_found_although_its_time_was_lost(crowd: Crowd, off: Off) -> None:
    conversation, user, device = await _told_nothing(crowd)
    await _told(crowd, conversation, device, until=clock.now_ms() + HOUR_MS)
    off("push_report")
    crowd.world.redis.flushall()
    derived = await _derived(crowd)
    await until(lambda: derived.once(), "there is a pass")
    assert set(crowd.due()) == {user}


async def test_a_clock_that_was_ahead_stops_no_pass(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    await crowd.person()
    derived = await _derived(crowd)
    now = clock.now_ms()
    with monkeypatch.context() as wrong:
        wrong.setattr(clock, "now_ms", lambda: now + 24 * HOUR_MS)
        assert await derived.once()
        assert not await derived.once()
    assert await derived.once()


async def test_a_device_that_cannot_be_read_stops_no_pass(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its statements end at their time limit."""
    monkeypatch.setattr("notifications.derived.PAGE", 4)
    ann, people = await crowd.person(target=False), [await crowd.person() for _ in range(6)]
    for user, _ in people:
        await crowd.world.append(await crowd.world.direct(ann[0], user), *ann, new_id())
    heavy = people[2]

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(crowd.world.store, name)

        async def behind_each(self, asked: Sequence[tuple[str, str]]) -> Any:
            if heavy in asked:
                raise Unavailable("statement timeout")
            return await crowd.world.store.behind_each(asked)

    hot = await crowd.hot()
    derived = Derived(Slow(), hot, crowd.pool, Due(hot, crowd.pool, crowd.submit), new_id())  # type: ignore[arg-type]
    for _ in range(20):
        with contextlib.suppress(Unavailable):
            if not await derived.once():
                break
    assert set(crowd.due()) == {user for user, _ in people} - {heavy[0]}


async def test_twin_without_passes_nobody_is_found(crowd: Crowd, off: Off) -> None:
    _, user, device = await _told_nothing(crowd)
    off("push_report", "push_sweep")
    crowd.world.redis.flushall()
    derived = await _derived(crowd)
    running = asyncio.get_running_loop().create_task(derived.run())
    try:
        await until(lambda: crowd.world.redis.exists(f"{{{user}}}:dirty:{device}"), "it is marked again")
        await stays(lambda: not crowd.due(), "nobody is due", 2.5)
    finally:
        running.cancel()


async def test_a_pass_goes_on_where_it_was_and_begins_anew_in_a_while(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifications.derived.PAGE", 2)
    ann, people = await crowd.person(target=False), [await crowd.person() for _ in range(5)]
    for user, _ in people:
        conversation = await crowd.world.direct(ann[0], user)
        await crowd.world.append(conversation, *ann, new_id())
    first, second = await _derived(crowd), await _derived(crowd)
    assert await first.once()
    found = len(crowd.due())
    assert found < len(people)
    assert not await second.once()  # the first has the lease
    crowd.world.redis.delete("{push:pass}:lease")  # it has died
    while await second.once():
        pass
    assert set(crowd.due()) == {user for user, _ in people}

    crowd.world.redis.delete(*[f"{{push:{shard}}}:due" for shard in range(64)])
    assert not await second.once()
    now = clock.now_ms()
    monkeypatch.setattr(clock, "now_ms", lambda: now + EVERY_MS)
    assert await second.once()
    assert crowd.due()


async def test_who_is_connected_is_left_out_and_who_was_at_a_dead_process_is_not(crowd: Crowd) -> None:
    here, _ = await crowd.process()
    gone, _ = await crowd.process()
    ann, ben, cat = await crowd.person(target=False), await crowd.person(), await crowd.person()
    await here.seat(*ben)
    await gone.seat(*cat)
    for other in (ben, cat):
        await crowd.world.append(await crowd.world.direct(ann[0], other[0]), *ann, new_id())
    await gone.node.bus.stop()  # its heartbeat goes, the record of its session stays
    derived = await _derived(crowd)
    await until(lambda: derived.once(), "there is a pass")
    assert set(crowd.due()) == {cat[0]}


async def test_behind_a_new_epoch_nobody_is_told_before_sessions_are_opened_again(crowd: Crowd) -> None:
    here, due = await crowd.process()
    user, device = await crowd.person()
    due.devices([(user, device)])
    await due.drained()
    assert crowd.due()[user] <= clock.now_ms()
    epoch = here.hot.epoch
    crowd.world.redis.flushall()
    await until(lambda: here.hot.term and here.hot.epoch != epoch, "a new epoch is known")
    before = clock.now_ms()
    due.devices([(user, device)])
    await due.drained()
    assert crowd.due()[user] >= before + LIMITS.push_unacked_ms
