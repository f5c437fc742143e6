"""Changes of a conversation by Django code: durable with the caller's transaction, told to everybody right after its commit.

Where the log is in another database, what they return does not say which seqs they have: those are given out after the commit.

The lane takes them like what a gateway stored, so that live members see them in order, and its worker says that the row is
done. Should nothing of that happen, the sweep finds the row within a second, because its writer, made for this one row, has no
heartbeat.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence

import msgspec
from asgiref.sync import async_to_sync
from django.conf import settings

from delivery import lanes, tasks
from delivery.lanes import Entry, lane_of
from delivery.store.changes import NO_DEVICE
from delivery.store.sync import store
from delivery.store.values import Change, Changed, Logged, TimerSet
from whatsapp.infra.bus import channel
from whatsapp.infra.clock import now_ms
from whatsapp.infra.visit import visit

log = logging.getLogger(__name__)


def change_group(*, conversation: str, sender: str, changes: Sequence[Change]) -> Changed:
    """Append events and change members with them; the last statement of the caller's ``transaction.atomic()``.

    See :meth:`delivery.store.interface.Store.change`. Raises ``Unavailable``.
    """
    writer, now = str(uuid.uuid4()), now_ms()

    def then(changed: Changed) -> None:
        if changed.row:
            events = [
                Logged(
                    conversation,
                    seq,
                    0,
                    sender,
                    NO_DEVICE,
                    one.message_id,
                    one.kind,
                    b"",
                    now,
                    now,
                    0,
                    one.extra,
                )
                for seq, one in zip(changed.seqs, changes, strict=True)
            ]
            _tell(Entry(writer, changed.row, "", events))

    return store.change(writer, conversation, sender, changes, now, then)


def set_timer(*, conversation: str, sender: str, seconds: int) -> TimerSet | None:
    """Set how long messages of a conversation are kept from now on, 0: no longer; None for who is no member of it.

    The last statement of the caller's ``transaction.atomic()``. See :meth:`delivery.store.interface.Store.set_timer`. Raises
    ``Unavailable``.
    """
    writer, message_id, now = str(uuid.uuid4()), str(uuid.uuid4()), now_ms()
    extra = msgspec.msgpack.encode({"seconds": seconds or None})

    def then(done: TimerSet | None) -> None:
        if done is not None and done.row:
            event = Logged(
                conversation, done.seq, 0, sender, NO_DEVICE, message_id, "timer", b"", now, now, 0, extra
            )
            _tell(Entry(writer, done.row, "", [event], sender if done.withheld else ""))

    return store.set_timer(writer, conversation, sender, message_id, seconds, extra, now, then)


def _tell(entry: Entry) -> None:
    lane, token = lane_of(entry.events[0].conversation), lanes.new_token()
    try:
        if not async_to_sync(_add)(settings.HOT_URL, lane, token, entry):
            tasks.submit_lane_soon(lane, token)
    except Exception as error:
        log.warning("a change of a conversation is left to the sweep: %s", type(error).__name__)


async def _add(url: str, lane: int, token: str, entry: Entry) -> bool:
    """Whether somebody works on the lane already. In a gateway this runs on the loop that serves the sockets."""
    # A connection of its own: elsewhere async_to_sync brings a new loop with each call.
    async with visit(url) as hot:
        (answer,) = await hot.run(
            [("EVAL", lanes.ADD, 3, *lanes.keys(lane), *lanes.add_arguments(token, entry))]
        )
        _, holder, _, _ = answer
        process = holder.decode().partition(":")[0]
        if process:
            wake = msgspec.msgpack.encode([(lanes.WAKE, (lane, holder.decode()))])
            await hot.run([("SPUBLISH", channel(process), wake)])
    return bool(holder)
