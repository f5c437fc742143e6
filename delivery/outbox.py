"""How far this writer's batches are marked on the hot node, durably and per epoch (R2, R3, R4).

Every batch left one outbox row with its append. A row is done under an epoch once its marks were answered by a node that
had that epoch before they were sent. The watermark is the highest row below which all are done; it is written behind, once
a second, because a lower one only repeats marks, and marks are harmless.

On a cluster the epoch is that of all nodes together: a row is done when each of them has answered, and a new epoch of one opens
the rows of the last minutes again. A living writer knows on which nodes they were done under the last epoch, and marks them again
for the users of the others alone; for a dead writer all is marked again.

What groups are owed goes by lanes (:mod:`delivery.lanes`); such a row stays open until each of its lanes was reported (R13).
If no report comes and the lane has the entry no more, the row is marked again like one whose marks failed.

A writer whose append has an unknown outcome takes a new name: the row may still commit, below a watermark that would pass it.
The old name has no heartbeat any more, so the sweep looks after its rows and is never finished with it.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator
from itertools import groupby

from delivery.store.interface import Store, Unavailable
from delivery.store.values import OutboxRow
from whatsapp.infra import clock, faults, metrics
from whatsapp.infra.bus import Bus
from whatsapp.infra.valkey import HotUnavailable

log = logging.getLogger(__name__)

#: ``replay(rows)`` for all users, ``replay(rows, only)`` for those for whom ``only`` is true.
Replay = Callable[..., Awaitable[None]]
#: ``oldest(lanes)``: id of the first entry of each lane, None for an empty one.
Oldest = Callable[[list[int]], Awaitable[dict[int, tuple[int, int] | None]]]

#: Ends of epochs that a writer remembers; older ones cost some marks more.
PAST_EPOCHS = 8
OVERDUE_S = 5.0
#: Rows that wait in their lanes and are looked at in one turn: an outage leaves many, and a lost one among the oldest is enough.
LOOK_AT = 10_000
#: An entry leaves its lane a moment before its report arrives: what is missing there is looked at again after this long.
REPORT_S = 0.3


class Open:
    """The lanes that have not reported a row, with the ids of its entries."""

    __slots__ = ("below", "lanes")

    def __init__(self, lanes: dict[int, tuple[int, int]], below: int) -> None:
        self.lanes = lanes
        self.below = below  # a row of an earlier batch: those in between may be of this batch too


def _is_gone(id_: tuple[int, int], oldest: tuple[int, int] | None) -> bool:
    return oldest is None or id_ < oldest


def kept_under(epoch: str) -> str:
    """The key of a watermark beside its writer: the epoch under which it was earned (R2)."""
    return "any" if faults.off("epoch_progress") else epoch


class Progress:
    """The watermark of one living writer. ``replay(rows)`` marks and publishes rows again."""

    def __init__(self, store: Store, bus: Bus, replay: Replay, oldest: Oldest | None = None) -> None:
        self.writer = str(uuid.uuid4())
        self._store = store
        self._bus = bus
        self._hot = bus.hot
        bus.names.add(self.writer)
        self._replay = replay
        self._oldest = oldest
        # Ascending. A dict would look at everything that has left it to find its first.
        self._open: OrderedDict[int, Open] = OrderedDict()
        #: (loop time, row) in the order of time: when to look whether an open row is lost. Rows that are done leave it late.
        self._due: deque[tuple[float, int]] = deque()
        self._told = 0  # the newest row that was opened or done
        self._reached = 0  # done up to here, but for the open ones
        self._epoch = ""  # under which ``_row`` was earned
        self._nodes: frozenset[str] = frozenset()  # the epochs of the nodes of which it is made
        #: (row, epochs of nodes): up to there all is done on these, whatever became of the others. Newest last.
        self._past: deque[tuple[int, frozenset[str]]] = deque(maxlen=PAST_EPOCHS)
        self._row = 0
        self._saved = 0
        self.broken_at = clock.now_ms()  # since when rows may be open that nobody will mark but a replay
        self._failures = 1  # a writer begins by asking for its rows: there are none, and then it counts
        self._broken = True
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def broken_for_ms(self) -> int:
        """How long rows of this writer wait for a replay, 0 when none does."""
        return max(1, clock.now_ms() - self.broken_at) if self._broken else 0

    def start(self) -> None:
        self._hot.on_term.append(self._wake.set)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        await self._save()

    def rename(self) -> None:
        """An append has an unknown outcome."""
        metrics.RENAMED.add()
        self._bus.names.discard(self.writer)
        self.writer = str(uuid.uuid4())
        self._bus.names.add(self.writer)
        self._epoch, self._row, self._saved = "", 0, 0
        self._past.clear()
        self._open.clear()
        self._due.clear()
        self._reached = self._told = 0
        self.failed()

    def opened(self, writer: str, row: int, lanes: dict[int, tuple[int, int]]) -> None:
        """``row`` has entries in these lanes; called before it is :meth:`done`, in order. It stands for all rows of its append,
        which may have taken several statements: the watermark stays below the first of them."""
        if writer != self.writer:
            return
        if row > self._row:  # or a replay has marked it already
            self._open[row] = Open(lanes, self._told)
            self._due.append((asyncio.get_running_loop().time() + OVERDUE_S, row))
        self._told = row

    def done(self, writer: str, epoch: str, row: int) -> None:
        """The marks of ``row`` were answered, but for what lanes have; ``epoch`` was known before they were sent (R3). Rows
        come in order."""
        if writer != self.writer:
            return  # the sweep's by now
        self._told = row
        if epoch != self._epoch:
            self.failed()
        elif not self._broken:
            self._reached = row
            self._move()

    def lane_done(self, writer: str, row: int, epoch: str, lane: int) -> None:
        """A worker marked and published what this very row has in this lane (R13), with ``epoch`` "" but for members whose node
        of several is away. Comes twice, or never."""
        open_ = self._open.get(row) if writer == self.writer else None
        if open_ is None or lane not in open_.lanes:
            return
        if not epoch:
            # Somebody was not reached. All above the watermark is marked again: there is nothing to wait for.
            del self._open[row]
            while self._due and self._due[0][1] not in self._open:
                self._due.popleft()
            self.failed()
            return
        if epoch != self._epoch:
            self.failed()
            return
        del open_.lanes[lane]
        if not open_.lanes:
            del self._open[row]
            if not self._broken:
                self._move()

    def _move(self) -> None:
        first = next(iter(self._open.values()), None)
        self._row = max(self._row, self._reached if first is None else min(self._reached, first.below))

    def _close(self, row: int) -> None:
        """What is open up to ``row`` needs no report any more."""
        while self._open and next(iter(self._open)) <= row:
            self._open.popitem(last=False)

    def failed(self) -> None:
        """The marks of a row may be missing: nothing above the watermark counts until it was replayed."""
        if not self._broken:
            self.broken_at = clock.now_ms()
        self._failures += 1
        self._broken = True
        self._wake.set()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(1.0):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                if self._hot.available and self._due and not self._broken:
                    await self._look_for_lost()
                if self._hot.available and (self._broken or self._epoch != self._hot.epoch):
                    await self._catch_up()
                await self._save()
            except (HotUnavailable, Unavailable):
                await asyncio.sleep(0.2)
                self._wake.set()
            except Exception:
                log.exception("outbox progress failed")
                await asyncio.sleep(1.0)

    async def _catch_up(self) -> None:
        epoch, failures, writer = self._hot.epoch, self._failures, self.writer
        nodes = self._hot.epochs()
        if self._epoch != epoch:
            await self._save()
            if self._row:
                self._past.append((self._row, self._nodes))
            self._broken, self._epoch, self._row, self._saved = True, epoch, 0, 0
            self._nodes = nodes
            self._reached = 0
        while True:
            newest = next(reversed(self._open), 0)
            rows = await self._store.outbox(writer, kept_under(epoch), clock.now_ms())
            if not rows:
                break
            for part, done_on in self._by_nodes(rows):
                if done_on:
                    await self._replay(part, lambda user, on=done_on: self._hot.under(user)[1] not in on)
                else:
                    await self._replay(part)
            metrics.REPLAYED.add(number=len(rows))
            if self.writer != writer or self._epoch != epoch:
                return
            self._row = rows[-1].row
            self._close(self._row)
            await self._save()
        if self.writer == writer:
            # Opened before the read, which did not find it: it is done, or too old for everybody.
            self._close(newest)
        if self._failures == failures and self._hot.epoch == epoch:
            self._broken = False

    def _by_nodes(self, rows: list[OutboxRow]) -> Iterator[tuple[list[OutboxRow], frozenset[str]]]:
        """The rows in parts, each with the epochs of those nodes of now on which it was done before."""
        now = self._hot.epochs()

        def done_on(row: OutboxRow) -> frozenset[str]:
            known = [nodes for up_to, nodes in self._past if row.row <= up_to]
            return now.intersection(frozenset().union(*known))

        for nodes, part in groupby(rows, done_on):
            yield list(part), nodes

    async def _look_for_lost(self) -> None:
        """Rows that wait for long: their entries are still in their lanes, or the stream or the report was lost."""
        now = asyncio.get_running_loop().time()
        overdue: list[tuple[int, Open]] = []
        while self._due and self._due[0][0] <= now and len(overdue) < LOOK_AT:
            _, row = self._due.popleft()
            if row in self._open:
                overdue.append((row, self._open[row]))
        if not overdue:
            return
        # Again later: what waits now may be lost then, and nothing is sure of what cannot be asked now.
        self._due.extend((now + OVERDUE_S, row) for row, _ in overdue)
        if self._oldest is None or faults.off("lost"):
            return
        first = await self._oldest(sorted({lane for _, open_ in overdue for lane in open_.lanes}))
        gone = [
            (open_, lane)
            for _, open_ in overdue
            for lane, id_ in open_.lanes.items()
            if _is_gone(id_, first[lane])
        ]
        if gone:
            await asyncio.sleep(REPORT_S)
            if self._open and any(lane in open_.lanes for open_, lane in gone):
                self.failed()

    async def _save(self) -> None:
        if self._row > self._saved and self._epoch:
            writer, epoch, row = self.writer, self._epoch, self._row
            try:
                await self._store.outbox_done(writer, kept_under(epoch), row, clock.now_ms())
            except Unavailable:
                return
            if writer == self.writer and epoch == self._epoch:
                self._saved = row
