"""From a durable batch to the devices: marks on the hot node, then one publish per gateway process.

A batch is marked in the order of its appends, one batch in flight; what arrives meanwhile is the next. Sessions on this
process get a live event at once, before the marks: an early delivery is harmless, a late mark is too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import hiredis

from delivery.inbox import mark_commands
from delivery.outbox import Progress
from delivery.roster import Roster, owed, unique
from delivery.session import Event
from delivery.store.interface import DeviceRow, Logged, OutboxRow, Store, Unavailable
from whatsapp.infra import faults, metrics
from whatsapp.infra.batcher import Batcher
from whatsapp.infra.bus import Bus
from whatsapp.infra.directory import SessionEntry, parse_sessions, sessions_key
from whatsapp.infra.valkey import Command, HotUnavailable

log = logging.getLogger(__name__)

LIVE = "live"  # payload: [logged as a list, [users]]
POKE = "poke"  # payload: [conversation, seq, [users]]: there is something up to seq, read it

Deliver = Callable[[Event, Sequence[str]], None]
Marks = dict[tuple[str, str], dict[str, int]]


class Batch:
    """What one append stored: its outbox row and events, in log order."""

    __slots__ = ("durable", "events", "row", "writer")

    def __init__(self, writer: str, row: int, events: list[Event], durable: float) -> None:
        self.writer = writer
        self.row = row
        self.events = events
        self.durable = durable  # loop time of its commit


class Fanout:
    """Marks, looks up sessions and publishes. ``deliver(event, users)`` acts on the sessions of this process; the bus calls
    the same on the others."""

    def __init__(self, store: Store, bus: Bus, roster: Roster, deliver: Deliver) -> None:
        self._bus = bus
        self._roster = roster
        self._deliver = deliver
        self._batches: Batcher[Batch] = Batcher(self._run)
        self.oldest = 0.0  # loop time since which a batch in flight is durable, 0: none is
        self.progress = Progress(store, bus, self.replay)

    def add(self, batch: Batch) -> None:
        self._batches.add(batch)

    async def drained(self) -> None:
        await self._batches.drained()

    async def _run(self, batches: list[Batch]) -> None:
        events = [event for batch in batches for event in batch.events]
        time = asyncio.get_running_loop().time
        started, self.oldest = time(), batches[0].durable
        hot = self._bus.hot
        epoch = hot.epoch
        try:
            targets = await self._targets([event.logged for event in events])
            everyone = unique([user for users in targets for user in users])
            devices = await self._roster.devices(everyone)
            # Live first: the sessions here need no look-up.
            for event, users in zip(events, targets, strict=True):
                self._deliver(event, users)
            faults.point("before-mark")
            marks = _marks([event.logged for event in events], targets, devices)
            sessions = await self._mark(marks, everyone)
            metrics.marked(len(events), time() - started)
        except (HotUnavailable, Unavailable, hiredis.ReplyError):
            self.progress.failed()
            return
        except Exception:
            log.exception("a batch was not marked")
            self.progress.failed()
            return
        finally:
            self.oldest = 0.0
        faults.point("mark-push")
        own = self._bus.process
        for event, event_users in zip(events, targets, strict=True):
            by_process: dict[str, list[str]] = {}
            for user in event_users:
                for process in {entry.process for entry in sessions.get(user, {}).values()}:
                    if process != own:
                        by_process.setdefault(process, []).append(user)
            for process, there in by_process.items():
                self._bus.send(process, LIVE, (event.logged, there))
        self.progress.done(batches[-1].writer, epoch, batches[-1].row)

    async def replay(self, rows: Sequence[OutboxRow]) -> None:
        """Mark and publish rows again, as "there is something up to seq". Raises what the hot node or the store raise."""
        heads: dict[str, int] = {}
        for row in rows:
            for conversation, seq in row.heads:
                heads[conversation] = max(seq, heads.get(conversation, 0))
        lists = await self._roster.lists(heads)
        users_of: dict[str, list[str]] = {}
        for conversation in heads:
            known = lists.get(conversation)
            # Whoever left may still be owed what came before; a mark too many is removed by the page that finds nothing.
            users_of[conversation] = unique([interval.user for interval in known.members]) if known else []
        everyone = unique([user for users in users_of.values() for user in users])
        devices = await self._roster.devices(everyone)
        marks: Marks = {}
        for conversation, seq in heads.items():
            for user in users_of[conversation]:
                for device in devices[user]:
                    marks.setdefault((user, device.device), {})[conversation] = seq
        sessions = await self._mark(marks, everyone)
        for conversation, seq in heads.items():
            by_process: dict[str, list[str]] = {}
            for user in users_of[conversation]:
                for process in {entry.process for entry in sessions.get(user, {}).values()}:
                    by_process.setdefault(process, []).append(user)
            for process, there in by_process.items():
                self._bus.send(process, POKE, (conversation, seq, there))

    async def _targets(self, logged: Sequence[Logged]) -> list[list[str]]:
        """Users owed each event."""
        heads: dict[str, int] = {}
        for event in logged:
            heads[event.conversation] = max(event.seq, heads.get(event.conversation, 0))
        lists = await self._roster.lists(heads)
        return [owed(lists[event.conversation], event.seq) for event in logged]

    async def _mark(self, marks: Marks, users: Sequence[str]) -> dict[str, dict[str, SessionEntry]]:
        """Write marks and read the sessions of ``users`` in one pipeline; marks come before the look-up, because a device
        registers before it reads its marks."""
        commands: list[Command] = list(mark_commands(marks))
        if users:
            commands.append(("MGET", *[sessions_key(user) for user in users]))
        answers = await self._bus.hot.run(commands)
        if not users:
            return {}
        return {user: parse_sessions(raw) for user, raw in zip(users, answers[-1], strict=True)}


def _marks(
    logged: Sequence[Logged],
    targets: Sequence[Sequence[str]],
    devices: Mapping[str, Sequence[DeviceRow]],
) -> Marks:
    marks: Marks = {}
    for event, users in zip(logged, targets, strict=True):
        for user in users:
            for row in devices[user]:
                # The sending device has the event: its ✓ carries the seq.
                if row.device != event.device:
                    conversations = marks.setdefault((user, row.device), {})
                    if conversations.get(event.conversation, 0) < event.seq:
                        conversations[event.conversation] = event.seq
    return marks
