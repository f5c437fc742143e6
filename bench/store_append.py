"""CPU per stored message of the append, on a real PostgreSQL: ``./dev bench store_append postgresql://… [--json FILE]``.

Client: CPU of this process per row (encode the batch, send, wait, decode), on uvloop as in a gateway. Server: CPU of all
PostgreSQL processes from /proc/PID/schedstat, so the server must run on this machine. ``insert`` is the floor to compare
with: the same rows by a plain ``INSERT … SELECT unnest`` through the pool into a copy of the table, without locks, dedupe,
numbering, seqNum or outbox. Both run in turns; printed are the best and the median round. The database must be migrated; the
rows stay in it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import statistics
import time
import uuid
from pathlib import Path

import uvloop
from psycopg_pool import AsyncConnectionPool

from delivery.store.postgres import PostgresStore
from delivery.store.values import Outcome, Send

CONVERSATIONS = 1_000
BODY_BYTES = 221

NOW = 1_790_000_000_000
FIGURES = ("client", "server", "wall")

COLUMNS = (
    "conversation",
    "sender",
    "device",
    "message_id",
    "kind",
    "sent_at",
    "seq_num",
    "body_hash",
    "content",
)
SET_UP = (
    "DROP TABLE IF EXISTS bench_event",
    "CREATE TABLE bench_event (LIKE delivery_event INCLUDING ALL)",
    "CREATE SEQUENCE IF NOT EXISTS bench_seq CACHE 1000",
)
TEAR_DOWN = ("DROP TABLE bench_event", "DROP SEQUENCE bench_seq")
INSERT = """
INSERT INTO bench_event (seq, ordinal, at, sent_at, seq_num, conversation, sender, device, message_id, kind, body_hash, content)
SELECT nextval('bench_seq'), 0, %s::bigint, t.sent_at, t.seq_num, t.conversation, t.sender, t.device, t.message_id, t.kind,
       t.body_hash, t.content
FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::bigint[], %s::bigint[], %s::bytea[], %s::bytea[])
     AS t (conversation, sender, device, message_id, kind, sent_at, seq_num, body_hash, content)"""


def cpu(pid: int) -> int:
    """Nanoseconds on a CPU since the process began; its threads together."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue
    return total


def children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
        except (OSError, ValueError):
            continue
    return found


class Load:
    """Direct conversations with a sender that counts; makes batches for random ones of them."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self._senders: list[tuple[str, str, str]] = []
        self._counts: dict[str, int] = {}
        self._body = os.urandom(BODY_BYTES)
        self._hash = hashlib.md5(self._body).digest()

    async def prepare(self) -> None:
        for _ in range(CONVERSATIONS):
            a, b, device = (str(uuid.uuid4()) for _ in range(3))
            conversation = await self._store.ensure_direct(a, b, str(uuid.uuid4()), 1)
            self._senders.append((conversation, a, device))

    def batch(self, size: int, counted: bool = True) -> list[Send]:
        sends = []
        for conversation, sender, device in random.choices(self._senders, k=size):
            number = 0
            if counted:
                number = self._counts[conversation] = self._counts.get(conversation, 0) + 1
            message = str(uuid.uuid4())
            sends.append(
                Send(conversation, sender, device, message, "text", self._body, self._hash, NOW, number)
            )
        return sends


class Meter:
    """Nanoseconds so far: (this process, all processes of the server, wall). ``backend``: pid of one of the server's."""

    def __init__(self, backend: int) -> None:
        self._postmaster = int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])

    def read(self) -> tuple[float, ...]:
        server = sum(cpu(pid) for pid in children(self._postmaster))
        return time.process_time_ns(), server, time.perf_counter_ns()


async def measure(
    url: str, sizes: list[int], rows: int, rounds: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Microseconds a row: {"append" or "insert": {batch size: {figure: value}}}."""
    async with AsyncConnectionPool(url, min_size=2, max_size=2, kwargs={"autocommit": True}) as pool:
        store = PostgresStore(pool)
        load = Load(store)
        await load.prepare()
        async with pool.connection() as connection:
            meter = Meter(connection.info.backend_pid)
            for statement in SET_UP:
                await connection.execute(statement)

        writer = str(uuid.uuid4())

        async def append(batch: list[Send]) -> None:
            result = await store.append(writer, batch, NOW)
            assert all(one.outcome is Outcome.STORED for one in result.results)

        async def insert(batch: list[Send]) -> None:
            columns = [[getattr(send, name) for send in batch] for name in COLUMNS]
            async with pool.connection() as connection:
                await connection.execute(INSERT, (NOW, *columns), prepare=True)

        samples: dict[tuple[str, int], list[tuple[float, ...]]] = {}
        for round_ in range(-1, rounds):  # the first one warms up
            for size in sizes:
                for name, run in (("append", append), ("insert", insert)):
                    batches = [
                        load.batch(size, run is append)
                        for _ in range(max(20, rows // size // (4 if size < 8 else 1)))
                    ]
                    before = meter.read()
                    for batch in batches:
                        await run(batch)
                    after = meter.read()
                    if round_ >= 0:
                        count = size * len(batches) * 1000
                        samples.setdefault((name, size), []).append(
                            tuple((b - a) / count for a, b in zip(before, after, strict=True))
                        )
        await store.close()
        async with pool.connection() as connection:
            for statement in TEAR_DOWN:
                await connection.execute(statement)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for (name, size), runs in samples.items():
        row = figures.setdefault(name, {})[str(size)] = {}
        for figure, values in zip(FIGURES, zip(*runs, strict=True), strict=True):
            row[f"{figure}_us"] = round(min(values), 1)
            row[f"{figure}_median_us"] = round(statistics.median(values), 1)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="./dev bench store_append",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", help="of a migrated database: ./dev status --json has the running system's")
    parser.add_argument("--sizes", default="1,8,32,128", help="messages in a batch (default 1,8,32,128)")
    parser.add_argument("--rows", type=int, default=4096, help="rows a round and batch size")
    parser.add_argument("--rounds", type=int, default=5, help="of each, in turn (default 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    figures = uvloop.run(measure(options.url, sizes, options.rows, options.rounds))
    print(f"{'':8}{'batch':>6}{'client':>16}{'server':>16}{'wall':>18}   us/row, best (median)")
    for name, by_size in figures.items():
        for size, row in by_size.items():
            cells = "".join(
                f"{row[f'{f}_us']:9.1f} ({row[f'{f}_median_us']:.1f})".rjust(16 if f != "wall" else 18)
                for f in FIGURES
            )
            print(f"{name:8}{size:>6}{cells}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
