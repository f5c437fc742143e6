"""``./dev chat`` on a pseudo-terminal: the full screen, or plain lines with ``--plain``."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import pty
import random
import struct
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.paths import REPO
from whatsapp_client import Client, Rest, SmsFile, sign_up

_numbers = itertools.count(random.Random(os.getpid() + 13).randint(4_000_001, 5_900_000))
ENTER_FULL_SCREEN, LEAVE_FULL_SCREEN = "\x1b[?1049h", "\x1b[?1049l"


class Terminal:
    """A process on a terminal of 90x24. ``output``: every byte it wrote, decoded."""

    def __init__(self, descriptor: int, process: asyncio.subprocess.Process) -> None:
        self.descriptor = descriptor
        self.process = process
        self.output = ""

    def read(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            while data := os.read(self.descriptor, 65_536):
                self.output += data.decode("utf-8", "replace")

    async def until(self, text: str, timeout: float = 60.0) -> None:
        async with asyncio.timeout(timeout):
            while text not in self.output:
                self.read()
                assert text in self.output or self.process.returncode is None, self.output[-2_000:]
                await asyncio.sleep(0.05)

    def press(self, keys: bytes) -> None:
        os.write(self.descriptor, keys)


@pytest.fixture
def open_pty() -> Iterator[tuple[int, int]]:
    main, other = pty.openpty()
    fcntl.ioctl(main, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 90, 0, 0))
    os.set_blocking(main, False)
    yield main, other
    os.close(main)
    os.close(other)


@contextlib.asynccontextmanager
async def chat(system: Any, ends: tuple[int, int], *arguments: str) -> Any:
    main, other = ends
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "devtools.chat", *arguments, "--url", system.http, "--data", str(system.data),
        cwd=REPO, stdin=other, stdout=other, stderr=other, env={**os.environ, "TERM": "xterm-256color"},
    )  # fmt: skip
    try:
        yield Terminal(main, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_full_screen_starts_and_a_stranger_cannot_write_to_the_terminal(
    stack: Any, open_pty: tuple[int, int]
):
    number, stranger = (f"+1555{next(_numbers)}" for _ in range(2))
    async with chat(stack, open_pty, number) as terminal:
        await terminal.until(ENTER_FULL_SCREEN)
        await terminal.until("Nobody yet.")
        sms = SmsFile(Path(stack.data) / "sms.jsonl", stranger)
        session = await sign_up(Rest(stack.http), stranger, sms.code, device_name="test")
        async with Client(stack.http, session) as client:
            await client.wait_online()
            found = await client.rest.add_contact(number)
            conversation = await client.rest.direct(found["userId"])
            await client.send(conversation, "before\x1b]0;owned\x07\x1b[5mafter").sent()
            await terminal.until("before")
        terminal.press(b"\r")  # opens the chat
        await terminal.until("unread message")
        assert "\x1b]0;owned" not in terminal.output
        assert "\x1b[5m" not in terminal.output
        terminal.press(b"\x11")
        await terminal.until(LEAVE_FULL_SCREEN)
        assert await asyncio.wait_for(terminal.process.wait(), 20) == 0


async def test_plain_lines_on_request(stack: Any, open_pty: tuple[int, int]):
    async with chat(stack, open_pty, f"+1555{next(_numbers)}", "--plain") as terminal:
        await terminal.until("NOT end-to-end encrypted")
        assert ENTER_FULL_SCREEN not in terminal.output
        terminal.press(b"/quit\r")
        assert await asyncio.wait_for(terminal.process.wait(), 20) == 0
