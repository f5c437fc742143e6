"""The client's own process is killed with kill -9, again and again; and the network takes an answer that matters."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.support.proxy import Network
from whatsapp_client import Backoff, Client, Database, Rest
from whatsapp_client.session import new_key

from .test_with_server import PATIENCE, eventually, people, register, texts

ROOT = Path(__file__).parents[2]


class Worker:
    """:mod:`tests.clients.worker` as a process."""

    def __init__(self, *arguments: object) -> None:
        self._arguments = [str(argument) for argument in arguments]
        self.lines: list[str] = []

    async def start(self, last: int = 0) -> None:
        paths = os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.clients.worker", *self._arguments, str(last),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().strip())

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self._reader

    @property
    def last(self) -> int:
        return max((int(line) for line in self.lines if line.isdigit()), default=0)


async def test_kill_9_loses_nothing_that_was_stored_and_sends_nothing_twice(stack: Any, tmp_path: Path):
    chance = random.Random(3)
    async with people(stack) as (conversation, (ann, bob)):
        await bob.stop()
        bob.session.save(tmp_path / "bob.json")
        worker = Worker(stack.http, tmp_path / "bob.json", tmp_path / "bob.db", conversation)
        sent = []
        try:
            for _ in range(5):
                await worker.start()
                before = worker.last
                await eventually(lambda n=before: worker.last > n + 10)
                for _ in range(20):
                    sent.append(ann.send(conversation, f"a{len(sent)}"))
                    await asyncio.sleep(0.003)
                await asyncio.sleep(chance.random() / 10)
                await worker.kill()
            promised = worker.last
            await worker.start(last=promised + 5)
            await eventually(lambda: "through" in worker.lines)
            async with asyncio.timeout(PATIENCE):
                for outgoing in sent:
                    await outgoing.sent()
            head = max(outgoing.seq for outgoing in sent)
            await eventually(lambda: ann.history[conversation].position >= head)
            await eventually(lambda: {ann.receipt_at(conversation, head)} <= {"delivered", "read"})
        finally:
            await worker.kill()

        log: list[dict[str, Any]] = []
        while page := await ann.rest.events(conversation, after=log[-1]["seq"] if log else 0):
            log += page
        # What the worker said is in its file arrived, once and in order.
        mine = [row["messageId"] for row in log if row["senderId"] == bob.session.user_id]
        assert len(mine) == len(set(mine))
        with Database(tmp_path / "bob.db") as database:
            entries = Client(stack.http, bob.session, database=database).history[conversation].entries
            # Its file holds the whole log, as the server has it.
            assert [(e.seq, e.message_id) for e in entries] == [(row["seq"], row["messageId"]) for row in log]
            texts = [e.text for e in entries if e.sender_id == bob.session.user_id]
        assert texts == [f"w{number}" for number in range(1, promised + 6)]


async def test_a_lost_answer_to_a_refresh_does_not_log_the_device_out(stack: Any):
    session = await register(stack)
    saved: list[tuple[str, str]] = []
    async with Network([stack.http]) as network:
        session.token, session.expires_at = "too old", 1
        network.lose_answers(1)  # the refresh, which comes first
        used = session.refresh_token
        client = Client(
            network.http, session, backoff=Backoff(first=0.01, ceiling=0.05),
            on_session=lambda changed: saved.append((changed.refresh_token, changed.refresh_key)),
        )  # fmt: skip
        async with client:
            await client.wait_online()
            assert (await client.rest.me())["userId"] == session.user_id
        assert network.connections >= 3
        assert session.refresh_token != used
        assert saved[-1] == (session.refresh_token, session.refresh_key)


async def test_twin_a_repeated_refresh_without_its_key_does(stack: Any):
    session = await register(stack)
    async with Network([stack.http]) as network:
        session.token, session.expires_at = "too old", 1
        network.lose_answers(1)
        rest = Rest(network.http)
        client = Client(network.http, session, backoff=Backoff(first=0.01, ceiling=0.05))

        async def forgetful(given: Any) -> None:
            given.refresh_key = new_key()
            await rest.refresh(given)

        client.rest.refresh = forgetful  # type: ignore[method-assign]
        async with client:
            await eventually(lambda: client.state.status == "stopped")
            assert client.state.code == 4401


async def test_an_old_copy_of_the_file_gets_what_it_misses_and_sends_nothing_twice(
    stack: Any, tmp_path: Path
):
    async with people(stack) as (conversation, (ann, bob)):
        await bob.stop()
        path, copy = tmp_path / "bob.db", tmp_path / "copy.db"
        with Database(path) as database:
            async with Client(stack.http, bob.session, database=database) as client:
                await client.wait_online()
                await ann.send(conversation, "before").sent()
                await client.send(conversation, "from bob").sent()
                await eventually(lambda: len(texts(client, conversation)) == 2)
            client.database.commit()
        with Database(path) as database:
            # Offline: the copy holds a message that the original then sends.
            Client("http://127.0.0.1:1", bob.session, database=database).send(
                conversation, "sent by the original"
            )
        shutil.copy(path, copy)
        with Database(path) as database:
            async with Client(stack.http, bob.session, database=database) as client:
                await client.wait_online()
                await asyncio.gather(*[outgoing.sent() for outgoing in client.pending(conversation)])
                await ann.send(conversation, "after the copy").sent()
                await eventually(lambda: len(texts(client, conversation)) == 4)
        with Database(copy) as database:
            async with Client(stack.http, bob.session, database=database) as client:
                await eventually(lambda: len(texts(client, conversation)) == 4)
                await eventually(lambda: not client.pending(conversation))
                assert (await client.send(conversation, "goes on").sent()).seq == 5
                assert texts(client, conversation) == [*texts(ann, conversation)[:4], "goes on"]
        await eventually(lambda: texts(ann, conversation)[-1] == "goes on")
        assert len(texts(ann, conversation)) == 5
