"""Gateways and workers of two versions run together for a while: what one says over the bus, the other takes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import astuple

from delivery import live as live_module
from delivery.drain import DrainRequest
from delivery.inbox import (
    _UNREGISTER,
    MARKER_TTL_S,
    SESSION_TTL_S,
    Registered,
    Registration,
    dirty_key,
    marker_key,
)
from delivery.presence import PRESENCE
from delivery.session import State
from delivery.store.values import Logged
from delivery.wired import unwired, wired
from tests.faults.engine import Process, Seat, World
from tests.faults.test_lanes import Room
from tests.faults.test_outages import a_millisecond
from tests.faults.test_session_numbers import entry, is_registered
from tests.gateway.phone import new_id
from tests.support.patience import until
from whatsapp.infra.directory import sessions_key
from whatsapp.wire.errors import Close


def as_before(raw: Any) -> Logged:
    """What the version before does with an event of the bus."""
    (
        conversation, seq, ordinal, sender, device, message_id, kind, content, sent_at, at,
        seq_num, extra, envelopes, edited,
    ) = raw  # fmt: skip
    return Logged(
        conversation, seq, ordinal, sender, device, message_id, kind, content, sent_at, at,
        seq_num, extra, envelopes, edited,
    )  # fmt: skip


async def test_a_gateway_of_the_version_before_is_told_live(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await Room(world).open()
    direct = await world.direct(room.people[0][0], room.people[2][0])
    await room.ann.say(direct, "first")
    await room.cat.has(direct, [1])
    monkeypatch.setattr(live_module, "unwired", as_before)
    await room.ann.say(direct, "over the bus")
    await room.ann.say(room.conversation, "over a lane")
    await room.cat.has(direct, [1, 2])
    await room.cat.has(room.conversation, [1, 2])
    # Who goes, and who comes.
    told: list[Any] = []
    room.there.node.bus.subscribe(
        PRESENCE, lambda payload: told.append((lambda user, status, seen: status)(*payload))
    )
    user = room.people[0][0]
    world.redis.zadd(f"{{{user}}}:watch", {room.there.node.bus.process: 1 << 50})
    room.here.node.presence.changed(user)
    await until(lambda: told, "it is told")
    assert told == ["online"]


def test_what_is_new_is_said_and_what_is_newer_is_passed() -> None:
    def there(logged: Logged) -> Any:
        return msgspec.msgpack.decode(msgspec.msgpack.encode(wired(logged)))

    plain = Logged(new_id(), 1, 1, new_id(), new_id(), new_id(), "text", b"x", 1, 2, edited=True)
    said: list[dict[str, Any]] = [{"until": 9}, {"request": True}, {"form": b"\x80"}]
    for one in (plain, *(msgspec.structs.replace(plain, **each) for each in said)):
        assert unwired(there(one)) == one
    assert as_before(there(plain)) == plain
    assert unwired([*astuple(plain), "of the version after"]) == plain


class RequestBefore(msgspec.Struct):
    key: str
    user: str
    codec: str
    limit: int
    work: list[tuple[str, int, int]]


def test_no_worker_of_the_version_before_writes_a_backlog() -> None:
    """It knows nothing of envelopes: its device would acknowledge what it cannot open."""
    request = DrainRequest("key", new_id(), "json", 100, [(new_id(), 0, 5)], new_id())
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(msgspec.to_builtins(request), RequestBefore)
    assert msgspec.convert(msgspec.to_builtins(request), DrainRequest) == request


# Sessions: before ADR 0131 a session's number was one more than that of the record it displaces, if that was higher.
REGISTER_BEFORE = """
local raw = redis.call('GET', KEYS[1])
local all = raw and cjson.decode(raw) or {}
local old = all[ARGV[1]]
local own, opened = tonumber(ARGV[3]), tonumber(ARGV[7])
local late = own == 0 and ARGV[8] == '1'
if late then own = opened end
if own > 0 and old and (tonumber(old[2]) > own or late and tonumber(old[2]) == own and old[1] ~= ARGV[2]) then
  return {-1, old[1], string.format('%d', old[2]), false, 0}
end
local generation = own
if own == 0 then
  generation = opened
  if old and tonumber(old[2]) >= generation then generation = tonumber(old[2]) + 1 end
end
all[ARGV[1]] = {ARGV[2], generation, ARGV[4]}
redis.call('SET', KEYS[1], cjson.encode(all), 'EX', ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[6])
redis.call('EXPIRE', KEYS[3], ARGV[6] + 86400)
return {string.format('%d', generation), old and old[1] or '', old and string.format('%d', old[2]) or '0',
        redis.call('GET', KEYS[2]), redis.call('ZCARD', KEYS[3])}
"""


def of_the_version_before(process: Process) -> None:
    """Its sessions are registered, and their records removed, as they were."""
    hot, inbox, hub = process.hot, process.node.inbox, process.node.hub
    script = hot.script(REGISTER_BEFORE)
    own = _UNREGISTER.replace("tonumber(old[2]) > tonumber(ARGV[3])", "tonumber(old[2]) ~= tonumber(ARGV[3])")
    inbox._unregister = hot.script(own)

    async def register(requests: list[Registration]) -> list[Registered | None]:
        found: list[Registered | None] = []
        for user, device, name, opened, status in requests:
            session = hub.get(user, device)
            assert session is not None
            late = not session.generation and session.state is not State.OPENING
            keys = [sessions_key(user), marker_key(user, device), dirty_key(user, device)]
            of_it = [session.generation, status, SESSION_TTL_S, MARKER_TTL_S, opened, int(late)]
            ((number, whose, other, marker, size),) = await hot.run_each(
                [script.call(keys, [device, name, *of_it])]
            )
            marked = marker.decode() if marker else ""
            found.append(Registered(max(0, int(number)), whose.decode(), int(other), marked, size))
            if int(number) > 0:
                session.opened_at = int(number)  # what it removes
        return found

    inbox.register = register  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize("first", [0, 1], ids=["from the older one", "from the newer one"])
async def test_r20_a_device_changes_between_gateways_of_two_versions(world: World, first: int) -> None:
    processes = [await world.process(), await world.process()]
    of_the_version_before(processes[0])
    bob = await world.person()
    seats: list[Seat] = []
    for turn in range(first, first + 4):
        process = processes[turn % 2]
        seats.append(await process.seat(*bob, sync=False))
        await until(lambda p=process: is_registered(world, seats[-1], p), "its record stands")
        await until(lambda: all(seat.screen.closed for seat in seats[:-1]), "the others have gone")
        await a_millisecond()
    assert [seat.screen.closed for seat in seats] == [Close.REPLACED] * 3 + [0]
    seats[-1].leave()
    await until(lambda: entry(world, seats[-1]) is None, "no record is left")
