"""Photos and other pictures: a WebP that holds nothing but what is seen and a small square JPEG; or squares alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from media.tools import calls, sandbox
from media.tools.folders import Folder
from media.tools.kinds import Family, Kind
from media.tools.reasons import Reason, Refused
from media.tools.renditions import Name, Rendition

THUMB_SIDE: Final = 150
_WORKER: Final = Path(__file__).with_name("picture_worker.py")
_FULL, _THUMB = "full.webp", "thumb.jpg"


@dataclass(frozen=True, slots=True)
class Limits:
    """Pixels: the longest side of what is made, how many are decoded, and how many a JPEG may have that is decoded at a half, a
    quarter or an eighth. Bytes of the file, which is read into memory."""

    longest: int = 4_096
    pixels: int = 50_000_000
    jpeg_pixels: int = 200_000_000
    file_bytes: int = 256 * 2**20
    process: sandbox.Bounds = field(
        default_factory=lambda: sandbox.Bounds(cpu_s=30, memory_bytes=3 * 2**29, output_bytes=32 * 2**20)
    )


def renditions(folder: Folder, source: Path, kind: Kind, *, limits: Limits | None = None) -> list[Rendition]:
    """``full`` (WebP of quality 80, upright, no larger than ``limits`` say) and ``thumb`` (JPEG, 150×150, its middle).

    ``kind`` is a picture of :func:`media.tools.kinds.identify`. The files are gone with ``folder``. Raises
    :class:`~media.tools.reasons.Refused` (``unreadable``, ``pixels``, ``animated``, ``resources``),
    :class:`~media.tools.reasons.Unfinished`. Takes some 0.2 s of a processor a megapixel.
    """
    limits = limits or Limits()
    made = {_FULL: "0", _THUMB: str(THUMB_SIDE)}
    (full, thumb), (width, height) = _run(folder, source, kind, limits, ("longest", limits.longest), made)
    return [
        Rendition(Name.FULL, full, "image/webp", full.stat().st_size, width, height),
        Rendition(Name.THUMB, thumb, "image/jpeg", thumb.stat().st_size, THUMB_SIDE, THUMB_SIDE),
    ]


def squares(
    folder: Folder, source: Path, kind: Kind, sides: Sequence[int], *, limits: Limits | None = None
) -> list[Path]:
    """JPEGs of its middle, ``sides`` pixels wide, largest first; the first is no wider than the picture is. Raises as
    :func:`renditions`; ``limits.longest`` means nothing here."""
    made = {f"{number}.jpg": str(side) for number, side in enumerate(sides)}
    return _run(folder, source, kind, limits or Limits(), ("shortest", sides[0]), made)[0]


def _run(
    folder: Folder, source: Path, kind: Kind, limits: Limits, fit: tuple[str, int], made: dict[str, str]
) -> tuple[list[Path], tuple[int, int]]:
    """The files ``made`` (name: what the worker is told of it), and the size of the whole picture."""
    if kind.family is not Family.PICTURE:
        raise ValueError(kind.media_type)
    if source.stat().st_size > limits.file_bytes:
        raise Refused(Reason.RESOURCES, "a large file")
    done = sandbox.run(
        folder,
        sandbox.Tool(worker=_WORKER, outputs=tuple(made), calls=calls.of_python()),
        [kind.decoder, *map(str, (limits.pixels, limits.jpeg_pixels, *fit)), *made.values()],
        bounds=limits.process,
        inputs=[folder.take(source)],
    )
    said = answer(done.stdout)
    width, height = said.get("width"), said.get("height")
    paths = [path for path in map(folder.made, made) if path is not None]
    if not isinstance(width, int) or not isinstance(height, int) or len(paths) != len(made):
        raise Refused(Reason.UNREADABLE, "an answer without pictures")
    return paths, (width, height)


def answer(stdout: bytes) -> dict[str, Any]:
    """What a worker of ours said, which a stranger's file may have taken over. Raises :class:`Refused`."""
    try:
        said = json.loads(stdout)
        if not isinstance(said, dict):
            raise TypeError
        if "refused" in said:
            raise Refused(Reason(said["refused"]))
    except (ValueError, TypeError, RecursionError):
        raise Refused(Reason.UNREADABLE, "no answer") from None
    return said
