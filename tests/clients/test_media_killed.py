"""A program that is killed in the middle of an upload, and one that sends a large file."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.patience import PATIENCE
from whatsapp_client import Sealed

from .cutting import Cutting
from .test_with_server import eventually, people

pytestmark = pytest.mark.needs_system
ROOT = Path(__file__).parents[2]
MIB = 2**20


class Program:
    """:mod:`tests.clients.media_worker` as a process."""

    def __init__(self, *arguments: object) -> None:
        self._arguments = [str(argument) for argument in arguments]
        self.lines: list[list[str]] = []

    async def __aenter__(self) -> Program:
        paths = os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.clients.media_worker", *self._arguments,
            stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *error: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().split())

    @property
    def done(self) -> list[int]:
        return [int(line[1]) for line in self.lines if line[0] == "up"]

    @property
    def grown(self) -> int:
        return next((int(line[1]) for line in self.lines if line[0] == "grown"), -1)


async def test_a_program_that_is_killed_goes_on_and_sends_one_message(stack: Any, tmp_path: Path):
    # What the kernel holds of a killed program (some MiB, by machine) still passes, so there is much more than that.
    data, chance = random.Random(7).randbytes(32 * MIB + 5), random.Random(7)
    file = tmp_path / "film"
    file.write_bytes(data)
    async with people(stack) as (conversation, (ann, bob)), Cutting(stack.http) as way:
        await ann.stop()
        ann.session.save(tmp_path / "ann.json")
        arguments = (way.http, tmp_path / "ann.json", tmp_path / "ann.db", conversation, file)
        way.slow = 0.005
        for _ in range(3):
            async with Program(*arguments) as program:
                enough = way.bytes_up + chance.randrange(MIB, 2 * MIB)
                await eventually(lambda n=enough: way.bytes_up > n)
            await eventually(lambda: not way.busy)
        assert program.grown == -1
        way.slow = 0.0
        async with Program(*arguments) as program:
            await eventually(lambda: program.grown >= 0, timeout=2 * PATIENCE)
            assert await program.process.wait() == 0
        assert program.done[0] > 0  # told at once: it goes on
        assert program.done == sorted(set(program.done))
        assert way.bytes_up < len(data) + 4 * MIB  # nothing was sent anew
        begun = [head for head in way.heads if head.startswith(b"POST /media/tus")]
        assert len(begun) == 4 + 1  # the small file of each run, and the large one
        await eventually(lambda: len(bob.history[conversation].entries) >= 1)
        (entry,) = bob.history[conversation].entries
        assert entry.sender_id == ann.session.user_id
        sealed = Sealed.from_bytes(entry.content)
        await bob.media.download(sealed.media_url, tmp_path / "got", key=sealed)
        assert (tmp_path / "got").read_bytes() == data
        assert list((tmp_path / "ann.db-media").iterdir()) == []


async def test_a_picture_that_the_server_looks_into_goes_on_too(stack: Any, tmp_path: Path):
    """Killed while its bytes go, and once more while the server works on it: one upload, one message."""
    chance = random.Random(9)
    file, side = tmp_path / "noise.png", 1_500
    Image.frombytes("RGB", (side, side), chance.randbytes(3 * side * side)).save(file, compress_level=0)
    size = file.stat().st_size
    async with people(stack) as (conversation, (ann, bob)), Cutting(stack.http) as way:
        await ann.stop()
        ann.session.save(tmp_path / "ann.json")
        arguments = (way.http, tmp_path / "ann.json", tmp_path / "ann.db", conversation, file, "plain")
        way.slow = 0.005
        async with Program(*arguments) as program:
            await eventually(lambda: program.done[-1:] > [2 * MIB])
        await eventually(lambda: not way.busy)
        way.slow = 0.0
        async with Program(*arguments) as program:
            await eventually(lambda: program.done[-1:] == [size])
        assert program.done[0] >= MIB
        async with Program(*arguments) as program:
            await eventually(lambda: program.grown >= 0, timeout=2 * PATIENCE)
            assert await program.process.wait() == 0
        assert program.done[0] >= size - 1, "all of it was there"
        worked = [int(line[1]) for line in program.lines if line[0] == "work"]
        assert worked == sorted(set(worked))
        assert worked[-1] == 100
        assert way.bytes_up < size + 4 * MIB
        begun = [head for head in way.heads if head.startswith(b"POST /media/tus")]
        assert len(begun) == 3 + 1  # the small file of each run, and the picture
        await eventually(lambda: len(bob.history[conversation].entries) >= 1)
        (entry,) = bob.history[conversation].entries
        assert (entry.kind, entry.text) == ("image", "look")
        await bob.media.download(entry.fields["mediaUrl"], tmp_path / "got", conversation_id=conversation)
        assert Image.open(tmp_path / "got").size == (side, side)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_large_file_is_held_by_no_memory(stack: Any, tmp_path: Path):
    """Encrypted, sent, fetched, opened: what is in memory is a chunk of each."""
    file, size, chance = tmp_path / "film", 150 * MIB, random.Random(8)
    digest = hashlib.sha256()
    with file.open("wb") as target:
        for _ in range(size // MIB):
            data = chance.randbytes(MIB)
            digest.update(data)
            target.write(data)
    async with people(stack) as (conversation, (ann, _)):
        await ann.stop()
        ann.session.save(tmp_path / "ann.json")
        arguments = (stack.http, tmp_path / "ann.json", tmp_path / "ann.db", conversation, file)
        async with Program(*arguments) as program:
            await eventually(lambda: program.grown >= 0, timeout=240)
        assert program.grown < 16 * MIB
        with (tmp_path / "film.got").open("rb") as got:
            assert hashlib.file_digest(got, "sha256").digest() == digest.digest()
        assert program.done[-1] == size + 16 * (size // 65_536)
        assert len(program.done) > 100
