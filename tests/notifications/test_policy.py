"""What devices are sent, over real stores: who is told of what, what is taken back, and what is never said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from delivery.store.values import Flags
from notifications.keys import collapse_key
from notifications.policy import Policy
from notifications.senders.interface import Urgency
from tests.contract.people import T0, new_id
from tests.notifications.world import HOUR, Phone, World
from whatsapp.infra.limits import LIMITS

UNACKED = 5_000
FOR_EVER = 1 << 50


@pytest.fixture
def world(each_world: World) -> World:
    return each_world


@pytest.fixture
async def ann(world: World) -> Phone:
    return await world.person()


@pytest.fixture
async def bob(world: World) -> Phone:
    return await world.person()


@pytest.fixture
async def talk(world: World, ann: Phone, bob: Phone) -> str:
    """A direct conversation of Ann and Bob. Bob is the one who is told."""
    return await world.direct(ann.user, bob.user)


def urgencies(phone: Phone) -> list[Urgency]:
    return [push.urgency for push in phone.new()]


async def test_an_absent_device_is_told_once(world: World, ann: Phone, bob: Phone, talk: str) -> None:
    await world.say(talk, ann.user)
    seq = await world.say(talk, ann.user, body=b"second")
    await world.settle(ann, bob)
    assert ann.new() == []
    (push,) = bob.new()
    assert (push.urgency, push.badge, push.collapse) == (Urgency.MESSAGE, 2, collapse_key(bob.id, talk))
    assert push.ttl_s == LIMITS.push_oldest_ms // 1000
    said = json.loads(push.content or b"")
    frame = said.pop("frame")
    assert said == {
        "type": "message", "conversationId": talk, "messageId": world.last_id, "seq": seq,
        "senderId": ann.user, "count": 2,
    }  # fmt: skip
    assert (frame["type"], frame["seq"], frame["senderId"]) == ("message", seq, ann.user)
    await world.settle(ann, bob)
    assert bob.new() == []


async def test_what_is_sent_again_is_the_same(world: World, ann: Phone, bob: Phone, talk: str) -> None:
    """A worker that died between the provider and the database."""
    await world.say(talk, ann.user)
    first, again = await world.plan(bob.user), await world.plan(bob.user)
    assert first == again
    await world.say(talk, ann.user)
    (later,) = (await world.plan(bob.user)).pushes
    (before,) = first.pushes
    assert later.push.id != before.push.id
    assert later.push.collapse == before.push.collapse


async def test_two_devices_and_two_conversations_have_keys_of_their_own(
    world: World, ann: Phone, bob: Phone, talk: str
) -> None:
    desk, cat = await world.device(bob.user), await world.person()
    await world.say(talk, ann.user)
    await world.say(await world.direct(cat.user, bob.user), cat.user)
    await world.settle(bob)
    sent = bob.new() + desk.new()
    assert len({push.collapse for push in sent}) == len({push.id for push in sent}) == 4
    assert {push.badge for push in sent} == {2}


async def test_who_is_connected_and_acknowledges_is_told_nothing(
    world: World, ann: Phone, bob: Phone, talk: str
) -> None:
    await world.connect(bob)
    seq = await world.say(talk, ann.user)
    await world.settle(bob)
    assert bob.new() == []
    assert world.again == {bob.user: world.now + UNACKED}
    await world.ack(bob, talk, seq)
    world.now += UNACKED
    await world.settle(bob)
    assert (bob.new(), world.again) == ([], {})


async def test_who_is_connected_and_leaves_it_unacknowledged_is_told(
    world: World, ann: Phone, bob: Phone, talk: str
) -> None:
    await world.connect(bob)
    began = world.now
    await world.say(talk, ann.user)
    world.now += UNACKED - 1
    await world.say(talk, ann.user)
    await world.settle(bob)
    assert bob.new() == []
    assert world.again == {bob.user: began + UNACKED}, "a steady flow does not put it off"
    world.now += 1
    await world.settle(bob)
    assert urgencies(bob) == [Urgency.MESSAGE]
    await world.say(talk, ann.user)
    await world.settle(bob)
    assert world.again, "it has five seconds since it was told"
    world.now += UNACKED
    await world.settle(bob)
    assert urgencies(bob) == [Urgency.MESSAGE]


async def test_who_has_just_connected_has_time_to_read_on(
    world: World, ann: Phone, bob: Phone, talk: str
) -> None:
    await world.say(talk, ann.user)
    world.now += HOUR
    await world.connect(bob)
    await world.settle(bob)
    assert bob.new() == []
    assert world.again == {bob.user: world.now + UNACKED}


async def test_what_was_read_on_another_device_is_not_told(
    world: World, ann: Phone, bob: Phone, talk: str
) -> None:
    await world.read(bob.user, talk, await world.say(talk, ann.user))
    await world.settle(bob)
    assert bob.new() == []
    await world.say(talk, ann.user)
    await world.settle(bob)
    (push,) = bob.new()
    assert (push.badge, json.loads(push.content or b"")["count"]) == (1, 1)


async def test_what_is_read_elsewhere_is_taken_back_in_one_silent_push(
    world: World, ann: Phone, bob: Phone, talk: str
) -> None:
    cat = await world.person()
    other = await world.direct(cat.user, bob.user)
    seqs = [(talk, await world.say(talk, ann.user)), (other, await world.say(other, cat.user))]
    await world.settle(bob)
    assert len(bob.shown) == len(bob.new()) == 2
    for conversation, seq in seqs:
        await world.read(bob.user, conversation, seq)
    await world.settle(bob)
    (push,) = bob.new()
    assert (push.urgency, push.badge, bob.shown) == (Urgency.SILENT, 0, {})
    await world.settle(bob)
    assert bob.new() == []


async def test_what_is_read_on_the_device_itself_is_its_own_business(
    world: World, ann: Phone, bob: Phone, talk: str
) -> None:
    seq = await world.say(talk, ann.user)
    await world.settle(bob)
    bob.new()
    await world.connect(bob)
    await world.ack(bob, talk, seq)
    await world.read(bob.user, talk, seq)
    world.now += HOUR
    await world.settle(bob)
    assert (bob.new(), world.again) == ([], {})


async def test_a_message_that_is_deleted_is_not_told_and_one_that_was_is_taken_back(
    world: World, ann: Phone, bob: Phone, talk: str
) -> None:
    await world.say(talk, ann.user)
    await world.amend(talk, ann.user, world.last_id, "delete")
    await world.settle(bob)
    assert Urgency.MESSAGE not in urgencies(bob)
    await world.say(talk, ann.user)
    await world.settle(bob)
    assert bob.shown
    bob.new()
    await world.amend(talk, ann.user, world.last_id, "delete")
    await world.settle(bob)
    assert (urgencies(bob), bob.shown) == ([Urgency.SILENT], {})
    await world.settle(bob)
    assert bob.new() == []


async def test_a_message_that_vanishes_is_taken_back_in_its_time(
    world: World, ann: Phone, bob: Phone, talk: str
) -> None:
    await world.say(talk, ann.user, lasts=60_000)
    await world.settle(bob)
    (push,) = bob.new()
    assert push.ttl_s == 60
    assert world.again == {bob.user: world.now + 60_000}
    world.now += 60_000
    await world.settle(bob)
    assert (urgencies(bob), bob.shown) == ([Urgency.SILENT], {})
    await world.say(talk, ann.user, lasts=1_000)
    world.now += 1_000
    await world.settle(bob)
    assert Urgency.MESSAGE not in urgencies(bob)


async def test_reactions_edits_and_changes_of_a_group_are_not_told(
    world: World, ann: Phone, bob: Phone
) -> None:
    group = await world.group(ann.user, bob.user)
    await world.say(group, bob.user)
    own = world.last_id
    await world.amend(group, ann.user, own, "reaction", "👍".encode())
    await world.change(group, joins=[new_id()])
    await world.settle(bob)
    assert bob.new() == []
    seq = await world.say(group, ann.user, body=b"first")
    await world.settle(bob)
    assert urgencies(bob) == [Urgency.MESSAGE]
    await world.amend(group, ann.user, world.last_id, "edit", b"second")
    await world.settle(bob)
    assert bob.new() == []
    assert bob.told() == [(group, seq)]


async def test_a_muted_conversation_is_silent_but_for_mentions(world: World, ann: Phone, bob: Phone) -> None:
    group = await world.group(ann.user, bob.user)
    for flags in ({"muted_until": FOR_EVER}, {"archived": True}):
        await world.flag(bob.user, group, **flags)
        await world.say(group, ann.user)
        await world.say(group, ann.user, mentions=[new_id()])
        await world.settle(bob)
        assert bob.new() == []
        seq = await world.say(group, ann.user, mentions=[bob.user])
        await world.say(group, ann.user)
        await world.settle(bob)
        (push,) = bob.new()
        said = json.loads(push.content or b"")
        assert (push.urgency, push.badge, said["seq"], said["count"]) == (Urgency.MESSAGE, 1, seq, 1)
        await world.read(bob.user, group, seq + 1)
        await world.settle(bob)
        assert urgencies(bob) == [Urgency.SILENT]


async def test_a_mute_ends_by_its_time(world: World, ann: Phone, bob: Phone, talk: str) -> None:
    """What was said before is not told late; it counts on the badge from then on."""
    end = world.now + HOUR
    await world.flag(bob.user, talk, muted_until=end)
    await world.say(talk, ann.user)
    await world.settle(bob)
    assert (bob.new(), world.again) == ([], {bob.user: end})
    world.now = end
    await world.settle(bob)
    (push,) = bob.new()
    assert (push.urgency, push.badge) == (Urgency.SILENT, 1)
    seq = await world.say(talk, ann.user)
    await world.settle(bob)
    assert urgencies(bob) == [Urgency.MESSAGE]
    assert bob.told() == [(talk, seq)]


async def test_a_blocked_sender_is_never_heard_of(world: World, ann: Phone, bob: Phone, talk: str) -> None:
    await world.say(talk, ann.user)
    await world.block(bob.user, ann.user)
    await world.say(talk, ann.user)
    await world.settle(bob)
    assert Urgency.MESSAGE not in urgencies(bob), "nor of what was sent before"
    group = await world.group(ann.user, bob.user)
    await world.say(group, ann.user)
    await world.settle(bob)
    assert [one for one, _ in bob.told()] == [group], "groups are exempt from blocks"


async def test_a_stranger_is_told_of_without_what_was_written(
    world: World, ann: Phone, bob: Phone, talk: str
) -> None:
    await world.store.request(talk, [bob.user])
    seq = await world.say(talk, ann.user)
    await world.settle(bob)
    (push,) = bob.new()
    said = json.loads(push.content or b"")
    assert (push.badge, said["seq"], "frame" in said) == (0, seq, False)


@pytest.mark.parametrize("fields", [{"preview": False}, {"p256dh": None, "auth": None}])
async def test_what_was_written_goes_only_where_it_may(
    world: World, ann: Phone, fields: dict[str, Any]
) -> None:
    phone = await world.person(**fields)
    talk = await world.direct(ann.user, phone.user)
    seq = await world.say(talk, ann.user)
    plan = await world.plan(phone.user)
    await world.settle(phone)
    (push,) = phone.new()
    assert (push.content is None) == ("auth" in fields)
    assert b"frame" not in (push.content or b"")
    assert len(plan.pushes) == 1
    # Without keys nothing can be named: the badge tells the app to look.
    await world.read(phone.user, talk, seq)
    await world.settle(phone)
    (push,) = phone.new()
    assert (push.urgency, push.badge) == (Urgency.SILENT, 0)
    assert (push.content is None) == ("auth" in fields)


async def test_what_is_too_long_goes_without_what_was_written(
    world: World, ann: Phone, bob: Phone, talk: str
) -> None:
    await world.say(talk, ann.user, body=bytes(5_000))
    await world.settle(bob)
    (push,) = bob.new()
    assert json.loads(push.content or b"")["messageId"] == world.last_id
    assert b"frame" not in (push.content or b"")


async def test_quiet_hours_put_messages_off_and_the_badge_goes_on(world: World, ann: Phone) -> None:
    hour = 3_600_000
    now = (T0 // (24 * hour)) * 24 * hour + 23 * hour  # 23:00
    bob = await world.person(quiet_from=22 * 60, quiet_until=7 * 60)
    talk = await world.direct(ann.user, bob.user)
    world.now = now
    await world.say(talk, ann.user)
    await world.settle(bob)
    (push,) = bob.new()
    assert (push.urgency, push.badge) == (Urgency.SILENT, 1)
    assert world.again == {bob.user: now + 8 * hour}
    seq = await world.say(talk, ann.user)
    world.now += 8 * hour
    (planned,) = (await world.plan(bob.user)).pushes
    assert planned.at == world.now, "since when it could be sent"
    await world.settle(bob)
    assert urgencies(bob) == [Urgency.MESSAGE]
    assert bob.told() == [(talk, seq)]


async def test_a_device_that_was_away_for_long_gets_no_storm(
    world: World, ann: Phone, bob: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "push_conversations", 2)
    old = await world.direct(bob.user, (await world.person()).user)
    await world.say(old, ann.user)
    world.now += LIMITS.push_oldest_ms + 1
    talks = []
    for _ in range(10):
        cat = await world.account()
        world.now += 1
        talk = await world.direct(cat, bob.user)
        talks.append((talk, cat, await world.say(talk, cat)))
    await world.settle(bob)
    assert [push.badge for push in bob.new()] == [11, 11]
    assert bob.told() == sorted((talk, seq) for talk, _, seq in talks[-2:])
    await world.settle(bob)
    assert bob.new() == [], "the others count on the badge alone"
    talk, cat, _ = talks[0]
    seq = await world.say(talk, cat)
    await world.settle(bob)
    assert urgencies(bob) == [Urgency.MESSAGE]
    assert (talk, seq) in bob.told()


async def test_a_device_that_was_connected_since_is_told_the_badge(
    world: World, ann: Phone, bob: Phone, talk: str
) -> None:
    """It showed by itself what came meanwhile, and does not know that it was read elsewhere."""
    await world.settle(bob)
    assert bob.new() == []
    await world.sql("UPDATE notifications_pushtarget SET success_at = %s WHERE device_id = %s", T0, bob.id)
    world.now += HOUR
    await world.has_marker(bob)
    await world.connect(bob)
    await world.ack(bob, talk, await world.say(talk, ann.user))
    await world.disconnect(bob)
    world.now += HOUR
    await world.read(bob.user, talk, 1)
    await world.settle(bob)
    (push,) = bob.new()
    assert (push.urgency, push.badge) == (Urgency.SILENT, 0)
    await world.settle(bob)
    assert bob.new() == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts_device SET unlinked_at = 1 WHERE id = %(device)s",
        "UPDATE accounts_device SET revoked_at = 1 WHERE id = %(device)s",
        "UPDATE accounts_device SET banned_until = %(later)s WHERE id = %(device)s",
        "UPDATE accounts_account SET banned_until = %(later)s WHERE id = %(user)s",
        "UPDATE accounts_account SET retired_at = 1 WHERE id = %(user)s",
    ],
)
async def test_nobody_is_told_whose_session_has_ended(
    world: World, ann: Phone, bob: Phone, talk: str, statement: str
) -> None:
    async with world.pool.connection() as connection:
        await connection.execute(statement, {"device": bob.id, "user": bob.user, "later": FOR_EVER})
    await world.say(talk, ann.user)
    await world.settle(bob)
    assert bob.new() == []


async def test_many_events_after_a_message_do_not_hide_it(
    world: World, ann: Phone, bob: Phone, talk: str
) -> None:
    await world.say(talk, ann.user)
    told = world.last_id
    for emoji in ("👍", "👎", "👍", "👎"):
        await world.amend(talk, ann.user, told, "reaction", emoji.encode())
    await world.settle(bob)
    assert bob.told() == [(talk, 1)]


async def test_what_the_hot_node_has_lost_is_told_again_by_nobody(
    world: World, ann: Phone, bob: Phone, talk: str
) -> None:
    await world.say(talk, ann.user)
    await world.settle(bob)
    assert urgencies(bob) == [Urgency.MESSAGE]
    await world.connect(bob)
    await world.disconnect(bob)
    await world.settle(bob)
    assert bob.new() == []


async def test_flags_of_one_are_not_those_of_the_other(
    world: World, ann: Phone, bob: Phone, talk: str
) -> None:
    await world.store.set_flags(ann.user, talk, Flags(FOR_EVER, archived=True), T0)
    await world.say(talk, ann.user)
    await world.settle(ann, bob)
    assert (urgencies(ann), urgencies(bob)) == ([], [Urgency.MESSAGE])


async def test_many_users_cost_as_many_statements_as_few(world: World, ann: Phone) -> None:
    """However many devices and conversations they have."""

    async def counted(phones: list[Phone]) -> int:
        asked = [_Counting(world.store), _Counting(world.pool)]
        world.policy = Policy(asked[0], world.hot, asked[1])  # type: ignore[arg-type]
        plan = await world.plan(*(phone.user for phone in phones))
        assert len(plan.pushes) == sum(sizes[: len(phones)])
        return sum(one.calls for one in asked)

    sizes, phones = [1, 2, 3, 2, 1], []
    for size in sizes:
        phone = await world.person()
        phones.append(phone)
        for _ in range(size):
            writer = await world.account()
            await world.say(await world.direct(writer, phone.user), writer)
    few, many = await counted(phones[:1]), await counted(phones)
    assert few == many == 7


class _Counting:
    """How often what is behind it is asked."""

    def __init__(self, behind: Any) -> None:
        self._behind = behind
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        self.calls += 1
        return getattr(self._behind, name)
