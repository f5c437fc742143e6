"""The worker's side of the lanes: from the head of a lane to marks, one publish per gateway process, and the report.

A task holds a lane while there is something in it and a second longer. It takes what has gathered (a *pass*), resolves the
members by interval from a list that serves these events (R16, R17), marks each device once a conversation, looks up who is
connected, publishes once per gateway process, and only then trims what it took (R14) and reports the rows (R13). It may
die anywhere: the next holder begins at the head again, and marks, publishes and reports may all come twice.

Members whose node of several is away hold nobody up: the pass goes on without them, and reports its rows as not done, so that
their writer marks them again when the node is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import hiredis
import msgspec

from delivery.absent import report_events
from delivery.aside import ATTEMPTS, Aside
from delivery.inbox import mark_commands
from delivery.lane_pace import HOLE_STEP_S, Order, Pace
from delivery.lane_scripts import END, GIVE_BACK, HOLD, ORPHAN, TAKE, TRIM
from delivery.lane_turns import SMALL, Turns
from delivery.lanes import (
    DONE,
    GROUP,
    LANES,
    LEASE_MS,
    WAKE,
    Entry,
    entry_id,
    keys,
    new_token,
    queue_key,
    tag,
)
from delivery.outbox import kept_under
from delivery.parcels import PARCEL_BYTES, parcels, weight
from delivery.ports import Absent
from delivery.roster import Roster, owed, unique
from delivery.store.interface import Store, Unavailable
from delivery.store.values import Conversation, Logged, RosterHead
from delivery.tracing import Tracing
from delivery.wired import wired
from whatsapp.infra import clock, faults, metrics
from whatsapp.infra.bus import Bus
from whatsapp.infra.directory import parse_sessions, sessions_key
from whatsapp.infra.valkey import Command, HotUnavailable

log = logging.getLogger(__name__)

LINGER_S = 1.0  # how long an empty lane is kept: cheaper than a task for each message
POLL_S = 0.5  # a wake that was lost costs this much
PASS_ENTRIES = 256
FIRST_ENTRIES = 16  # before it is known how long a lane's entries are
PASS_BYTES = 8 * 1024 * 1024  # of entries, aimed at
PASS_USERS = 10_000  # of one step. What takes longer than a connection waits would be tried again and again
ORPHANS_EVERY_S = 1.0
MAX_PLACES = 100_000
PASS_S = 30.0  # a pass that takes longer is begun again, by whoever has the lane then

_decode = msgspec.msgpack.Decoder(Entry).decode


class Places(NamedTuple):
    """Where a user's sessions are."""

    raw: bytes  # the record as it was read
    processes: frozenset[str]
    devices: frozenset[str]


class LaneWorker:
    """All lanes that this process holds, on one loop."""

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus
        self._hot = bus.hot
        self._roster = Roster(store)
        self._wakes: dict[int, asyncio.Event] = {}
        self._places: dict[str, Places] = {}
        self._take, self._hold, self._trim, self._end, self._give_back, self._orphan = map(
            bus.hot.script, (TAKE, HOLD, TRIM, END, GIVE_BACK, ORPHAN)
        )
        self._aside = Aside(bus.hot)
        self._turns = Turns()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._leaving = False
        self.tracing = Tracing(bus)
        self.absent: Absent | None = None
        self.waiting = 0  # entries of all lanes, and the age of the oldest, when they were last looked at
        self.lag_ms = 0
        metrics.source("whatsapp_lane_entries", "Entries that wait in all lanes.", lambda: self.waiting)
        metrics.source(
            "whatsapp_lane_lag_seconds", "Age of the oldest entry of any lane.", lambda: self.lag_ms / 1000
        )
        metrics.source("whatsapp_lanes_held", "Lanes that this process works on.", lambda: len(self._wakes))
        bus.subscribe(WAKE, self._woken)
        bus.on_undelivered(GROUP, self._unheard)

    def leave(self) -> None:
        """Give every lane back after the pass that is under way, and take no more. Callable from any thread."""
        self._leaving = True

    def _woken(self, payload: Any) -> None:
        wake = self._wakes.get(payload[0])
        if wake is not None:
            wake.set()

    def _unheard(self, payload: Any) -> None:
        """The process that has their sessions does not listen."""
        if self.absent is not None:
            for _, users in payload:
                self.absent.unheard(users)

    async def run(self, lane: int, token: str) -> int:
        """Work on a lane that ``token`` was left for, until it is empty or another has it. Returns the number of passes."""
        own = new_token(self._bus.process)
        if self._leaving:
            return 0
        try:
            (taken,) = await self._hot.run([self._take.call(keys(lane), [token, own, LEASE_MS])])
        except (HotUnavailable, hiredis.ReplyError):
            return 0
        if not taken:
            return 0  # a second delivery of the task, or it came too late
        faults.point("lane-take")
        wake = self._wakes[lane] = asyncio.Event()
        try:
            return await self._work(lane, own, wake)
        finally:
            if self._wakes.get(lane) is wake:
                del self._wakes[lane]

    async def look_for_orphans(self) -> None:
        """For ever: lanes with entries that nobody holds are taken here, whatever became of their task (R15)."""
        while True:
            await asyncio.sleep(ORPHANS_EVERY_S)
            if not self._hot.partly or self._leaving or faults.off("orphans"):
                continue
            token = new_token()
            try:
                answers = await self._hot.run_each(
                    [self._orphan.call(keys(lane), [token, LEASE_MS]) for lane in range(LANES)]
                )
            except (HotUnavailable, hiredis.ReplyError):
                continue
            # Lanes of a node that is away are looked at when it is back.
            there = {lane: answer for lane, answer in enumerate(answers) if not isinstance(answer, Exception)}
            self.waiting = sum(waiting for _, waiting, _ in there.values())
            self.lag_ms = max((age for _, _, age in there.values()), default=0)
            for lane, (mine, _, _) in there.items():
                if mine:
                    self._start(self.run(lane, token))

    def _start(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, lane: int, token: str, wake: asyncio.Event) -> int:
        loop = asyncio.get_running_loop()
        passes, idle_since, size, failed = 0, loop.time(), FIRST_ENTRIES, 0
        pace, order = Pace(idle_since), Order()
        while True:
            wake.clear()
            started = loop.time()
            found: list[Any] = []
            try:
                if self._leaving:
                    await self._hot.run([self._give_back.call(keys(lane), [token])])
                    return passes
                held, found = await self._hot.run(
                    [
                        self._hold.call(keys(lane), [token, LEASE_MS]),
                        ("XRANGE", queue_key(lane), "-", "+", "COUNT", size),
                    ]
                )
                if not held:
                    return passes
                if found:
                    entries = list(_entries(lane, found))
                    if len(found) < size and order.wait(entries, started):
                        await asyncio.sleep(HOLE_STEP_S)
                        continue
                    keeper = loop.create_task(self._keep(lane, token))
                    try:
                        async with asyncio.timeout(PASS_S) as limit:
                            deliveries = await self._pass(lane, token, found, entries, limit)
                    finally:
                        keeper.cancel()
                    order.passed(entries)
                    gap = pace.gap(started, deliveries)
                    passes, failed = passes + 1, 0
                    idle_since = loop.time()
                    if len(found) < size:
                        await asyncio.sleep(max(0.0, started + gap - loop.time()))
                    size = _next_size(size, found)
                    continue
                if loop.time() - idle_since >= LINGER_S:
                    end = self._give_back if faults.off("lane_end") else self._end
                    (ended,) = await self._hot.run([end.call(keys(lane), [token])])
                    if ended:
                        return passes
                    continue
            except (HotUnavailable, Unavailable, TimeoutError) as error:
                log.info("lane %d waits: %s", lane, error)
                size = 1
                failed += len(found) == 1 and isinstance(error, TimeoutError)
                await asyncio.sleep(0.2)
                if not self._hot.reaches(tag(lane)):
                    return passes  # who ever takes it next begins at its head
                if failed >= ATTEMPTS:
                    failed = await self._set_aside(lane, token, found, error)
                continue
            except Exception as error:
                if faults.off("aside"):
                    raise
                log.warning("a pass of %d entries of lane %d failed", len(found), lane, exc_info=error)
                # Whatever it is, half of them do not have it, in the end all but one.
                size = max(1, len(found) // 2)
                failed += len(found) == 1
                await asyncio.sleep(0.2 if failed else 0)
                if failed >= ATTEMPTS:
                    failed = await self._set_aside(lane, token, found, error)
                continue
            try:
                async with asyncio.timeout(POLL_S):
                    await wake.wait()
            except TimeoutError:
                pass

    async def _set_aside(self, lane: int, token: str, found: Sequence[Any], error: Exception) -> int:
        """The one entry that fails again and again leaves the lane. Returns the failures that count from here on."""
        ((id_, fields),) = found
        try:
            await self._aside.put(lane, token, id_, fields[1], error)
        except (HotUnavailable, hiredis.ReplyError):
            return ATTEMPTS - 1
        return 0

    async def _keep(self, lane: int, token: str) -> None:
        """For ever: a pass may take longer than the lease. If another took the lane meanwhile, it would take as long, lose it
        in its turn, and nobody would ever trim."""
        while True:
            await asyncio.sleep(LEASE_MS / 3000)
            with contextlib.suppress(HotUnavailable, hiredis.ReplyError):
                await self._hot.run([self._hold.call(keys(lane), [token, LEASE_MS])])

    async def _pass(
        self, lane: int, token: str, found: Sequence[Any], entries: Sequence[Entry], limit: asyncio.Timeout
    ) -> int:
        """Returns how many events went to connected users, each counted for each of them."""
        epoch = self._hot.epoch  # before the marks (R3)
        if faults.off("trim_last"):
            await self._trim_to(lane, token, found)
        missed: set[str] = set()  # groups of which somebody could not be reached
        deliveries = await self._fan_out(
            [event for entry in entries if not entry.only for event in entry.events], limit, missed
        )
        if alone := [(entry.events, [entry.only]) for entry in entries if entry.only]:
            deliveries += await self._push(alone, missed)
        faults.point("lane-push")
        await self._trim_to(lane, token, found)
        faults.point("lane-trim")
        reports: dict[str, list[tuple[str, int, str, int]]] = {}
        for entry in entries:
            if entry.process:
                under = "" if _missed(entry, missed) else epoch
                reports.setdefault(entry.process, []).append((entry.writer, entry.row, under, lane))
        for process, rows in reports.items():
            self._bus.send(process, DONE, rows)
        # Rows of which somebody was not reached stay open: their writer, or the sweep, marks them again.
        orphans = [
            (entry.writer, entry.row) for entry in entries if not entry.process and not _missed(entry, missed)
        ]
        if orphans:
            self._start(self._done(orphans, epoch))
        metrics.batch("lane", len(entries))
        return deliveries

    async def _trim_to(self, lane: int, token: str, found: Sequence[Any]) -> None:
        ms, number = entry_id(found[-1][0])
        size = sum(len(fields[1]) for _, fields in found)
        await self._hot.run([self._trim.call(keys(lane), [token, f"{ms}-{number + 1}", size])])

    async def _done(self, rows: Sequence[tuple[str, int]], epoch: str) -> None:
        """Rows of writers that live nowhere, each of one conversation, so of one lane: nobody but the sweep would say that they
        are done, by marking and publishing them once more. What fails here is left to it."""
        try:
            for writer, row in rows:
                await self._store.outbox_done(writer, kept_under(epoch), row, clock.now_ms())
        except Unavailable:
            pass
        except Exception:
            log.exception("rows of changes were not marked as done")

    async def _fan_out(
        self,
        events: Sequence[Logged],
        limit: asyncio.Timeout | None = None,
        missed: set[str] | None = None,
    ) -> int:
        """``missed`` takes the groups of which somebody could not be reached."""
        missed = missed if missed is not None else set()
        by_conversation: dict[str, dict[int, Logged]] = {}
        for event in events:
            by_conversation.setdefault(event.conversation, {})[event.seq] = event
        heads = await self._store.roster_heads(list(by_conversation))
        large = {c for c, head in heads.items() if head.members > SMALL}
        small = {c: at for c, at in by_conversation.items() if c not in large}
        members = sum(heads[c].members for c in small if c in heads)
        deliveries = 0
        if large and small and members <= SMALL:  # they wait for nobody, whatever is beside them in the lane
            deliveries = await self._reach(small, heads, missed)
            by_conversation, members = {c: by_conversation[c] for c in large}, 0
        members += sum(heads[c].members for c in large)
        async with self._turns.of(members, limit, PASS_S):
            return deliveries + await self._reach(by_conversation, heads, missed)

    async def _reach(
        self,
        by_conversation: Mapping[str, Mapping[int, Logged]],
        heads: Mapping[str, RosterHead],
        missed: set[str],
    ) -> int:
        lists = await self._roster.lists({c: heads[c].changed for c in by_conversation if c in heads})
        step: list[tuple[list[Logged], list[str]]] = []
        deliveries = 0
        for conversation, at in by_conversation.items():
            if conversation in lists:
                for part in _parts(lists[conversation], [at[seq] for seq in sorted(at)]):
                    step.append(part)
                    if sum(len(users) for _, users in step) >= PASS_USERS:
                        deliveries += await self._push(step, missed)
                        step = []
        return deliveries + await self._push(step, missed)

    async def _push(self, parts: Sequence[tuple[list[Logged], list[str]]], missed: set[str]) -> int:
        everyone = unique([user for _, users in parts for user in users])
        if not everyone:
            return 0
        devices = await self._roster.devices(everyone)
        faults.point("lane-mark")
        marks: dict[tuple[str, str], dict[str, int]] = {}
        for logged, users in parts:
            conversation, sent_by = logged[0].conversation, {event.device for event in logged}
            top = logged[-1].seq
            for user in users:
                for row in devices[user]:
                    seq = top if row.device not in sent_by else _by_others(logged, row.device)
                    if seq:
                        marks.setdefault((user, row.device), {})[conversation] = seq
        commands: list[Command] = list(mark_commands(marks))
        look_ups = self._hot.mget([sessions_key(user) for user in everyone])
        # Marks before the look-up: a device registers before it reads its marks.
        # Who is on a node that is away is reached later; nobody else waits for that.
        run = self._hot.run if faults.off("share") else self._hot.run_each
        answers = await run([*commands, *look_ups])
        sessions = self._hot.values(answers[-len(look_ups) :])
        for error in answers:
            if isinstance(error, Exception) and not isinstance(error, HotUnavailable):
                raise error
        away = {
            user
            for (user, _), answer in zip(marks, answers[: len(commands) : 2], strict=True)
            if isinstance(answer, HotUnavailable)
        }
        away.update(
            user for user, raw in zip(everyone, sessions, strict=True) if isinstance(raw, HotUnavailable)
        )
        missed.update(logged[0].conversation for logged, users in parts if not away.isdisjoint(users))
        places = {
            user: self._where(user, raw)
            for user, raw in zip(everyone, sessions, strict=True)
            if raw and not isinstance(raw, HotUnavailable)
        }
        processes = {user: found.processes for user, found in places.items()}
        if self.absent is not None:

            def devices_of(user: str) -> Collection[str] | None:
                found = places.get(user)
                return found.devices if found is not None else None if user in away else ()

            report_events(self.absent, parts, devices, devices_of)
        if self.tracing.watched:
            each = [(event, users) for logged, users in parts for event in logged]
            self.tracing.fanned_out(
                [event for event, _ in each], [users for _, users in each], marks, processes, self._hot.epoch
            )
        out: dict[str, list[tuple[list[Logged], list[str]]]] = {}
        for logged, users in parts:
            there: dict[str, list[str]] = {}
            for user in users:
                for process in processes.get(user, ()):
                    there.setdefault(process, []).append(user)
            for process, some in there.items():
                out.setdefault(process, []).append((logged, some))
        size = sum(weight(event) for logged, _ in parts for event in logged)
        for process, items in out.items():
            for parcel in (items,) if size <= PARCEL_BYTES else parcels(items):
                self._bus.send(process, GROUP, [(list(map(wired, logged)), some) for logged, some in parcel])
        return sum(len(logged) * len(some) for items in out.values() for logged, some in items)

    def _where(self, user: str, raw: bytes) -> Places:
        """Records change far less often than they are read."""
        known = self._places.get(user)
        if known is None or known.raw != raw:
            if len(self._places) >= MAX_PLACES:
                self._places.clear()
            found = parse_sessions(raw)
            known = Places(raw, frozenset(entry.process for entry in found.values()), frozenset(found))
            self._places[user] = known
        return known


def _missed(entry: Entry, missed: set[str]) -> bool:
    return bool(missed) and any(event.conversation in missed for event in entry.events)


def _next_size(size: int, found: Sequence[Any]) -> int:
    """How many entries the next pass takes, by how long those of the last one were."""
    carried = sum(len(fields[1]) for _, fields in found)
    return max(1, min(PASS_ENTRIES, 4 * size, len(found) * PASS_BYTES // max(carried, 1)))


def _entries(lane: int, found: Sequence[Any]) -> Iterator[Entry]:
    """What cannot be read is left out, or its lane would stand still: its row stays open, and is marked by its writer."""
    for id_, fields in found:
        try:
            yield _decode(fields[1])
        except msgspec.DecodeError:
            metrics.ASIDE.add()
            log.error("entry %s of lane %d cannot be read", id_.decode(), lane)


def _by_others(logged: Iterable[Logged], device: str) -> int:
    """Highest seq that did not come from ``device``: what it sent itself it has by its ✓."""
    return max((event.seq for event in logged if event.device != device), default=0)


def _parts(known: Conversation, events: Sequence[Logged]) -> Iterator[tuple[list[Logged], list[str]]]:
    """Cut ascending events where somebody joined or left; each part with the users owed all of it (R16)."""
    edges = {interval.joined for interval in known.members}
    edges |= {interval.left + 1 for interval in known.members if interval.left}
    part: list[Logged] = []
    for event in events:
        if part and any(part[-1].seq < edge <= event.seq for edge in edges):
            yield part, owed(known, part[0].seq)
            part = []
        part.append(event)
    if part:
        yield part, owed(known, part[0].seq)
