"""``./dev chat`` through pipes: plain lines, two people, one of whom registers later."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import stat
import sys
from pathlib import Path
from typing import Any

from devtools.paths import REPO

_numbers = itertools.count(random.Random(os.getpid() + 1).randint(8_000_001, 9_900_000))


class Terminal:
    """One ``./dev chat`` with pipes for a terminal."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output = ""

    @classmethod
    async def open(cls, system: Any, *arguments: str) -> Terminal:
        command = [
            sys.executable,
            "-m",
            "devtools.chat",
            *arguments,
            "--url",
            system.http,
            "--data",
            str(system.data),
        ]
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(
                *command, cwd=REPO, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
            )
        )

    async def until(self, text: str) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            while text not in self.output:
                line = await self.process.stdout.readline()
                assert line, f"ended without {text!r}:\n{self.output}"
                self.output += line.decode()

    def type(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    async def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        output, _ = await asyncio.wait_for(self.process.communicate(), 30)
        self.output += output.decode()
        return self.process.returncode or 0


async def test_two_terminals_chat_though_one_registers_later(stack: Any):
    ann_number, bob_number = (f"+1555{next(_numbers)}" for _ in range(2))
    async with contextlib.AsyncExitStack() as cleanup:
        ann = await Terminal.open(stack, ann_number, "--to", bob_number)
        cleanup.callback(lambda: ann.process.returncode is None and ann.process.kill())
        await ann.until("NOT end-to-end encrypted")
        await ann.until(f"{bob_number} is not registered yet")
        ann.type("are you there?")
        bob = await Terminal.open(stack, bob_number, "--to", ann_number)
        cleanup.callback(lambda: bob.process.returncode is None and bob.process.kill())
        await bob.until(f"{ann_number}: are you there?")
        await ann.until("✓✓ read")
        bob.type("here I am")
        await ann.until(f"{bob_number}: here I am")
        bob.type("/list")
        await bob.until(ann_number)
        bob.type("/quit")
        assert await bob.end() == 0
        assert await ann.end() == 0
    session = Path(stack.data) / "clients" / f"{ann_number}.json"
    assert stat.S_IMODE(session.stat().st_mode) == 0o600
    assert ann.output.count("here I am") == 1


async def test_without_a_server_it_says_so_in_one_sentence(tmp_path: Path):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "devtools.chat", "+15550001", "--url", "http://127.0.0.1:1", "--data", str(tmp_path),
        cwd=REPO, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert len(output.decode().splitlines()) == 1
    assert "does not answer" in output.decode()
