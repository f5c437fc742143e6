"""Pictures of others into pixels: by a process for each (:mod:`picture_worker`), whose answer is checked."""

from __future__ import annotations

import asyncio
import pathlib
import subprocess
import sys
import threading

from . import picture_worker
from .pixels import Pixels

DEADLINE = 20.0  # s
MOST = 400  # pixels in each direction: more than a terminal has cells
_HEAD = 32  # bytes in front of the pixels, at most


async def decode(path: pathlib.Path, width: int, height: int) -> Pixels | None:
    """The picture in this file in a box of so many pixels; None for what is none, is too large, or takes too long. Raises
    OSError."""
    width, height = max(1, min(MOST, width)), max(1, min(MOST, height))
    return _pixels(await asyncio.to_thread(_answer, path, width, height), width, height)


def _answer(path: pathlib.Path, width: int, height: int) -> bytes:
    """What the decoder says; nothing if it did not end well. It gets the file, and nothing else of ours."""
    most = _HEAD + 3 * width * height
    with (
        path.open("rb") as file,
        subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-I", picture_worker.__file__, str(width), str(height)],
            stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}, cwd="/",
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        late = threading.Timer(DEADLINE, process.kill)
        late.start()
        try:
            answer = process.stdout.read(most + 1)
            if len(answer) > most:
                return b""
            return answer if process.wait() == 0 else b""
        finally:
            late.cancel()
            process.kill()


def _pixels(answer: bytes, width: int, height: int) -> Pixels | None:
    head, _, data = answer.partition(b"\n")
    sizes = head.split(b" ")
    if len(sizes) != 2 or not all(size.isdigit() and len(size) < 5 for size in sizes):
        return None
    try:
        found = Pixels(int(sizes[0]), int(sizes[1]), data)
    except ValueError:
        return None
    return found if found.width <= width and found.height <= height else None
