"""1,024 members who all acknowledge and read every message: what is written follows members and time, not messages (C7)."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from delivery import receipts as receipts_module
from delivery.session import Session, State
from delivery.store.postgres import PostgresStore
from delivery.store.values import ReceiptCount
from tests.faults.engine import Process, Seat, World
from tests.faults.test_lanes import nobody
from tests.gateway.phone import new_id
from tests.support.patience import until
from whatsapp.infra import clock
from whatsapp.wire.codec import JSON

pytestmark = pytest.mark.sql_only("it counts PostgreSQL's statements and the bytes of its log")

MEMBERS = 1_024
MESSAGES = 50
PAUSE_S = 0.03  # between two messages: so they take a second and a half, or as long as the machine needs


class Nowhere:
    """A socket that nobody looks at."""

    paused = False

    def write(self, data: bytes) -> None:
        pass

    def close(self, code: int, reason: str = "") -> None:
        pass


class Writes:
    """What the gateways write of positions and receipts, and how often they ask for counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[int] = []  # of each statement
        self.counted = 0
        save, receipt_counts = PostgresStore.save, PostgresStore.receipt_counts

        async def saved(store: Any, positions: Any, receipts: Any, now: int) -> None:
            self.rows.append(len(positions) + len(receipts))
            await save(store, positions, receipts, now)

        async def counted(store: Any, events: Any) -> Any:
            self.counted += 1
            return await receipt_counts(store, events)

        monkeypatch.setattr(PostgresStore, "save", saved)
        monkeypatch.setattr(PostgresStore, "receipt_counts", counted)


class Crowd:
    """Ann writes over one gateway; half of the others are live there, half at another one."""

    def __init__(self, group: str, ann: Seat, processes: list[Process], sessions: list[Session]) -> None:
        self.group = group
        self.ann = ann
        self.processes = processes
        self.sessions = sessions

    def everybody_reads(self, seq: int) -> None:
        """As their ``ack`` and ``status_update`` frames do."""
        for number, session in enumerate(self.sessions):
            node = self.processes[number % 2].node
            session.sent[self.group] = seq
            node.sync.ack(session, {self.group: seq})
            node.receipts.read(session, self.group, seq)

    async def written(self) -> None:
        for process in self.processes:
            await process.saved()


async def crowd(world: World) -> Crowd:
    processes = [await world.process(submit_lane=nobody) for _ in range(2)]
    people = [(new_id(), new_id()) for _ in range(MEMBERS)]
    group = await world.group()
    users, devices = ([pair[i] for pair in people] for i in (0, 1))
    await world.log.sql(
        """INSERT INTO delivery_device (member, device, linked_at)
        SELECT d.member, d.device, 1 FROM unnest(%s::uuid[], %s::uuid[]) d (member, device)""",
        users,
        devices,
    )
    await world.log.sql(
        "INSERT INTO delivery_member (conversation, member, joined_seq, left_seq) SELECT %s, m, 1, 0 FROM unnest(%s::uuid[]) m",
        group,
        users,
    )
    await world.log.sql("UPDATE delivery_head SET members = %s WHERE conversation = %s", MEMBERS, group)
    ann = await processes[0].seat(*people[0])
    sessions = []
    for user, device in people[1:]:
        session = Session(user, device, JSON, Nowhere(), clock.now_ms())
        session.state = State.LIVE
        session.sent[group] = session.acked[group] = 0
        sessions.append(session)
    return Crowd(group, ann, processes, sessions)


async def spell(world: World, writes: Writes) -> tuple[float, int]:
    """Fifty messages that all acknowledge and read; how long that took, and the bytes of the write-ahead log."""
    here = await crowd(world)
    loop = asyncio.get_running_loop()
    await here.written()
    writes.rows.clear()
    (before,) = (await world.log.sql("SELECT pg_current_wal_insert_lsn()"))[0]
    began = loop.time()
    for number in range(MESSAGES):
        seq = await here.ann.say(here.group, str(number))
        here.everybody_reads(seq)
        await asyncio.sleep(PAUSE_S)
    await here.written()
    took = loop.time() - began
    ((wal,),) = await world.log.sql("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)::bigint", before)
    user = here.ann.session.user

    async def counted() -> bool:
        counts = await world.store.receipt_counts([(here.group, user, MESSAGES)])
        return counts == [ReceiptCount(MEMBERS - 1, MEMBERS - 1)]

    # A write that the store was too busy for is tried again.
    await until(counted, "everybody has read her last one")
    await until(
        lambda: (here.group, MESSAGES) in here.ann.told("read"), "Ann hears how many have read her last one"
    )
    return took, wal


def most(took: float) -> int:
    """Statements of two gateways, each of which writes every half a second, once more at the end, and Ann's own position."""
    return 2 * (math.ceil(took / receipts_module.FLUSH_S) + 2)


async def test_c7_receipts_of_1024_members_are_a_few_statements(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = Writes(monkeypatch)
    took, wal = await spell(world, writes)
    told = MESSAGES * 2 * (MEMBERS - 1)
    print(
        f"{told} acks and reads in {took:.1f} s: {len(writes.rows)} statements, {sum(writes.rows)} rows, {wal >> 10} KiB WAL"
    )
    assert len(writes.rows) <= most(took)
    assert max(writes.rows) <= 2 * (MEMBERS // 2) + 2, (
        "a row for each position and each receipt of a gateway's members"
    )
    assert sum(writes.rows) < told
    assert writes.counted <= took + 17, "asked once a second"


async def test_c7_twin_receipts_that_are_not_gathered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = Writes(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(receipts_module, "FLUSH_S", 0.0)
        took, _ = await spell(world, writes)
    assert len(writes.rows) > most(took)
