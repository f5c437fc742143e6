"""Gateways and workers of two versions run together for a while: what one says over the bus, the other takes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import astuple

from delivery import live as live_module
from delivery.drain import DrainRequest
from delivery.presence import PRESENCE
from delivery.store.values import Logged
from delivery.wired import unwired, wired
from tests.faults.engine import World
from tests.faults.test_lanes import Room
from tests.gateway.phone import new_id
from tests.support.patience import until


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
    for one in (plain, msgspec.structs.replace(plain, until=9), msgspec.structs.replace(plain, request=True)):
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
