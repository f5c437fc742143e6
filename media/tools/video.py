"""Videos: what they are, two pictures of their first frame, and H.265 in one or two sizes, with nothing else of the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from media.tools import ffmpeg, kinds, sandbox
from media.tools.folders import Folder
from media.tools.kinds import Family, Kind
from media.tools.pictures import THUMB_SIDE
from media.tools.reasons import Reason, Refused
from media.tools.renditions import Name, Rendition

#: The shorter side, pixels.
_SIDES: Final = {Name.P720: 720, Name.P1080: 1_080}
_POSTER, _THUMB = "poster.jpg", "thumb.jpg"


@dataclass(frozen=True, slots=True)
class Limits:
    """Pixels of a frame (the default takes 8K), milliseconds, the longest side of a poster, frames a second of what is made, and
    what x265 is asked for: ``preset``, ``quality`` (CRF, lower is better and larger).

    ``cpu_per_s``: seconds of a processor for each second of video; what the file says of its length is taken, and a lie ends as
    ``resources``. A video may take four times as long by the clock as on two idle processors.
    """

    pixels: int = 36_000_000
    duration_ms: int = 4 * 3_600_000
    poster: int = 1_280
    frames_per_s: int = 60
    preset: str = "veryfast"
    quality: int = 28
    cpu_per_s: int = 40
    output_bytes: int = 2 * 2**30
    look: sandbox.Bounds = field(
        default_factory=lambda: sandbox.Bounds(cpu_s=30, memory_bytes=4 * 2**30, output_bytes=16 * 2**20)
    )


@dataclass(frozen=True, slots=True)
class Facts:
    """Pixels as they are shown, upright; ``rotation``: by how many degrees clockwise the file asks to be turned for that.
    ``duration_ms`` is None where only reading it all would tell."""

    width: int
    height: int
    rotation: int
    duration_ms: int | None
    codec: str
    sound: bool
    frames_per_s: float


def probe(folder: Folder, source: Path, kind: Kind, *, limits: Limits | None = None) -> Facts:
    """``kind`` is a video of :func:`media.tools.kinds.identify`. Raises :class:`Refused` (``unreadable``, ``mismatch`` when there
    is no moving picture, ``pixels``, ``too_long``, ``not_allowed`` for codecs that are not on the list, ``resources``),
    :class:`~media.tools.reasons.Unfinished`."""
    if kind.family is not Family.VIDEO:
        raise ValueError(kind.media_type)
    limits = limits or Limits()
    found = ffmpeg.probe(folder, source, kind, pixels=limits.pixels, bounds=limits.look)
    pictures = [one for one in found.streams if one.picture]
    if not pictures:
        raise Refused(Reason.MISMATCH if found.streams else Reason.UNREADABLE, "no moving picture")
    first = pictures[0]
    if first.width * first.height > limits.pixels:
        raise Refused(Reason.PIXELS)
    width, height = max(1, round(first.width * min(10.0, max(0.1, first.aspect)))), first.height
    if first.width < 1 or height < 1:
        raise Refused(ffmpeg.why(found.said), found.said)  # no decoder would have it
    if found.duration_ms is not None and found.duration_ms > limits.duration_ms:
        raise Refused(Reason.TOO_LONG)
    if first.rotation % 2:
        width, height = height, width
    return Facts(
        width,
        height,
        first.rotation * 90,
        found.duration_ms,
        first.codec,
        any(not one.picture for one in found.streams),
        first.frames_per_s,
    )


def stills(
    folder: Folder, source: Path, kind: Kind, facts: Facts, *, limits: Limits | None = None
) -> list[Rendition]:
    """``poster`` (JPEG of the first frame) and ``thumb`` (JPEG, 150×150, its middle). Raises as :func:`probe` does."""
    limits = limits or Limits()
    name = folder.take(source)
    width, height = _fit(facts, limits.poster / max(facts.width, facts.height), even=False)
    side = THUMB_SIDE
    graph = (
        f"[0:V:0]split=2[a][b];[a]scale={width}:{height},setsar=1,format=yuvj420p[poster];"
        f"[b]scale={side}:{side}:force_original_aspect_ratio=increase,crop={side}:{side},setsar=1,format=yuvj420p[thumb]"
    )
    one = ("-frames:v", "1", "-q:v", "3", "-map_metadata", "-1", *_PLAIN, "-f", "image2", "-update", "1")
    arguments = [
        *("-y", "-nostdin", "-hide_banner", "-v", "error", "-threads", "1"),
        *ffmpeg.reading(name, kind, limits.pixels),
        *("-filter_complex", graph),
        *("-map", "[poster]", *one, _POSTER),
        *("-map", "[thumb]", *one, _THUMB),
    ]
    ffmpeg.run(folder, ffmpeg.PROGRAM, arguments, [name], limits.look)
    poster, thumb = folder.made(_POSTER), folder.made(_THUMB)
    if poster is None or thumb is None:
        raise Refused(Reason.UNREADABLE, "no first frame")
    return [
        Rendition(Name.POSTER, poster, "image/jpeg", poster.stat().st_size, width, height),
        Rendition(Name.THUMB, thumb, "image/jpeg", thumb.stat().st_size, side, side),
    ]


def sizes(facts: Facts) -> list[Name]:
    """What is worth making: ``720p`` always (smaller if the video is), ``1080p`` where there is more to see than in that."""
    return [Name.P720, Name.P1080] if min(facts.width, facts.height) > _SIDES[Name.P720] else [Name.P720]


def transcode(
    folder: Folder,
    source: Path,
    kind: Kind,
    facts: Facts,
    size: Name,
    *,
    progress: Callable[[int], None] | None = None,
    limits: Limits | None = None,
) -> Rendition:
    """H.265 and AAC in an MP4 that plays before it is all there; ``size`` is one of :func:`sizes`, the shorter side is never
    more than its number or the video's own.

    ``progress`` is told percents, upwards, 100 at the end, or only that where the length is unknown; what it raises ends the work
    and comes through. Raises as :func:`probe` does.
    """
    limits = limits or Limits()
    name, out = folder.take(source), f"{size}.mp4"
    width, height = _fit(facts, _SIDES[size] / min(facts.width, facts.height), even=True)
    told = ffmpeg.Progress(facts.duration_ms, progress)
    arguments = [
        *("-y", "-nostdin", "-hide_banner", "-v", "error", "-threads", ffmpeg.THREADS, *told.ARGUMENTS),
        *("-max_error_rate", "0.1"),
        *ffmpeg.reading(name, kind, limits.pixels),
        *("-map", "0:V:0", "-map", "0:a:0?", "-sn", "-dn"),
        *("-map_metadata", "-1", "-map_metadata:s", "-1", "-map_chapters", "-1", *_PLAIN),
        *("-t", str(limits.duration_ms // 1_000 + 2)),
        *("-vf", f"scale={width}:{height},setsar=1,format=yuv420p", "-fpsmax", str(limits.frames_per_s)),
        *("-c:v", "libx265", "-preset", limits.preset, "-crf", str(limits.quality), "-tag:v", "hvc1"),
        *("-x265-params", f"log-level=error:info=0:pools={ffmpeg.THREADS}:frame-threads=1"),
        *("-c:a", "aac", "-b:a", "128k", "-ac", "2", "-ar", "48000"),
        *("-movflags", "+faststart", "-f", "mp4", out),
    ]
    ffmpeg.run(folder, ffmpeg.PROGRAM, arguments, [name], _bounds(facts, source, limits), told.line)
    made = folder.made(out)
    if made is None:
        raise Refused(Reason.UNREADABLE, "no video")
    is_now = probe(folder, made, kinds.MP4, limits=limits)
    told.done()
    return Rendition(
        size, made, "video/mp4", made.stat().st_size, is_now.width, is_now.height, is_now.duration_ms
    )


#: No name of the program, its version or the time in what is made.
_PLAIN: Final = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact")


def _fit(facts: Facts, scale: float, *, even: bool) -> tuple[int, int]:
    """Scaled, never up. H.265 has half as many colours as pixels in each direction."""
    scale = min(1.0, scale)
    step = 2 if even else 1
    width, height = (max(step, round(side * scale / step) * step) for side in (facts.width, facts.height))
    return max(width, 16 if even else 1), max(height, 16 if even else 1)


def _bounds(facts: Facts, source: Path, limits: Limits) -> sandbox.Bounds:
    size = source.stat().st_size
    seconds = (facts.duration_ms or min(limits.duration_ms, size // 10)) / 1_000
    cpu_s = 60 + int(limits.cpu_per_s * seconds)
    return sandbox.Bounds(
        cpu_s=cpu_s,
        memory_bytes=limits.look.memory_bytes,
        output_bytes=min(limits.output_bytes, 2**26 + 4 * size),
        deadline_s=60.0 + 2 * cpu_s,
    )
