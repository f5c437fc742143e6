"""Voice notes and other sound: Opus in Ogg, and the shape of its loudness."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from media.tools import ffmpeg, sandbox
from media.tools.folders import Folder
from media.tools.kinds import Family, Kind
from media.tools.reasons import Reason, Refused
from media.tools.renditions import Name, Rendition

BARS: Final = 64
_OUT, _LEVELS, _WAVEFORM = "voice.ogg", "levels.txt", "waveform.bin"
#: A level for each tenth of a second, of sound at 8 kHz.
_SAMPLES, _HERTZ = 800, 8_000
_LEVEL: Final = "lavfi.astats.Overall.RMS_level"


@dataclass(frozen=True, slots=True)
class Limits:
    """Milliseconds, bits a second, and seconds of a processor for each minute of sound (what the file says of its length)."""

    duration_ms: int = 3 * 3_600_000
    voice_rate: int = 32_000
    music_rate: int = 96_000
    cpu_per_minute: int = 20
    look: sandbox.Bounds = field(
        default_factory=lambda: sandbox.Bounds(cpu_s=30, memory_bytes=2**30, output_bytes=2**20)
    )


def renditions(
    folder: Folder,
    source: Path,
    kind: Kind,
    *,
    music: bool = False,
    progress: Callable[[int], None] | None = None,
    limits: Limits | None = None,
) -> list[Rendition]:
    """``voice`` (Opus in Ogg, one channel; with ``music`` two, and three times the bits) and ``waveform`` (64 bytes, 0 to 100:
    how loud each 64th is, against the loudest). ``kind`` is a sound of :func:`media.tools.kinds.identify`.

    ``progress`` as in :func:`media.tools.video.transcode`. Raises :class:`Refused` (``unreadable``, ``mismatch`` when there is no
    sound or a moving picture too, ``too_long``, ``not_allowed``, ``resources``), :class:`~media.tools.reasons.Unfinished`.
    """
    if kind.family is not Family.AUDIO:
        raise ValueError(kind.media_type)
    limits = limits or Limits()
    found = ffmpeg.probe(folder, source, kind, pixels=1, bounds=limits.look)
    if not found.streams:
        raise Refused(Reason.UNREADABLE, "no sound")
    if any(one.picture for one in found.streams):
        raise Refused(Reason.MISMATCH, "not sound alone")
    if found.duration_ms is not None and found.duration_ms > limits.duration_ms:
        raise Refused(Reason.TOO_LONG)
    name = folder.take(source)
    told = ffmpeg.Progress(found.duration_ms, progress)
    layout, rate, use = (
        ("stereo", limits.music_rate, "audio") if music else ("mono", limits.voice_rate, "voip")
    )
    graph = (
        f"[0:a:0]aresample=48000,asplit=2[a][b];[a]aformat=channel_layouts={layout}[sound];"
        f"[b]aformat=channel_layouts=mono,aresample={_HERTZ},asetnsamples=n={_SAMPLES}:p=0,"
        f"astats=metadata=1:reset=1:measure_perchannel=none:measure_overall=RMS_level,"
        f"ametadata=mode=print:key={_LEVEL}:file={_LEVELS}[levels]"
    )
    arguments = [
        *("-y", "-nostdin", "-hide_banner", "-v", "error", "-threads", "1", "-max_error_rate", "0.1"),
        *told.ARGUMENTS,
        *ffmpeg.reading(name, kind, 1),
        *("-filter_complex", graph),
        *("-map", "[sound]", "-map_metadata", "-1", "-map_metadata:s", "-1", "-map_chapters", "-1"),
        *("-fflags", "+bitexact", "-flags:a", "+bitexact", "-t", str(limits.duration_ms // 1_000 + 2)),
        *("-c:a", "libopus", "-b:a", str(rate), "-application", use, "-f", "ogg", _OUT),
        *("-map", "[levels]", "-t", str(limits.duration_ms // 1_000 + 2), "-f", "null", "-"),
    ]
    ffmpeg.run(
        folder, ffmpeg.PROGRAM, arguments, [name], _bounds(found.duration_ms, source, limits), told.line
    )
    made, levels = folder.made(_OUT), folder.made(_LEVELS)
    if made is None or levels is None:
        raise Refused(Reason.UNREADABLE, "no sound")
    # Its last word about how far it came: asking ffprobe costs a fifth of the whole work on a note of a minute.
    length_ms = told.ended_ms
    if not 0 < length_ms <= limits.duration_ms + 1_000:
        raise Refused(Reason.TOO_LONG if length_ms else Reason.UNREADABLE)
    waveform = folder.path / _WAVEFORM
    waveform.write_bytes(bars(_levels(levels)))
    told.done()
    return [
        Rendition(Name.VOICE, made, "audio/ogg", made.stat().st_size, duration_ms=length_ms),
        Rendition(Name.WAVEFORM, waveform, "application/octet-stream", BARS, duration_ms=length_ms),
    ]


def bars(levels: Sequence[float], count: int = BARS) -> bytes:
    """``count`` numbers from 0 to 100: the mean of the ``levels`` (0 to 1) that fall into each part, against the loudest part.
    All 0 when nothing is heard."""
    if not levels:
        return bytes(count)
    means = []
    for bar in range(count):
        start = bar * len(levels) // count
        part = levels[start : max(start + 1, (bar + 1) * len(levels) // count)]
        means.append(sum(part) / len(part))
    loudest = max(means)
    return bytes(round(100 * mean / loudest) if loudest > 1e-4 else 0 for mean in means)


def _levels(path: Path) -> list[float]:
    """From decibels. A line that says nothing sensible is silence."""
    found = []
    with path.open(encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith(_LEVEL):
                try:
                    decibels = float(line.partition("=")[2])
                except ValueError:
                    decibels = -math.inf
                found.append(min(1.0, 10 ** (decibels / 20)) if -200 < decibels < 100 else 0.0)
    return found


def _bounds(duration_ms: int | None, source: Path, limits: Limits) -> sandbox.Bounds:
    """Sound of unknown length has at least 6 kbit a second."""
    length_ms = duration_ms or min(limits.duration_ms, source.stat().st_size * 8 // 6)
    minutes = length_ms / 60_000
    cpu_s = 20 + int(limits.cpu_per_minute * minutes)
    return sandbox.Bounds(
        cpu_s=cpu_s,
        memory_bytes=limits.look.memory_bytes,
        output_bytes=2**22 + int(minutes * (2 * limits.music_rate // 8 * 60 + 120_000)),
        deadline_s=60.0 + 3 * cpu_s,
    )
