"""Who is due: the message path says who has no session, and waits for nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest

from delivery.absent import CHANGES_MS, report_events
from delivery.lanes import lane_of
from delivery.ports import Absent
from delivery.store.values import Change, DeviceRow, Logged
from notifications.due import Due
from tests.gateway.phone import new_id
from tests.notifications.crowd import Crowd
from tests.support.patience import until
from whatsapp.infra import clock
from whatsapp.infra.limits import LIMITS

Off = Callable[..., None]


async def test_a_device_without_a_session_is_due_at_once_and_nobody_else(crowd: Crowd) -> None:
    here, due = await crowd.process()
    ann, ben, cat = [await crowd.person() for _ in range(3)]
    await crowd.another(ann[0])  # has no session either, and hears nothing of what its own user writes
    there = await here.seat(*cat)
    for other in (ben, cat):
        conversation = await crowd.world.direct(ann[0], other[0])
        await (await here.seat(*ann)).say(conversation)
    before = clock.now_ms()
    await until(lambda: crowd.due(), "somebody is due")
    await there.has(conversation, [1])
    await due.drained()
    assert set(crowd.due()) == {ben[0]}
    assert crowd.due()[ben[0]] <= before + 1_000
    assert crowd.submitted


async def test_twin_who_is_not_reported_is_not_due(crowd: Crowd, off: Off) -> None:
    off("push_report")
    here, due = await crowd.process()
    ann, ben = await crowd.person(), await crowd.person()
    conversation = await crowd.world.direct(ann[0], ben[0])
    await (await here.seat(*ann)).say(conversation)
    await until(lambda: _marked(crowd, ben, conversation), "it is marked")
    await here.node.fanout.drained()
    await due.drained()
    assert not crowd.due()


def _marked(crowd: Crowd, who: tuple[str, str], conversation: str) -> bool:
    user, device = who
    return crowd.world.redis.zscore(f"{{{user}}}:dirty:{device}", conversation) is not None


async def test_members_of_a_group_are_due_by_the_worker_of_its_lane(crowd: Crowd) -> None:
    worker = await crowd.world.lane_worker()
    worker.lanes.absent = Due(worker.bus.hot, crowd.pool, crowd.submit)
    here, _ = await crowd.process(submit_lane=worker.submit)
    people = [await crowd.person() for _ in range(4)]
    conversation = new_id()
    await crowd.world.store.create_group(conversation, clock.now_ms())
    joined = Change(new_id(), "member_added", b"\x80", joins=tuple(user for user, _ in people))
    await crowd.world.store.change(new_id(), conversation, people[0][0], [joined], clock.now_ms())
    ann, ben = await here.seat(*people[0]), await here.seat(*people[1])
    await ann.say(conversation)
    await ben.has(conversation, [1, 2])
    await until(lambda: len(crowd.due()) == 2, "both who are absent are due")
    assert set(crowd.due()) == {people[2][0], people[3][0]}
    assert worker.submitted[0][0] == lane_of(conversation)


async def test_who_is_reached_by_nothing_is_not_due_until_it_is(crowd: Crowd) -> None:
    here, due = await crowd.process()
    ann, ben = await crowd.person(), await crowd.person(target=False)
    conversation = await crowd.world.direct(ann[0], ben[0])
    seat = await here.seat(*ann)
    await seat.say(conversation)
    await until(lambda: _marked(crowd, ben, conversation), "it is marked")
    await here.node.fanout.drained()
    await due.drained()
    assert not crowd.due()

    await crowd.target(ben[1])
    here.node._devices_changed(ben[0])  # as the bus says
    await seat.say(conversation)
    await until(lambda: ben[0] in crowd.due(), "it is due")


async def test_what_is_not_acknowledged_for_long_is_due(crowd: Crowd) -> None:
    here, due = await crowd.process()
    ann, ben, cat = [await crowd.person() for _ in range(3)]
    silent, awake = await here.seat(*ben), await here.seat(*cat)
    silent.screen.acking = False
    seat = await here.seat(*ann)
    for seated, who in ((silent, ben), (awake, cat)):
        conversation = await crowd.world.direct(ann[0], who[0])
        await seat.say(conversation)
        await seated.has(conversation, [1])
    await until(lambda: awake.session.acked.get(conversation) == 1, "who is awake acknowledges")
    unacked = here.node.live.unacked
    assert unacked is not None
    for _ in range(LIMITS.push_unacked_ms // 1_000):
        unacked.turn()
    await due.drained()
    assert not crowd.due()  # 4 to 5 seconds
    unacked.turn()
    await until(lambda: ben[0] in crowd.due(), "who is silent is due")
    assert set(crowd.due()) == {ben[0]}


async def test_a_reading_concerns_the_other_devices_that_are_absent(crowd: Crowd) -> None:
    here, due = await crowd.process()
    ann, ben, cat = [await crowd.person() for _ in range(3)]
    await crowd.another(ben[0])
    await crowd.another(cat[0], target=False)
    seat = await here.seat(*ann)
    readers = [await here.seat(*ben), await here.seat(*cat)]
    for reader, (user, _) in zip(readers, (ben, cat), strict=True):
        conversation = await crowd.world.direct(ann[0], user)
        await seat.say(conversation)
        await reader.has(conversation, [1])
    await here.node.fanout.drained()
    await due.drained()
    assert set(crowd.due()) == {ben[0]}  # the message itself
    crowd.world.redis.flushdb()
    for reader, (user, _) in zip(readers, (ben, cat), strict=True):
        here.node.receipts.read(reader.session, await crowd.world.direct(ann[0], user), 1)
    before = clock.now_ms()
    await here.node.receipts.flush()
    await until(lambda: ben[0] in crowd.due(), "the other device is to be told")
    assert cat[0] not in crowd.due()
    assert before + CHANGES_MS - 1_000 < crowd.due()[ben[0]] <= clock.now_ms() + CHANGES_MS


async def test_who_has_a_session_at_a_dead_process_is_due_in_a_while(crowd: Crowd) -> None:
    here, _ = await crowd.process()
    gone, _ = await crowd.process()
    ann, ben = await crowd.person(), await crowd.person()
    await gone.seat(*ben)
    await gone.node.bus.hot.stop()  # nobody listens, and the record stays
    conversation = await crowd.world.direct(ann[0], ben[0])
    before = clock.now_ms()
    await (await here.seat(*ann)).say(conversation)
    await until(lambda: ben[0] in crowd.due(), "it is looked whether it has it")
    assert crowd.due()[ben[0]] >= before + LIMITS.push_unacked_ms


async def test_what_the_hot_node_does_not_take_is_written_when_it_is_back(crowd: Crowd) -> None:
    wire = await crowd.world.wire(crowd.world.hot_url)
    hot = await crowd.hot(wire.url)
    due = Due(hot, crowd.pool, crowd.submit)
    (user, device), (other, _) = await crowd.person(), await crowd.person()
    wire.away()
    await until(lambda: not hot.available, "the hot node is away")
    due.devices([(user, device)])
    await due.drained()
    assert not crowd.due()
    wire.back()
    await until(lambda: user in crowd.due(), "it is written")
    assert other not in crowd.due()


@pytest.mark.parametrize("elsewhere", [True, False])
async def test_who_closes_a_session_while_a_message_is_on_its_way_is_due_in_a_while(
    crowd: Crowd, elsewhere: bool
) -> None:
    here, _ = await crowd.process()
    there, _ = await crowd.process()
    ann, ben = await crowd.person(), await crowd.person()
    seat = await there.seat(*ben)
    conversation = await crowd.world.direct(ann[0], ben[0])
    there.node.hub.remove(seat.session)  # it is closed, and its record stands for a moment longer
    before = clock.now_ms()
    await (await (here if elsewhere else there).seat(*ann)).say(conversation)
    await until(lambda: ben[0] in crowd.due(), "it is looked whether it has it")
    assert crowd.due()[ben[0]] >= before + LIMITS.push_unacked_ms


async def test_another_device_at_the_same_gateway_hides_nobody(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, _ = await crowd.process()
    there, _ = await crowd.process()
    ann, ben = await crowd.person(), await crowd.person()
    seat = await there.seat(*ben)
    desk = await there.seat(ben[0], await crowd.another(ben[0], target=False))
    conversation = await crowd.world.direct(ann[0], ben[0])
    writer = await here.seat(*ann)
    with monkeypatch.context() as slow:
        waiting = SimpleNamespace(add=lambda session: None)  # what is to be removed
        slow.setattr(there.node.sessions, "_unregister", waiting)
        seat.leave()
    await writer.say(conversation)
    await until(lambda: ben[0] in crowd.due(), "it is looked whether the phone has it")
    await desk.has(conversation, [1])
    there.node.sessions._unregister.add(seat.session)
    await until(lambda: not there.node.hub.leaving, "its record is removed")


async def test_members_who_close_a_session_meanwhile_are_due_in_a_while(crowd: Crowd) -> None:
    worker = await crowd.world.lane_worker()
    here, _ = await crowd.process(submit_lane=worker.submit)
    ann, ben = await crowd.person(), await crowd.person()
    conversation = new_id()
    await crowd.world.store.create_group(conversation, clock.now_ms())
    joined = Change(new_id(), "member_added", b"\x80", joins=(ann[0], ben[0]))
    await crowd.world.store.change(new_id(), conversation, ann[0], [joined], clock.now_ms())
    writer, reader = await here.seat(*ann), await here.seat(*ben)
    here.node.hub.remove(reader.session)
    before = clock.now_ms()
    await writer.say(conversation)
    await until(lambda: ben[0] in crowd.due(), "it is looked whether it has it")
    assert crowd.due()[ben[0]] >= before + LIMITS.push_unacked_ms


async def test_a_gateway_that_ends_loses_no_report(crowd: Crowd) -> None:
    """Who has not acknowledged, and who was reported a moment ago."""
    here, _ = await crowd.process()
    gone, due = await crowd.process()
    ann, ben, cat, dan = [await crowd.person() for _ in range(4)]
    silent, awake = await gone.seat(*ben), await gone.seat(*dan)
    silent.screen.acking = False
    seat = await here.seat(*ann)
    for seated, who in ((silent, ben), (awake, dan)):
        conversation = await crowd.world.direct(ann[0], who[0])
        await seat.say(conversation)
        await seated.has(conversation, [1])
    await until(lambda: awake.session.acked.get(conversation) == 1, "who is awake acknowledges")
    before = clock.now_ms()
    due.devices([cat])
    await gone.stop()
    assert set(crowd.due()) == {ben[0], cat[0]}
    # It may be on its way to another gateway.
    assert crowd.due()[ben[0]] >= before + LIMITS.push_unacked_ms


async def test_an_earlier_time_counts(crowd: Crowd) -> None:
    due = await crowd.reporter()
    user, device = await crowd.person()
    due.users([user], 60_000)
    await due.drained()
    late = crowd.due()[user]
    due.devices([(user, device)])
    await due.drained()
    early = crowd.due()[user]
    assert early < late
    due.users([user], 60_000)
    await due.drained()
    assert crowd.due()[user] == early


async def test_reports_while_postgresql_is_away_are_not_lost(crowd: Crowd) -> None:
    due = await crowd.reporter()
    user, device = await crowd.person(target=False)  # which cannot be known then
    await crowd.pool.close()
    due.devices([(user, device)])
    await due.drained()
    assert user in crowd.due()


class _Heard:
    """What a fan-out reports."""

    def __init__(self) -> None:
        self.found: list[tuple[list[tuple[str, str]], int]] = []

    def devices(self, devices: Sequence[tuple[str, str]], wait_ms: int = 0) -> None:
        self.found.append((list(devices), wait_ms))

    def users(self, users: Sequence[str], wait_ms: int = 0) -> None: ...

    def unheard(self, users: Sequence[str]) -> None: ...

    def forget(self, user: str) -> None: ...

    async def drained(self) -> None: ...


@pytest.mark.parametrize(
    ("kinds", "told", "waits"),
    [
        (["text"], True, 0),
        (["delete"], True, CHANGES_MS),
        (["edit"], True, CHANGES_MS),
        (["reaction"], False, 0),
        (["vote"], False, 0),
        (["reaction", "image"], True, 0),
    ],
)
def test_what_is_worth_a_look(kinds: list[str], told: bool, waits: int) -> None:
    heard = _Heard()
    port: Absent = heard
    events = [Logged("c", seq, 1, "ann", "a1", "m", kind, b"", 0, 0) for seq, kind in enumerate(kinds, 1)]
    devices = {user: [DeviceRow(f"{user}1", 0), DeviceRow(f"{user}2", 0)] for user in ("ann", "ben", "cat")}
    sessions = {"ann": {"ann1"}, "ben": {"ben1"}, "cat": set()}
    users = ["ann", "ben", "cat"]
    away = {"cat": None}
    report_events(port, [(events, users)], devices, lambda user: None if user in away else sessions[user])
    messages = [kind for kind in kinds if kind not in ("delete", "edit", "reaction", "vote")]
    wanted = [("ben", "ben2")] if messages else [("ann", "ann2"), ("ben", "ben2")]
    assert heard.found == ([(wanted, waits)] if told else [])


async def test_a_failing_port_does_not_disturb_the_message_path(crowd: Crowd) -> None:
    class Broken(_Heard):
        def devices(self, devices: Sequence[tuple[str, str]], wait_ms: int = 0) -> None:
            self.found.append((list(devices), wait_ms))
            raise RuntimeError("broken")

    broken = Broken()
    here = await crowd.world.process()
    here.node.report_absent(broken)
    ann, ben = await crowd.person(), await crowd.person()
    conversation = await crowd.world.direct(ann[0], ben[0])
    seat = await here.seat(*ann)
    assert [await seat.say(conversation) for _ in range(2)] == [1, 2]
    await until(lambda: broken.found, "it was asked")
    await until(lambda: _marked(crowd, ben, conversation), "it is marked")
    assert here.node.fanout.progress.broken_for_ms == 0
