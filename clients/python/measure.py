"""What the library costs without a network: CPU per message, by how many fall into one turn of the event loop.

``python clients/python/measure.py [FOLDER]``. CPU time of this process (it hardly depends on what else runs), median of
five; with ``FULL`` the time on the clock counts too, because an fsync waits. ``FOLDER``: where the files are made.
"""

from __future__ import annotations

import asyncio
import base64
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from whatsapp_client import Database, Session
from whatsapp_client.duties import Duties
from whatsapp_client.inbound import Inbound
from whatsapp_client.pace import Pace
from whatsapp_client.shelf import Shelf
from whatsapp_client.stream import Broadcast

MESSAGES = 4_000
TURNS = (1, 16, 100)
CONTENT = b"x" * 100


async def received(database: Database, turn: int) -> None:
    """Live messages, from the decoded frame to the commit before their ack."""
    shelf = Shelf("http://127.0.0.1:1", Session("+1", "ann", "phone", "", ""), database)

    async def progress(remaining: int | None) -> None:
        pass

    inbound = Inbound(
        shelf.session, shelf.history, shelf.outbox, shelf._chats, Duties(shelf.history), Broadcast(), asyncio.Event(), progress
    )  # fmt: skip
    content = base64.b64encode(CONTENT).decode()
    for seq in range(1, MESSAGES + 1):
        ids = {
            "conversationId": f"c{seq % 10}",
            "seq": seq // 10 + 1,
            "senderId": "bob",
            "messageId": f"m{seq}",
        }
        rest = {"senderDeviceId": "b", "encryptedContent": content, "timestamp": 1, "serverTimestamp": 2}
        await inbound.handle({"type": "message", "kind": "text", **ids, **rest})
        if seq % turn == 0:
            database.commit()
    database.commit()


async def sent(database: Database, turn: int) -> None:
    """Own messages: queued, committed, made into frames, confirmed, stored; with the commits between."""
    shelf = Shelf("http://127.0.0.1:1", Session("+1", "ann", "phone", "", ""), database)
    shelf.outbox._paces = {"none": Pace(1e9, 1.0, burst=1e9)}
    shelf.outbox._window = turn
    done = 0
    while done < MESSAGES:
        for _ in range(turn):
            shelf.outbox.add("c", CONTENT)
        frames = shelf.outbox.due(time.monotonic())
        database.commit()
        for frame in frames:
            done += 1
            shelf.outbox.confirm(frame["messageId"], done)
        database.commit()


def measure(
    work: Callable[[Database, int], Any], path: str, turn: int, synchronous: str
) -> tuple[float, float]:
    """(CPU, clock) µs a message."""
    costs = []
    for number in range(5):
        where = path if path == ":memory:" else f"{path}/{work.__name__}-{turn}-{synchronous}-{number}.db"
        with Database(where, synchronous=synchronous) as database:
            cpu, clock = time.process_time(), time.perf_counter()
            asyncio.run(work(database, turn))
            costs.append((time.process_time() - cpu, time.perf_counter() - clock))
    return tuple(statistics.median(cost) / MESSAGES * 1e6 for cost in zip(*costs, strict=True))  # type: ignore[return-value]


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        print(f"{MESSAGES} messages of {len(CONTENT)} bytes; µs of CPU a message (on the clock)")
        for work in (received, sent):
            for where, synchronous in ((":memory:", "NORMAL"), (folder, "NORMAL"), (folder, "FULL")):
                shown = []
                for turn in TURNS:
                    cpu, clock = measure(work, where, turn, synchronous)
                    shown.append(f"{turn:3} a turn: {cpu:6.1f} ({clock:7.1f})")
                name = "memory" if where == ":memory:" else f"file {synchronous}"
                print(f"{work.__name__:8} {name:11}  " + "   ".join(shown), flush=True)
        print(f"in {pathlib.Path(folder).parent}")


if __name__ == "__main__":
    main()
