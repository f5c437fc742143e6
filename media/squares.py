"""Photos of people and icons of groups (``accounts/squares.py``): scanned, then made anew behind the walls of all media, while
their request waits. They have no upload, no row and no task; who asked stores what was made."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from accounts.squares import TAKEN, NoPicture, Unavailable
from media.pipeline.process import work_folder
from media.scan import Kind as Found
from media.scan import ScannerUnavailable, scanner
from media.tools import pictures, sandbox
from media.tools.folders import folder
from media.tools.kinds import identify
from media.tools.reasons import Late, Reason, Refused, Unfinished
from whatsapp.infra import metrics
from whatsapp.infra.limits import LIMITS

#: Seconds that somebody waits for others to be done, and for the scanner: somebody is waiting for the answer.
_WAIT_S: Final = 5.0
_SCAN_S: Final = 10.0
BOUNDS: Final = sandbox.Bounds(
    cpu_s=5, memory_bytes=768 * 2**20, output_bytes=4 * 2**20, processes=8, deadline_s=15.0
)

_slots = threading.BoundedSemaphore(LIMITS.image_workers)


def squares(data: bytes, media_type: str, sides: Sequence[int]) -> list[bytes]:
    """As ``accounts.squares.make`` says."""
    with _slot():
        try:
            made = _make(data, media_type, sides)
        except Refused as refusal:
            metrics.count("images", "refused")
            raise NoPicture(refusal.reason) from None
        except (Unfinished, ScannerUnavailable) as error:
            metrics.count("images", "late" if isinstance(error, Late) else "unavailable")
            raise Unavailable from None
    metrics.count("images", "done")
    return made


@contextmanager
def _slot() -> Iterator[None]:
    if not _slots.acquire(timeout=_WAIT_S):
        metrics.count("images", "busy")
        raise Unavailable
    try:
        yield
    finally:
        _slots.release()


def _make(data: bytes, media_type: str, sides: Sequence[int]) -> list[bytes]:
    _scan(data)
    with folder(work_folder()) as place:
        source = place.put_in(data)
        kind = identify(source, media_type)
        if kind.media_type not in TAKEN:
            raise Refused(Reason.NOT_ALLOWED, kind.media_type)
        limits = pictures.Limits(
            pixels=LIMITS.image_pixels, jpeg_pixels=LIMITS.image_pixels, file_bytes=LIMITS.image_bytes, process=BOUNDS
        )  # fmt: skip
        return [path.read_bytes() for path in pictures.squares(place, source, kind, sides, limits=limits)]


def _scan(data: bytes) -> None:
    """Nothing passes unscanned where there is a scanner. Raises :class:`Refused`, ``ScannerUnavailable``."""
    daemon = scanner()
    if daemon is None:
        return
    verdict = replace(daemon, wait_s=_SCAN_S, verdict_s=_SCAN_S, whole_s=_SCAN_S).scan([data])
    if not verdict.clean:
        reason = Reason.INFECTED if verdict.kind is Found.INFECTED else Reason.RESOURCES
        raise Refused(reason, verdict.name)
