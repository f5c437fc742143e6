"""From a durable batch to the devices: marks on the hot node, then one publish per gateway process.

What groups are owed goes to their lanes, in the same pipeline, and from there by a worker (:mod:`delivery.lane_worker`).

A batch is marked in the order of its appends, one batch in flight; what arrives meanwhile is the next. Sessions on this
process get a live event at once, before the marks: an early delivery is harmless, a late mark is too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import hiredis

from delivery.absent import report_events, report_marked
from delivery.drained import emptied, look, take_away
from delivery.inbox import mark_commands
from delivery.lanes import DONE, Entry, Lanes, SubmitLane, lane_of
from delivery.outbox import Progress
from delivery.ports import Absent
from delivery.roster import Roster, last_owed, owed, unique
from delivery.session import Event
from delivery.store.interface import Store, Unavailable
from delivery.store.values import DeviceRow, Logged, OutboxRow
from delivery.tracing import Tracing
from delivery.wired import wired
from whatsapp.infra import faults, metrics
from whatsapp.infra.batcher import Batcher
from whatsapp.infra.bus import Bus
from whatsapp.infra.directory import SessionEntry, parse_sessions, sessions_key
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.valkey import Command, HotUnavailable

log = logging.getLogger(__name__)

LIVE = "live"  # payload: [logged as a list, [users]]
#: How long the lag of a lane counts after it was seen.
LAG_COUNTS_MS = 1_000

#: Of a replay, in one step: what takes longer than a connection waits would be tried again and again.
REPLAY_CONVERSATIONS = 128
REPLAY_USERS = 10_000

POKE = "poke"  # payload: [conversation, seq, [users]]: there is something up to seq, read it

Deliver = Callable[[Event, Sequence[str]], None]
Marks = dict[tuple[str, str], dict[str, int]]
#: Whether a replay is for this user.
Only = Callable[[str], bool]


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

    def __init__(
        self, store: Store, bus: Bus, roster: Roster, deliver: Deliver, submit_lane: SubmitLane | None = None
    ) -> None:
        self._store = store
        self._bus = bus
        self._roster = roster
        self._deliver = deliver
        self._lanes = Lanes(bus, submit_lane) if submit_lane is not None else None
        self._lag: dict[int, tuple[float, int]] = {}  # lane -> (loop time, ms) when it was last seen
        self._batches: Batcher[Batch] = Batcher(self._run)
        self.added = 0  # batches ever
        self.oldest = 0.0  # loop time since which a batch in flight is durable, 0: none is
        self.tracing = Tracing()
        self.absent: Absent | None = None
        self.here: Callable[[str], bool] = lambda user: (
            True
        )  # whether this process has the sessions of a user
        #: (conversation, seq) of what could not be put into its lane.
        self._around: Batcher[tuple[str, int]] = Batcher(self._go_around)
        self.progress = Progress(store, bus, self.replay, self._lanes.oldest if self._lanes else None)
        bus.subscribe(DONE, self._lane_done)
        bus.on_undelivered(LIVE, self._unheard)
        bus.on_undelivered(POKE, self._unheard)

    def add(self, batch: Batch) -> None:
        self.added += 1
        self._batches.add(batch)

    def lags(self, conversation: str) -> bool:
        """Whether the lane of this group is so late that its senders are told ``queued``."""
        seen = self._lag.get(lane_of(conversation))
        if seen is None:
            return False
        at, lag_ms = seen
        waited = (asyncio.get_running_loop().time() - at) * 1000
        return lag_ms > LIMITS.lane_lag_ms and waited < LAG_COUNTS_MS

    async def drained(self) -> None:
        await self._batches.drained()

    def _lane_done(self, reports: Sequence[tuple[str, int, str, int]]) -> None:
        for report in reports:
            self.progress.lane_done(*report)

    def _unheard(self, payload: Sequence[Any]) -> None:
        """The process that has their sessions does not listen."""
        if self.absent is not None:
            self.absent.unheard(payload[-1])

    async def _run(self, batches: list[Batch]) -> None:
        by_lane = self._by_lane(batches)
        events = [event for batch in batches for event in batch.events if not (event.group and self._lanes)]
        time = asyncio.get_running_loop().time
        started, self.oldest = time(), batches[0].durable
        hot = self._bus.hot
        epoch = hot.epoch
        lost: list[Exception] = []
        try:
            targets = await self._targets(events)
            everyone = unique([user for users in targets for user in users])
            # Live first: the sessions here need no look-up, nor do they wait for lists of devices behind a crowd that connects.
            for event, users in zip(events, targets, strict=True):
                self._deliver(event, users)
            devices = await self._roster.devices(everyone)
            faults.point("before-mark")
            marks = _marks([event.logged for event in events], targets, devices)
            rewritten = emptied(event for batch in batches for event in batch.events)
            sessions = await self._mark(marks, everyone, by_lane, rewritten, lost)
            metrics.MARK.observe(time() - started, len(events))
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
        if self.tracing.watched:
            places = {user: {entry.process for entry in found.values()} for user, found in sessions.items()}
            self.tracing.fanned_out([event.logged for event in events], targets, marks, places, epoch)
        if self.absent is not None:
            owed_to = [([event.logged], users) for event, users in zip(events, targets, strict=True)]
            report_events(self.absent, owed_to, devices, sessions.get)
        own = self._bus.process
        for event, event_users in zip(events, targets, strict=True):
            by_process: dict[str, list[str]] = {}
            for user in event_users:
                for process in {entry.process for entry in sessions.get(user, {}).values()}:
                    if process != own:
                        by_process.setdefault(process, []).append(user)
                    elif self.absent is not None and not self.here(user):
                        self.absent.unheard((user,))  # it was closed a moment ago
            for process, there in by_process.items():
                self._bus.send(process, LIVE, (wired(event.logged), there))
        if lost:
            self.progress.failed()  # who is on the other nodes has heard of it
        else:
            self.progress.done(batches[-1].writer, epoch, batches[-1].row)

    async def replay(
        self, rows: Sequence[OutboxRow], only: Only | None = None, lost: list[Exception] | None = None
    ) -> None:
        """Mark and publish rows again, as "there is something up to seq"; ``only``: for whom it is not done already. Raises what
        the hot node or the store raise; with ``lost`` a node of several that is away takes nothing from the others, and what
        its commands failed with is added there."""
        await self._replay_heads([head for row in rows for head in row.heads], only, lost)

    async def _go_around(self, heads: list[tuple[str, int]]) -> None:
        """The node that has their lanes is away. Members elsewhere are told all the same, without a lane; the rows stay open."""
        if faults.off("share"):
            return
        try:
            await self._replay_heads(heads, self._bus.hot.reaches, [])
        except (HotUnavailable, Unavailable, hiredis.ReplyError):
            pass

    async def _replay_heads(
        self, of: Iterable[tuple[str, int]], only: Only | None, lost: list[Exception] | None
    ) -> None:
        heads: dict[str, int] = {}
        for conversation, seq in of:
            heads[conversation] = max(seq, heads.get(conversation, 0))
        for some in _batched(heads, REPLAY_CONVERSATIONS):
            lists = await self._roster.lists({conversation: heads[conversation] for conversation in some})
            hidden = await self._store.withheld_after(some)
            part: dict[str, dict[str, int]] = {}
            for conversation in some:
                known = lists.get(conversation)
                part[conversation] = last_owed(known, heads[conversation]) if known else {}
                if only is not None:
                    part[conversation] = {u: seq for u, seq in part[conversation].items() if only(u)}
                for user, seq in list(part[conversation].items()):
                    before, through = hidden.get((conversation, user), (0, 0))
                    if before < seq <= through:  # all of it up to there is withheld from this user
                        part[conversation][user] = before
                        if not before:
                            del part[conversation][user]
                if sum(map(len, part.values())) >= REPLAY_USERS:
                    await self._replay(part, lost)
                    part = {}
            await self._replay(part, lost)

    async def _replay(self, owed_of: Mapping[str, Mapping[str, int]], lost: list[Exception] | None) -> None:
        """``owed_of``: conversation → user → up to where."""
        everyone = unique([user for users in owed_of.values() for user in users])
        devices = await self._roster.devices(everyone)
        marks: Marks = {}
        for conversation, users in owed_of.items():
            for user, seq in users.items():
                for device in devices[user]:
                    marks.setdefault((user, device.device), {})[conversation] = seq
        # What was stored there is not known any more: maybe something that empties.
        sessions = await self._mark(marks, everyone, rewritten=list(owed_of), lost=lost)
        if self.absent is not None:
            report_marked(self.absent, marks, sessions)
        for conversation, users in owed_of.items():
            places: dict[tuple[str, int], list[str]] = {}
            for user, seq in users.items():
                for process in {entry.process for entry in sessions.get(user, {}).values()}:
                    places.setdefault((process, seq), []).append(user)
            for (process, seq), there in places.items():
                self._bus.send(process, POKE, (conversation, seq, there))

    async def _targets(self, events: Sequence[Event]) -> list[list[str]]:
        """Users owed each event. What is withheld the append itself has said: there is nothing that could be out of date."""
        heads: dict[str, int] = {}
        for event in events:
            logged = event.logged
            heads[logged.conversation] = max(logged.seq, heads.get(logged.conversation, 0))
        lists = await self._roster.lists(heads)
        return [
            [event.logged.sender]
            if event.withheld and not faults.off("withheld")
            else owed(lists[event.logged.conversation], event.logged.seq)
            for event in events
        ]

    def _by_lane(self, batches: Sequence[Batch]) -> list[tuple[int, Entry]]:
        """What goes to lanes: an entry for each batch and lane, in order."""
        found: list[tuple[int, Entry]] = []
        if self._lanes is None:
            return found
        for batch in batches:
            entries: dict[int, Entry] = {}
            for event in batch.events:
                if event.group:
                    lane = lane_of(event.logged.conversation)
                    entry = entries.get(lane)
                    if entry is None:
                        entry = entries[lane] = Entry(batch.writer, batch.row, self._bus.process, [])
                    entry.events.append(event.logged)
            found += entries.items()
        return found

    def _queued(
        self, by_lane: Sequence[tuple[int, Entry]], tokens: Sequence[str], answers: Sequence[Any]
    ) -> None:
        """The entries are in their lanes: their rows stay open until the workers report them."""
        assert self._lanes is not None
        now = asyncio.get_running_loop().time()
        opened: dict[tuple[str, int], dict[int, tuple[int, int]]] = {}
        for (lane, entry), token, answer in zip(by_lane, tokens, answers, strict=True):
            if isinstance(answer, HotUnavailable):  # the whole batch counts as failed
                for event in entry.events:
                    self._around.add((event.conversation, event.seq))
                continue
            added = self._lanes.added(lane, token, answer)
            if added.id is None:
                self.progress.failed()  # the lane is full: the writer marks the row itself, in its own time
                self._lag[lane] = (now, LIMITS.lane_lag_ms + 1)
                continue
            self._lag[lane] = (now, added.lag_ms)
            opened.setdefault((entry.writer, entry.row), {})[lane] = added.id
        for (writer, row), ids in opened.items():
            self.progress.opened(writer, row, ids)

    async def _mark(
        self,
        marks: Marks,
        users: Sequence[str],
        by_lane: Sequence[tuple[int, Entry]] = (),
        rewritten: Sequence[str] = (),
        lost: list[Exception] | None = None,
    ) -> dict[str, dict[str, SessionEntry]]:
        """With ``lost`` a node of several that is away takes nothing from the others: what its commands failed with is added
        there. Write marks and entries of lanes, and read the sessions of ``users``, in one pipeline; marks come before the
        look-up, because a device registers before it reads its marks. Drained copies of what was ``rewritten`` go. A user whose
        node is away is not in the answer."""
        commands: list[Command] = []
        tokens: list[str] = []
        for lane, entry in by_lane:
            command, token = self._lanes.add_command(lane, entry)  # type: ignore[union-attr]
            commands.append(command)
            tokens.append(token)
        looks = look(rewritten)
        commands += [*looks, *mark_commands(marks)]
        hot = self._bus.hot
        look_ups = hot.mget([sessions_key(user) for user in users]) if users else []
        commands += look_ups
        if lost is None or hot.one_node:
            answers = await hot.run(commands) if commands else []
        else:
            answers = await hot.run_each(commands)
            lost += [answer for answer in answers if isinstance(answer, HotUnavailable)]
            for answer in answers:
                if isinstance(answer, Exception) and not isinstance(answer, HotUnavailable):
                    raise answer
        if looks:
            found = answers[len(by_lane) : len(by_lane) + len(looks)]
            there = {
                conversation: streams
                for conversation, streams in zip(rewritten, found, strict=True)
                if not isinstance(streams, HotUnavailable)
            }
            failed = await take_away(hot, there)
            if failed and lost is None:
                raise failed[0]
            if lost is not None:
                lost += failed
        if by_lane:
            self._queued(by_lane, tokens, answers[: len(by_lane)])
        if not users:
            return {}
        raws = hot.values(answers[-len(look_ups) :])
        return {
            user: parse_sessions(raw)
            for user, raw in zip(users, raws, strict=True)
            if not isinstance(raw, HotUnavailable)
        }


def _batched(items: Iterable[str], size: int) -> Iterator[list[str]]:
    """The items in lists of ``size``."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


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
