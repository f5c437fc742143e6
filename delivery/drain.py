"""Long backlogs by the Celery ``drain`` task: it writes encoded batches to a stream, the gateway forwards one per ack.

``{user}:drain:<device>:<generation>``, 10 minutes. The stream is a convenience: if the task is late, dies, or the stream is
lost, the gateway pages the log itself from where it was, which is the same read. So it does when it hears of an edit or a
delete in a conversation of the stream: what was emptied in the log is then not forwarded from a copy. The copy itself goes, too,
whatever became of the gateway: :mod:`delivery.drained`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import hiredis
import msgspec

from delivery.drained import TTL_S, announce
from delivery.runs import Run
from delivery.session import Session, State
from delivery.store.interface import Store
from delivery.store.values import PageRequest
from delivery.view import item_for, page_bytes
from whatsapp.infra import clock, faults, metrics
from whatsapp.infra.hot import Hot
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.valkey import HotUnavailable
from whatsapp.wire.codec import Codec

log = logging.getLogger(__name__)

#: A task writes no more than this at once; the gateway asks for the next part when it was forwarded.
MAX_PART_BYTES = 16 * 1024 * 1024
MAX_CONVERSATIONS = 500
POLL_S = 0.02

Send = Callable[[Session, Run, bytes, str, int, int], Awaitable[None]]


class DrainRequest(msgspec.Struct):
    """The argument of the task: references only. ``work``: (conversation, after, head).

    A worker that does not know all of it must fail, and the gateway reads by itself: one of the version before knew ``codec`` and
    would leave the envelopes out."""

    key: str
    user: str
    codec_id: str
    limit: int
    work: list[tuple[str, int, int]]
    device: str


class Entry(NamedTuple):
    id: bytes
    conversation: str  # "" in the last entry of a part
    after: int
    last: int
    through: int
    data: bytes


class Drain:
    """The gateway's side. ``submit`` enqueues the task off the loop and swallows what the broker raises."""

    def __init__(self, hot: Hot, submit: Callable[[DrainRequest], None]) -> None:
        self._hot = hot
        self._submit = submit
        self._count = 0

    async def serve(self, session: Session, run: Run, send: Send) -> bool:
        """Forward one part. False when the gateway should read on by itself."""
        self._count += 1
        key = f"{{{session.user}}}:drain:{session.device}:{session.generation}-{self._count}"
        work = [
            (c, session.sent[c], run.heads[c])
            for c in run.queue
            if c in session.sent and session.sent[c] < run.heads[c]
        ]
        run.rewritten.clear()
        request = DrainRequest(
            key, session.user, session.codec.id, run.limit, work[:MAX_CONVERSATIONS], session.device
        )
        forwarded = 0
        try:
            # The gateway makes the stream and the task only adds to it: once it is gone, nothing brings it back.
            done, _ = await self._hot.run([("XADD", key, "*", "start", ""), ("EXPIRE", key, TTL_S)])
            last = done
            if session.sync is not run:
                return False
            self._submit(request)
            while session.sync is run and session.state is State.SYNCING:
                entry = await self._next(key, last, done)
                if entry is None:
                    metrics.count("drains", "late")
                    return False
                done = last = entry.id
                if not entry.conversation:
                    metrics.count("drains", "part")
                    return forwarded > 0  # an empty part: there is nothing that a task could read
                if session.sent.get(entry.conversation) != entry.after:
                    metrics.count("drains", "out_of_step")
                    return False
                if entry.conversation in run.rewritten and not faults.off("rewritten"):
                    metrics.count("drains", "rewritten")
                    return False
                if entry.through >= run.heads.get(entry.conversation, 0) and entry.conversation in run.queue:
                    run.queue.remove(entry.conversation)
                forwarded += 1
                await send(session, run, entry.data, entry.conversation, entry.last, entry.through)
        except (HotUnavailable, hiredis.ReplyError):
            metrics.count("drains", "lost")
        finally:
            try:
                await self._hot.run([("UNLINK", key)])
            except (HotUnavailable, hiredis.ReplyError):
                pass
        return False

    async def _next(self, key: str, after: bytes, done: bytes) -> Entry | None:
        """The entry behind ``after``; ``done`` was acknowledged and goes. None when the task is late, or the stream was taken
        away."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LIMITS.drain_wait_ms / 1000
        commands: list[tuple[Any, ...]] = [
            ("XDEL", key, done),
            ("XREAD", "COUNT", 1, "STREAMS", key, after),
            ("EXISTS", key),
        ]
        while True:
            *_, found, exists = await self._hot.run(commands)
            if found:
                id_, flat = found[0][1][0]
                fields = dict(zip(flat[::2], flat[1::2], strict=True))
                return Entry(
                    id_,
                    fields[b"c"].decode(),
                    int(fields[b"a"]),
                    int(fields[b"l"]),
                    int(fields[b"t"]),
                    fields[b"d"],
                )
            if (loop.time() > deadline or not exists) and not faults.off("drain_wait"):
                return None
            await asyncio.sleep(POLL_S)
            commands = commands[-2:]


async def write_backlog(store: Store, hot: Hot, codec: Codec, request: DrainRequest) -> int:
    """The task's side: page the log and write batches; returns how many. May run twice: the gateway reads in step."""
    remaining = sum(head - after for _, after, head in request.work)
    written = batches = 0
    ends = clock.now_ms() + TTL_S * 1000
    await hot.run(
        announce(request.key, [conversation for conversation, _, _ in request.work], clock.now_ms())
    )
    faults.point("drain-read")
    for conversation, after, head in request.work:
        told = after  # up to here there is a batch; behind it may be a page of nothing but superseded events
        while after < head and written < MAX_PART_BYTES:
            asked = PageRequest(conversation, request.user, after, request.limit, page_bytes(codec))
            (page,) = await store.pages([asked])
            through = max(page.through, after)
            if page.events:
                remaining -= min(through, head) - told
                data = codec.encode_batch(
                    conversation,
                    [
                        codec.encode_item(item_for(logged, request.user, request.device))
                        for logged in page.events
                    ],
                    through,
                    page.head,
                    max(0, remaining),
                )
                fields = _fields(conversation, told, page.events[-1].seq, through, data)
                now = clock.now_ms()
                ends = min([ends, *(logged.until for logged in page.events if logged.until > now)])
                if not await _add(hot, request.key, fields, ends - now):
                    return batches  # the gateway wants no more
                faults.point("drain-batch")
                written += len(data)
                batches += 1
                after = told = through
            elif through > after:
                after = through
            else:
                break  # nothing owed here: the gateway's own page passes it and tells the client
    await _add(hot, request.key, _fields("", 0, 0, 0, b""), ends - clock.now_ms())
    return batches


async def _add(hot: Hot, key: str, fields: tuple[Any, ...], ms: int) -> bool:
    """Add to a stream that ends after ``ms``, or earlier, as it was said before. False when it is gone."""
    # The end first: whatever is in it is never there for longer.
    _, added = await hot.run([("PEXPIRE", key, max(ms, 1)), ("XADD", key, "NOMKSTREAM", "*", *fields)])
    return bool(added)


def _fields(conversation: str, after: int, last: int, through: int, data: bytes) -> tuple[Any, ...]:
    return ("c", conversation, "a", after, "l", last, "t", through, "d", data)
