"""What holds typing and presence of open chats together, at exact moments: a list of members that has become old, a hot node that
forgets, a gateway that died, a crowd that types at once, and what one moment of typing costs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from delivery.open_chats import open_key
from delivery.ports import ALL, NOTHING, Shown
from delivery.roster import GROUP_MAX_AGE_S
from delivery.typing import AGAIN_S, Pace
from tests.faults.engine import Process, Seat, World
from tests.gateway.phone import new_id
from tests.support.patience import until
from whatsapp.infra import clock
from whatsapp.infra.limits import LIMITS
from whatsapp.wire import frames

Off = Callable[..., None]


class Chat:
    """A group; Ann is at one process, Ben and Cat at another. Nobody has it open yet."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def make(self) -> Chat:
        world = self.world
        self.here: Process = await world.process()
        self.there: Process = await world.process()
        people = [await world.person() for _ in range(3)]
        self.conversation = await world.group(*[(user, 1, 0) for user, _ in people])
        self.ann: Seat = await self.here.seat(*people[0])
        self.ben: Seat = await self.there.seat(*people[1])
        self.cat: Seat = await self.there.seat(*people[2])
        return self

    async def open(self, *seats: Seat) -> None:
        for seat in seats:
            seat.node.chats.open(seat.session, [self.conversation], 300)
            await seat.node.group_presence.show(seat.session, [self.conversation], 300, "")
        await until(lambda: self.named() >= {seat.node.bus.process for seat in seats}, "the node knows")

    async def join(self, users: Sequence[str]) -> None:
        """These are members too, from the beginning."""
        await self.world.log.join_all(self.conversation, users, 1)

    def named(self) -> set[str]:
        """The processes that the node names."""
        found: Any = self.world.redis.zrange(open_key(self.conversation), 0, -1)
        return {process.decode() for process in found}

    def types(self, seat: Seat, active: bool = True, kind: Any = None) -> None:
        seat.node.typing.typing(seat.session, self.conversation, active, kind, "typed")

    async def removed(self, seat: Seat) -> None:
        await self.world.log.leave(self.conversation, seat.session.user, 1)


def typed(seat: Seat) -> list[frames.Typing]:
    return [frame for frame in seat.screen.frames if isinstance(frame, frames.Typing)]


def shown(seat: Seat, user: str) -> list[str]:
    return [f.status for f in seat.screen.frames if isinstance(f, frames.Presence) and f.user_id == user]


async def settled(*processes: Process) -> None:
    """What was typed has gone all its way: a publish follows it to each process and back."""
    for process in processes:
        await process.node.typing._typed.drained()
        await process.node.bus._out.drained()
    for process in processes:
        heard = asyncio.Event()
        process.node.bus.subscribe("settled", lambda _, heard=heard: heard.set())
        for other in processes:
            heard.clear()
            other.node.bus.send(process.node.bus.process, "settled", None)
            await asyncio.wait_for(heard.wait(), 10)
        await process.node.typing._arrived.drained()


# -- who is a member -------------------------------------------------------------------------------------------------------


def age(process: Process, conversation: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of members that this process has is so old now."""
    roster = process.node.roster
    (end, _) = roster._conversations[conversation]
    monkeypatch.setattr(roster, "_time", lambda: end - GROUP_MAX_AGE_S + seconds)


@pytest.mark.parametrize("who", ["who types", "who has it open"])
async def test_typing_ends_five_seconds_after_a_removal(
    world: World, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    chat = await Chat(world).make()
    await chat.open(chat.ben)
    await chat.removed(chat.ann if who == "who types" else chat.ben)
    for process in (chat.here, chat.there):
        await process.node.roster.lists({chat.conversation: 0})  # one of them has read it before
    conversations = chat.there.node.roster._conversations
    process = chat.here if who == "who types" else chat.there
    # The lists as they were before the removal.
    old = await _as_it_was(chat)
    for each in (chat.here, chat.there):
        each.node.roster._conversations[chat.conversation] = old
    assert conversations[chat.conversation] is old
    age(process, chat.conversation, 4.99, monkeypatch)
    chat.types(chat.ann)
    await settled(chat.here, chat.there)
    assert len(typed(chat.ben)) == 1
    age(process, chat.conversation, 5.01, monkeypatch)
    chat.types(chat.ann, kind="audio")
    await settled(chat.here, chat.there)
    assert len(typed(chat.ben)) == 1
    refused = [f for f in chat.ann.screen.frames if isinstance(f, frames.Error)]
    assert [(f.code, f.ref) for f in refused] == ([("not_found", "typed")] if who == "who types" else [])
    if who == "who has it open":
        assert not chat.there.node.chats.of(chat.ben.session), "it is not open any more"


async def test_twin_without_members_typing_goes_on(world: World, off: Off) -> None:
    chat = await Chat(world).make()
    await chat.open(chat.ben)
    await chat.removed(chat.ben)
    chat.there.node.roster._conversations.clear()
    off("open_members")
    chat.types(chat.ann)
    await settled(chat.here, chat.there)
    assert len(typed(chat.ben)) == 1


async def _as_it_was(chat: Chat) -> Any:
    """The entry of the roster with everybody in it, read now."""
    seats = (chat.ann, chat.ben, chat.cat)
    fresh = chat.here.node.roster._conversations[chat.conversation]
    members = tuple(member._replace(left=0) for member in fresh[1].members)
    assert {member.user for member in members} == {seat.session.user for seat in seats}
    return (fresh[0], type(fresh[1])(fresh[1].id, fresh[1].kind, fresh[1].head, members))


@pytest.mark.parametrize("who", ["who follows", "who is followed"])
async def test_presence_ends_five_seconds_after_a_removal(
    world: World, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    chat = await Chat(world).make()
    await chat.open(chat.ben)
    ann = chat.ann.session.user
    assert shown(chat.ben, ann) == ["online"]
    await chat.removed(chat.ben if who == "who follows" else chat.ann)
    told = [True, False]
    for status, seconds in (("away", 4.99), ("online", 5.01)):
        age(chat.there, chat.conversation, seconds, monkeypatch)
        chat.there.node.presence.on_presence((ann, status, None))
        await chat.there.node.presence._through.drained()
        assert (shown(chat.ben, ann)[-1] == status) is told.pop(0)
    chat.there.node.presence.on_presence((chat.cat.session.user, "away", None))
    await chat.there.node.presence._through.drained()
    assert (shown(chat.ben, chat.cat.session.user)[-1] == "away") is (who == "who is followed")


async def test_twin_without_members_presence_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch, off: Off
) -> None:
    chat = await Chat(world).make()
    await chat.open(chat.ben)
    await chat.removed(chat.ben)
    off("open_members")
    age(chat.there, chat.conversation, 5.01, monkeypatch)
    chat.there.node.presence.on_presence((chat.ann.session.user, "away", None))
    await chat.there.node.presence._through.drained()
    assert shown(chat.ben, chat.ann.session.user) == ["online", "away"]


# -- the hot node ------------------------------------------------------------------------------------------------------------


async def test_a_node_that_forgot_learns_again_what_is_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "presence_refresh_ms", 200)
    chat = await Chat(world).make()
    await chat.open(chat.ben)
    world.redis.flushall()
    await until(lambda: chat.named() == {chat.there.node.bus.process}, "the new epoch knows")
    chat.types(chat.ann)
    await settled(chat.here, chat.there)
    assert len(typed(chat.ben)) == 1
    # Who is followed through it, too: the process is named again.
    await until(lambda: world.redis.exists(f"{{{chat.ann.session.user}}}:watch"), "changes come here again")


async def test_twin_without_relisting_it_stays_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch, off: Off
) -> None:
    monkeypatch.setattr(LIMITS, "presence_refresh_ms", 200)
    chat = await Chat(world).make()
    await chat.open(chat.ben)
    off("relist")
    epoch = chat.there.hot.epoch
    world.redis.flushall()
    await until(lambda: chat.there.hot.available and chat.there.hot.epoch != epoch, "the flush is seen")
    await until(
        lambda: world.redis.exists(f"{{{chat.ann.session.user}}}:watch"), "what follows a flush is done"
    )
    await until(lambda: chat.here.hot.available, "the other has seen it too")
    chat.types(chat.ann)
    await settled(chat.here, chat.there)
    assert (chat.named(), typed(chat.ben)) == (set(), [])


async def test_a_gateway_that_died_is_named_until_its_time_is_over(world: World) -> None:
    chat = await Chat(world).make()
    key = open_key(chat.conversation)
    world.redis.zadd(key, {"dead": clock.now_ms() + 60_000, "long-dead": clock.now_ms() - 1})
    await chat.open(chat.ben)
    assert chat.named() == {"dead", chat.there.node.bus.process}, "whose time was over is gone"
    chat.types(chat.ann)
    await settled(chat.here, chat.there)
    assert len(typed(chat.ben)) == 1


async def test_what_the_node_names_is_what_is_open(world: World) -> None:
    """However often it is opened and closed in whatever turns."""
    chat = await Chat(world).make()
    seats = [chat.ann, chat.ben, chat.cat]
    dice = random.Random(6)
    work: list[asyncio.Task[None]] = []
    for _ in range(150):
        seat = dice.choice(seats)
        node = seat.node
        if dice.random() < 0.5:
            node.chats.open(seat.session, [chat.conversation], 300)
            show = node.group_presence.show(seat.session, [chat.conversation], 300, "")
            work.append(asyncio.get_running_loop().create_task(show))
        else:
            node.group_presence.close(seat.session, [chat.conversation])
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)
    await asyncio.gather(*work)
    truth = {seat.node.bus.process for seat in seats if seat.session.open_chats}
    await until(lambda: chat.named() == truth, "the node knows who has it open")
    for seat in seats:
        seat.leave()
    await until(lambda: not world.redis.exists(open_key(chat.conversation)), "nobody has")


# -- a crowd ---------------------------------------------------------------------------------------------------------------


async def crowd(world: World, number: int) -> tuple[Chat, list[Seat]]:
    """A group in which so many more have sessions, half of them at each process."""
    chat = await Chat(world).make()
    seats = []
    for index in range(number):
        user, device = await world.person()
        seats.append(await (chat.here, chat.there)[index % 2].seat(user, device, sync=False))
    await chat.join([seat.session.user for seat in seats])
    return chat, seats


def test_the_pace_of_a_group() -> None:
    pace = Pace()
    assert pace.passes("ann", True, None, 0.0)
    for _ in range(50):  # who repeats it too soon is not told again, and takes no place of the others
        assert not pace.passes("ann", True, None, AGAIN_S / 2)
    assert [pace.passes(user, True, None, AGAIN_S / 2) for user in "bcdefgh"] == [True] * 5 + [False] * 2
    assert pace.passes("ann", True, "audio", AGAIN_S / 2 + 0.2), "another kind is news"
    assert not pace.passes("ann", True, "audio", AGAIN_S / 2 + 0.3)
    assert pace.passes("ann", True, "audio", AGAIN_S * 2)
    assert [pace.passes(user, False, None, 2.0) for user in ("ann", "ann", "h")] == [True, False, False]
    # It remembers no more than passed in the last two seconds.
    for number in range(1_000):
        pace.passes(str(number), True, None, 3.0 + number / 20)
    assert len(pace._typing) <= 3 * LIMITS.typing_shown_per_second


async def test_c7_a_crowd_that_types_at_once_is_not_a_crowd_of_frames(world: World) -> None:
    chat, seats = await crowd(world, 60)
    await chat.open(chat.ben, chat.cat)
    for seat in seats:
        chat.types(seat)
        await asyncio.sleep(0)
    await settled(chat.here, chat.there)
    most = LIMITS.typing_shown_per_second * 2  # in the second that this takes on a bad day
    for seat in (chat.ben, chat.cat):
        assert 1 <= len(typed(seat)) <= most
    # Who was shown is shown to stop, and the others are not heard of.
    active = {frame.user_id for frame in typed(chat.ben)}
    for seat in seats:
        chat.types(seat, active=False)
    await settled(chat.here, chat.there)
    assert {frame.user_id for frame in typed(chat.ben) if not frame.active} == active


async def test_twin_without_pace_everybody_is_told_of_everybody(world: World, off: Off) -> None:
    chat, seats = await crowd(world, 60)
    await chat.open(chat.ben)
    off("typing_pace")
    for seat in seats:
        chat.types(seat)
        await asyncio.sleep(0)
    await settled(chat.here, chat.there)
    assert len(typed(chat.ben)) == 60


async def test_what_waited_for_a_slow_store_is_not_told_any_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = await Chat(world).make()
    await chat.open(chat.ben)
    typing, lists = chat.here.node.typing, chat.here.node.roster.lists
    asked, answers = asyncio.Event(), asyncio.Event()

    async def slow(heads: Any) -> Any:
        asked.set()
        await answers.wait()
        return await lists(heads)

    monkeypatch.setattr(chat.here.node.roster, "lists", slow)
    chat.types(chat.ann)
    await asked.wait()
    monkeypatch.setattr("delivery.typing.FORGET_S", 0.0)  # as if it had taken 2 s
    answers.set()
    await typing._typed.drained()
    monkeypatch.undo()
    chat.types(chat.ann, kind="audio")
    await settled(chat.here, chat.there)
    assert [frame.kind for frame in typed(chat.ben)] == ["audio"]


# -- who hides -------------------------------------------------------------------------------------------------------------


async def test_who_is_hidden_from_somebody_is_unknown_to_them(world: World) -> None:
    """The port at which blocks and privacy will answer."""
    chat = await Chat(world).make()
    ann, ben, cat = (seat.session.user for seat in (chat.ann, chat.ben, chat.cat))
    direct = await world.direct(ann, ben)
    asked: list[tuple[str, str]] = []

    async def shows(pairs: Sequence[tuple[str, str]]) -> list[Shown]:
        asked.extend(pairs)
        return [ALL if pair != (ann, ben) else NOTHING for pair in pairs]

    for process in (chat.here, chat.there):
        process.node.presence._shows = process.node.typing._shows = shows
    await chat.open(chat.ben, chat.cat)
    assert (shown(chat.ben, ann), shown(chat.cat, ann)) == (["unknown"], ["online"])
    presence = chat.there.node.presence
    presence.follow(chat.ben.session, [ann], 300)
    await presence.answer(chat.ben.session, [ann], 300)
    presence.on_presence((ann, "away", None))
    await presence._through.drained()
    assert (shown(chat.ben, ann), shown(chat.cat, ann)) == (["unknown"] * 2, ["online", "away"])
    chat.here.node.typing.typing(chat.ann.session, direct, True, None, "")
    await settled(chat.here, chat.there)
    assert typed(chat.ben) == []
    chat.there.node.typing.typing(chat.ben.session, direct, True, None, "")
    await settled(chat.there, chat.here)
    assert len(typed(chat.ann)) == 1
    assert {(ann, ben), (ben, ann), (ann, cat), (cat, ben)} <= set(asked)


# -- what it costs ----------------------------------------------------------------------------------------------------------


async def test_typing_in_a_group_costs_a_look_up_and_a_publish_a_gateway(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 members, three have it open: one at the gateway of who types, two at another."""
    chat = await Chat(world).make()
    dan = await chat.there.seat(*await world.person())
    await chat.join([dan.session.user, *[new_id() for _ in range(196)]])
    eve = await chat.here.seat(chat.cat.session.user, new_id())
    await chat.open(chat.ben, dan, eve)
    for process in (chat.here, chat.there):
        await process.node.chats._writes.drained()
        await process.node.roster.lists({chat.conversation: 0})
    commands: list[Any] = []
    loads: list[Any] = []
    for process in (chat.here, chat.there):
        _record(monkeypatch, process.node.bus.hot, _through(process), commands)
        _record(monkeypatch, process.store, "conversations", loads)
    chat.types(chat.ann)
    await until(lambda: typed(chat.ben) and typed(dan) and typed(eve), "all three are told")
    names = [
        command[0] for batch in commands for command in batch if command[0] not in ("SET", "INFO", "GET")
    ]
    assert sorted(names) == ["SPUBLISH", "ZRANGEBYSCORE"]
    assert not [command for batch in commands for command in batch if command[0] == "GET"]
    assert loads == []


def _through(process: Any) -> str:
    """What every command of a process goes through."""
    return "run" if process.hot.one_node else "run_each"


def _record(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, calls: list[Any]) -> None:
    real = getattr(owner, name)

    async def recorded(items: Sequence[Any]) -> Any:
        calls.append(list(items))
        return await real(items)

    monkeypatch.setattr(owner, name, recorded)


async def test_the_members_of_a_large_group_are_counted_once_for_all_gateways(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "presence_group_members", 10)
    chat = await Chat(world).make()
    await chat.join([new_id() for _ in range(47)])
    commands: list[Any] = []
    for process in (chat.here, chat.there):
        _record(monkeypatch, process.node.bus.hot, _through(process), commands)
    await chat.open(chat.ann)

    def told(seat: Seat) -> list[int | None]:
        return [
            f.online_count for f in seat.screen.frames if isinstance(f, frames.Presence) and f.online_count
        ]

    await until(lambda: told(chat.ann), "Ann is told")
    await chat.open(chat.ben, chat.cat)
    await until(lambda: told(chat.ben) and told(chat.cat), "so are the others")
    assert told(chat.ann) == told(chat.ben) == told(chat.cat) == [3]
    looked_up = [c[1] for batch in commands for c in batch if c[0] == "GET" and c[1].endswith(":sessions")]
    assert len(looked_up) == 50
