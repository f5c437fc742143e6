"""Pictures that people upload: made square, small and harmless by a process that may do nothing else.

The worker (``image_worker.py``) is a fresh process each time, with an empty environment, bounds on processor time, memory and
output, and a deadline from here; what it answers is bounded too, and never trusted to be more than bytes. A few run at once in
a process of ours, the next ones wait for a moment and are then told ``Busy``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

from whatsapp.infra import metrics
from whatsapp.infra.limits import LIMITS

log = logging.getLogger(__name__)

#: Media type → what Pillow calls the format. Nothing else is ever decoded.
FORMATS: Final = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
#: Of what is made.
MEDIA_TYPE: Final = "image/jpeg"

WORKER: Final = Path(__file__).with_name("image_worker.py")
_TIMEOUT_S: Final = 15.0  # of the clock on the wall; the worker has 5 s of a processor
_WAIT_S: Final = 5.0
_MAX_OUTPUT: Final = 4 * 2**20


class Reason(StrEnum):
    UNREADABLE = "unreadable"  # not of this format, broken, cut off, or the worker died of it
    PIXELS = "pixels"
    ANIMATED = "animated"


class ImageRefused(Exception):
    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Busy(Exception):
    """Others are being worked on, or the machine is too busy with something else; try again."""


_slots = threading.BoundedSemaphore(LIMITS.image_workers)


def squares(data: bytes, *, media_type: str, sides: Sequence[int]) -> list[bytes]:
    """JPEGs of the picture's middle, ``sides`` pixels wide, largest first; the first is no wider than the picture is.

    ``media_type`` is a key of :data:`FORMATS`: what the file says it is, and must be. Blocks for 0.1 to 0.5 s, and for as long
    as others are before it: not on a loop, and without a connection of the database in hand. Raises :class:`ImageRefused`,
    :class:`Busy`.
    """
    with _slot():
        answer = _run(data, [str(LIMITS.image_pixels), FORMATS[media_type], *map(str, sides)])
    head, _, rest = answer.partition(b"\n")
    try:
        said = json.loads(head)
        if "refused" in said:
            raise ImageRefused(Reason(said["refused"]))
        sizes = [int(size) for size in said["sizes"]]
        if len(sizes) != len(sides) or min(sizes) <= 0 or sum(sizes) != len(rest):
            raise ValueError("sizes")
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise ImageRefused(Reason.UNREADABLE) from None
    made, start = [], 0
    for size in sizes:
        made.append(rest[start : start + size])
        start += size
    return made


@contextlib.contextmanager
def _slot() -> Iterator[None]:
    if not _slots.acquire(timeout=_WAIT_S):
        metrics.count("images", "busy")
        raise Busy
    try:
        yield
    finally:
        _slots.release()


def _run(data: bytes, arguments: list[str]) -> bytes:
    """What the worker wrote, nothing when it died. Files in memory instead of pipes: nobody can wait for the other."""
    with _memory("image", data) as given, _memory("squares") as made:
        try:
            worker = subprocess.Popen(  # noqa: S603 - our own file; the arguments are ours too
                [sys.executable, "-I", "-B", str(WORKER), *arguments],
                stdin=given,
                stdout=made,
                stderr=subprocess.DEVNULL,
                env={"LANG": "C.UTF-8"},  # no secret of ours
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:  # no memory, no process
            log.warning("no image worker could be started: %s", error.strerror)
            raise Busy from None
        try:
            code = worker.wait(_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            # It had not even its share of a processor: the machine's doing, not the file's.
            log.warning("an image worker was not done in time")
            metrics.count("images", "late")
            raise Busy from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                worker.kill()
            worker.wait()
        if code != 0:
            # Out of time or memory, or a crash of a decoder: the file's doing, whatever it was.
            log.warning("an image worker ended with %s", code)
            metrics.count("images", "died")
            return b""
        metrics.count("images", "done")
        return os.pread(made, _MAX_OUTPUT, 0)


@contextlib.contextmanager
def _memory(name: str, data: bytes = b"") -> Iterator[int]:
    descriptor = os.memfd_create(name)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
