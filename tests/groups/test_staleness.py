"""How long a gateway goes by a list of members that has changed: 5 s, by its own clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from delivery.roster import GROUP_MAX_AGE_S
from tests.faults.conftest import hot_url, log, off, world  # noqa: F401 - fixtures: a process inside the test
from tests.faults.engine import World
from tests.faults.test_lanes import Room
from whatsapp.wire import frames


async def answers(room: Room, who: Any, later_s: float, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a send gets so long after the gateway has read the list: "sent", or the code of the error."""
    roster = room.here.node.roster
    (until, _) = roster._conversations[room.conversation]
    with monkeypatch.context() as patch:
        patch.setattr(roster, "_time", lambda: until - GROUP_MAX_AGE_S + later_s)
        answer = await who.answer(who.send(room.conversation, "hello"))
    return answer.status if isinstance(answer, frames.StatusUpdate) else str(answer.code)


@pytest.mark.parametrize(
    ("change", "code"),
    [({"leaves": True}, "not_member"), ({"restricted": True}, "forbidden"), ({"listen": True}, "forbidden")],
    ids=["removed", "announcements", "demoted"],
)
async def test_a_stale_list_serves_for_five_seconds(
    world: World,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, bool],
    code: str,
) -> None:
    assert GROUP_MAX_AGE_S == 5.0
    room = await Room(world).open()
    bens = (room.people[1][0],)
    if "listen" in change:
        everybody = tuple(user for user, _ in room.people)
        await room.change("info", restricted=True, speak=everybody)
    await room.ben.say(room.conversation)  # the gateway has read the list by now
    kind = "member_removed" if "leaves" in change else "role"
    await room.change(
        kind, **{name: value if name == "restricted" else bens for name, value in change.items()}
    )
    assert await answers(room, room.ben, 4.99, monkeypatch) == "sent"
    assert await answers(room, room.ben, 5.01, monkeypatch) == code
    if code == "forbidden" and "listen" in change:
        assert (await room.ann.say(room.conversation)) > 0, "who may still speak does"


@pytest.mark.parametrize("twin", [False, True], ids=["", "twin"])
@pytest.mark.parametrize(
    ("change", "code"),
    [({"leaves": True}, "not_member"), ({"restricted": True}, "forbidden")],
    ids=["removed", "announcements"],
)
async def test_what_was_stored_is_answered_as_at_first_whatever_has_changed_since(
    world: World,  # noqa: F811
    off: Callable[..., None],  # noqa: F811
    change: dict[str, bool],
    code: str,
    twin: bool,
) -> None:
    """The ✓ was lost with a socket or a gateway, and before the client sends again its user may not any more: a trial with a
    worker that died told a client that its message, which everybody had, was not sent."""
    room = await Room(world).open()
    ben, conversation = room.ben, room.conversation
    first = ben.send(conversation, "hello")
    seq = (await ben.answer(first)).seq
    kind = "member_removed" if "leaves" in change else "info"
    bens = (room.people[1][0],)
    await room.change(kind, **{name: bens if name == "leaves" else value for name, value in change.items()})
    room.here.node.roster._conversations.clear()
    if twin:
        off("repetitions")

    again = await ben.answer(ben.send(conversation, "hello", message_id=first), 2)
    other = await ben.answer(ben.send(conversation, "another"))

    assert other.code == code
    if twin:
        assert again.code == code
    else:
        assert (again.status, again.seq, again.duplicate) == ("sent", seq, True)
        conflict = await ben.answer(ben.send(conversation, "something else", message_id=first), 3)
        assert conflict.code == "conflict"


async def test_what_its_sender_may_not_write_any_more_is_not_written_when_it_ends_in_between(
    world: World,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was there when it was looked for, and expires before it could be stored again: nothing of it reaches the store."""
    room = await Room(world).open()
    ben, conversation = room.ben, room.conversation
    first = ben.send(conversation, "hello")
    seq = (await ben.answer(first)).seq
    await room.change("member_removed", leaves=(room.people[1][0],))
    room.here.node.roster._conversations.clear()
    store, appended = room.here.node.store, []
    append = store.append

    async def seen(writer: str, sends: Any, now: int) -> Any:
        appended.extend(send.message_id for send in sends)
        return await append(writer, sends, now)

    monkeypatch.setattr(store, "append", seen)
    again = await ben.answer(ben.send(conversation, "hello", message_id=first), 2)
    assert (again.status, again.seq, again.duplicate) == ("sent", seq, True)
    assert appended == []


@pytest.mark.parametrize("twin", [False, True], ids=["", "twin"])
@pytest.mark.parametrize("change", ["added", "promoted"])
async def test_nobody_is_turned_away_by_a_stale_list(
    world: World,  # noqa: F811
    off: Callable[..., None],  # noqa: F811
    change: str,
    twin: bool,
) -> None:
    """Who has just come in, or may speak from now on, does so at once, though the gateway has an older list."""
    room = await Room(world).open()
    ben = (room.people[1][0],)
    if change == "added":
        await room.change("member_removed", leaves=ben)
    else:
        await room.change("info", restricted=True, speak=(room.people[0][0],))
    room.here.node.roster._conversations.clear()
    await room.ann.say(room.conversation)  # the gateway reads the list
    if change == "added":
        await room.change("member_added", joins=ben)
    else:
        await room.change("role", speak=ben)
    if twin:
        off("reread")
    answer = await room.ben.answer(room.ben.send(room.conversation, "hello"))
    assert isinstance(answer, frames.StatusUpdate) is not twin


async def test_twin_without_an_age_a_list_serves_for_ever(
    world: World,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    off: Callable[..., None],  # noqa: F811
) -> None:
    room = await Room(world).open()
    await room.ben.say(room.conversation)
    await room.change("member_removed", leaves=(room.people[1][0],))
    off("list_age")
    assert await answers(room, room.ben, 3_600.0, monkeypatch) == "sent"
    off()
    assert await answers(room, room.ben, 5.01, monkeypatch) == "not_member"
