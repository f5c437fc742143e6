"""A process that opens its session while the node is slow to take it. In a process of their own: where the protection is missing
the driver holds the thread for ever, with all tests in it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from delivery.store.cassandra.session import Cassandra
from delivery.store.interface import Unavailable
from devtools.paths import REPO


async def _silent(reader: asyncio.StreamReader, reached: asyncio.Event) -> None:
    reached.set()
    await reader.read()


async def test_all_who_wait_are_told_of_one_attempt() -> None:
    """Not one after the other, each of an attempt of its own: the last of a hundred would wait for minutes."""
    attempts: list[asyncio.Event] = []

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        attempts.append(asyncio.Event())
        await _silent(reader, attempts[-1])

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    session = Cassandra(["127.0.0.1"], "any", port=server.sockets[0].getsockname()[1], request_timeout_s=0.5)
    told = await asyncio.gather(*(session.rows("SELECT a") for _ in range(6)), return_exceptions=True)
    assert [type(one) for one in told] == [Unavailable] * 6
    assert len(attempts) == 1
    with pytest.raises(Unavailable):
        await session.rows("SELECT a")
    assert len(attempts) == 2
    await session.close()
    server.close()


async def test_all_who_wait_for_a_statement_are_told_of_one_attempt() -> None:
    session = Cassandra(["127.0.0.1"], "any")
    attempts: list[asyncio.Event] = []

    class Node:
        async def create_prepared(self, text: str) -> None:
            attempts.append(asyncio.Event())
            await attempts[-1].wait()
            raise TimeoutError(text)

        async def close(self) -> None: ...

    session._session = Node()
    asked = [asyncio.ensure_future(session.rows("SELECT a")) for _ in range(6)]
    while not attempts:
        await asyncio.sleep(0)
    asked[0].cancel()  # who goes takes nothing from the others
    attempts[0].set()
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in told] == [asyncio.CancelledError] + [Unavailable] * 5
    assert len(attempts) == 1
    await session.close()


async def given_up(straight: bool) -> None:
    """Somebody gives up the opening while the node that was reached says nothing; then the session is closed. ``straight``: by
    the driver alone, as it was."""
    reached = asyncio.Event()
    server = await asyncio.start_server(lambda reader, _: _silent(reader, reached), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    session = Cassandra(["127.0.0.1"], "any", port=port, request_timeout_s=1.0)
    opening = asyncio.ensure_future(session._cluster.create_session() if straight else session.open())
    await reached.wait()
    print("reached", flush=True)
    opening.cancel()
    await asyncio.wait([opening])
    await session.close()
    print("it goes on", flush=True)


def _run(straight: bool, patience_s: float) -> str:
    """What it printed when the node was reached, until its end or until it is ended."""
    code = f"import asyncio; from {__name__} import given_up; asyncio.run(given_up({straight}))"
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPO, env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reached\n"
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
        return process.stdout.read()


def test_an_opening_that_is_given_up_stops_nothing() -> None:
    assert _run(False, 60) == "it goes on\n"


def test_twin_the_driver_alone_holds_the_thread() -> None:
    assert _run(True, 3) == ""
