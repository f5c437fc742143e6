"""What was emptied in the log is in no drained copy either, whatever became of the gateway that the copy was made for.

Here the copies are looked at as they lie in Valkey. That a living gateway forwards none: ``test_rewritten``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from delivery.drain import DrainRequest, write_backlog
from delivery.drained import TTL_S, index_key
from delivery.store.values import Amendment, Send
from tests.contract.people import amendment, send
from tests.faults.engine import Process, Seat, World
from tests.faults.moments import Held
from tests.gateway.phone import new_id
from tests.support.patience import until
from whatsapp.infra import clock
from whatsapp.wire.codec import PROTOBUF

SECRET = b"the secret"


class Copy:
    """Ann's messages to Bob on their way into a stream whose gateway is gone: nobody reads it, and nobody unlinks it."""

    def __init__(self, world: World) -> None:
        self.world = world

    @classmethod
    async def begin(cls, world: World, *, group: bool = False, lasts: int = 0, kind: str = "text") -> Copy:
        copy = cls(world)
        copy.ann, copy.phone = await world.person()
        copy.bob, copy.tablet = await world.person()
        if group:
            copy.conversation = await world.group((copy.ann, 1, 0), (copy.bob, 1, 0))
        else:
            copy.conversation = await world.direct(copy.ann, copy.bob)
        copy.message = copy.send(SECRET, lasts=lasts, kind=kind)
        await copy.stored(copy.send(b"first"), copy.message, copy.send(b"last"))
        copy.process = await world.process(submit_lane=lambda lane, token: None)
        copy.seat = await copy.process.seat(copy.ann, copy.phone)
        copy.key = f"{{{copy.bob}}}:drain:{copy.tablet}:1-1"
        world.redis.xadd(copy.key, {"start": ""})
        world.redis.expire(copy.key, TTL_S)
        return copy

    ann: str
    phone: str
    bob: str
    tablet: str
    conversation: str
    message: Send
    process: Process
    seat: Seat
    key: str

    def send(self, body: bytes, **fields: Any) -> Send:
        return send(self.conversation, self.ann, self.phone, body=body, **fields)

    def amend(self, kind: str, body: bytes = b"") -> Amendment:
        return amendment(self.conversation, self.ann, self.phone, self.message.message_id, kind, body)

    async def stored(self, *sends: Send) -> None:
        """By a process that then is gone: durable, and nobody was told."""
        await self.world.store.append(new_id(), sends, clock.now_ms())

    async def write(self) -> int:
        """What the task does."""
        work = [(self.conversation, 0, 9)]
        request = DrainRequest(self.key, self.bob, PROTOBUF.id, 100, work, self.tablet)
        return await write_backlog(self.world.store, self.process.hot, PROTOBUF, request)

    async def told(self, amending: Amendment) -> None:
        """Stored and fanned out by Ann's gateway."""
        self.process.node.log.submit(self.seat.session, amending, "", 0.0)
        await self.process.node.log.drained()
        await self.process.node.fanout.drained()

    def raw(self) -> bytes:
        """All that any stream holds."""
        redis = self.world.redis
        found = b""
        for key in redis.scan_iter("*", _type="stream"):
            found += b"".join(value for _, fields in redis.xrange(key) for value in fields.values())
        return found


def edit(copy: Copy) -> Amendment:
    return copy.amend("edit", b"harmless")


def delete(copy: Copy) -> Amendment:
    return copy.amend("delete")


async def after_it_was_written(copy: Copy, amending: Amendment) -> None:
    assert await copy.write() == 1
    assert SECRET in copy.raw()
    await copy.told(amending)
    assert SECRET not in copy.raw()


async def between_read_and_write(copy: Copy, amending: Amendment) -> None:
    page = Held(copy.world.store, "pages")
    writing = asyncio.create_task(copy.write())
    await page.reached()
    await copy.told(amending)
    page.go_on()
    assert await writing == 0, "the stream is gone, and nothing brings it back"
    assert SECRET not in copy.raw()


async def when_its_gateway_dies_at_once(copy: Copy, amending: Amendment) -> None:
    """The one that took the delete: it is committed and nobody was told. The sweep marks it, and does the rest."""
    await copy.write()
    sweep = await copy.world.sweep()
    await sweep.once()
    copy.world.redis.delete("{sweep}:lease")
    await copy.write()
    assert SECRET not in copy.raw(), "an earlier row of the conversation takes it away as well"
    copy.world.redis.xadd(copy.key, {"start": ""})
    await copy.write()
    assert SECRET in copy.raw()
    await copy.stored(amending)
    await sweep.once()
    assert SECRET not in copy.raw()


MOMENTS = (after_it_was_written, between_read_and_write, when_its_gateway_dies_at_once)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("group", [False, True], ids=["direct", "group"])
async def test_what_is_emptied_is_in_no_copy(world: World, moment: Callable[..., Any], group: bool) -> None:
    copy = await Copy.begin(world, group=group)
    await moment(copy, delete(copy) if group else edit(copy))


@pytest.mark.parametrize("moment", [after_it_was_written, between_read_and_write])
async def test_twin_a_copy_is_left(
    world: World, moment: Callable[..., Any], off: Callable[..., None]
) -> None:
    copy = await Copy.begin(world)
    off("drained")
    with pytest.raises(AssertionError):
        await moment(copy, delete(copy))
    assert SECRET in copy.raw()


async def test_what_is_taken_back_is_in_no_copy(world: World) -> None:
    copy = await Copy.begin(world, kind="poll")
    await copy.stored(copy.amend("vote", b"my vote"))
    await copy.write()
    assert b"my vote" in copy.raw()
    await copy.told(copy.amend("reaction", b"+"))
    assert b"my vote" in copy.raw(), "who is busy reacting keeps nobody from a backlog"
    await copy.told(copy.amend("vote"))
    assert b"my vote" not in copy.raw()


async def test_other_conversations_stay(world: World) -> None:
    copy, other = await Copy.begin(world), await Copy.begin(world)
    await copy.write()
    await other.write()
    await copy.told(delete(copy))
    assert not world.redis.exists(copy.key)
    assert world.redis.exists(other.key)
    assert world.redis.zrange(index_key(copy.conversation), 0, -1) == []
    assert world.redis.zrange(index_key(other.conversation), 0, -1) == [other.key.encode()]


async def test_a_copy_ends_with_the_first_message_in_it(world: World) -> None:
    copy = await Copy.begin(world, lasts=60_000)
    await copy.write()
    assert SECRET in copy.raw()
    assert 0 < world.redis.pttl(copy.key) <= 60_000
    brief = await Copy.begin(world, lasts=1_500)
    await brief.write()
    await until(lambda: not world.redis.exists(brief.key), "it ends by itself")
    assert world.redis.exists(copy.key)
    # What has gone already shortens nothing.
    world.redis.xadd(brief.key, {"start": ""})
    assert await brief.write() == 1
    assert SECRET not in b"".join(v for _, f in world.redis.xrange(brief.key) for v in f.values())
    assert world.redis.pttl(brief.key) > 60_000


async def test_what_is_remembered_is_bounded(world: World) -> None:
    copy = await Copy.begin(world)
    key = index_key(copy.conversation)
    world.redis.zadd(key, {f"old {n}": clock.now_ms() - 1 for n in range(50)})
    await copy.write()
    assert world.redis.zrange(key, 0, -1) == [copy.key.encode()]
    assert 0 < world.redis.ttl(key) <= 2 * TTL_S
