"""How ffmpeg and ffprobe are called on a stranger's file: which parts of them may be reached, and what their failures mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from media.tools import sandbox
from media.tools.folders import Folder
from media.tools.kinds import Kind
from media.tools.reasons import Reason, Refused

PROGRAM: Final = sandbox.Tool(program="ffmpeg")
_PROBE: Final = sandbox.Tool(program="ffprobe")
#: Of the hundreds that ffmpeg has; what phones, browsers and cameras write.
_CODECS: Final = ",".join((
    "h264", "hevc", "vp8", "vp9", "libvpx", "libvpx-vp9", "av1", "libdav1d", "mpeg4", "h263", "mjpeg", "png",
    "aac", "opus", "libopus", "vorbis", "mp3", "mp3float", "flac", "alac", "amrnb", "amrwb", "ac3", "eac3",
    "subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text",  # left out later, but ffprobe opens them
    "pcm_u8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le", "pcm_alaw", "pcm_mulaw",
))  # fmt: skip
THREADS: Final = "2"
#: Words of libavformat, libavcodec and libavutil, and what they say about the file.
_WORDS: Final = (
    ("not on whitelist", Reason.NOT_ALLOWED),
    ("picture size", Reason.PIXELS),
    ("exceeds specified max pixel count", Reason.PIXELS),
)


@dataclass(frozen=True, slots=True)
class Stream:
    """What ffprobe says of one. Pixels as stored; ``rotation``: quarter turns clockwise until it is upright."""

    picture: bool
    codec: str
    width: int
    height: int
    aspect: float
    rotation: int
    frames_per_s: float


@dataclass(frozen=True, slots=True)
class Probed:
    """``said``: what ffprobe had to say although it was content."""

    streams: list[Stream]
    duration_ms: int | None
    said: str


def reading(name: str, kind: Kind, pixels: int) -> list[str]:
    """The arguments before and with ``-i``: this demuxer and no other, nothing but this file, these codecs, so many pixels. A
    file whose name says video may be a list of other files and addresses: the format is never guessed."""
    return [
        *("-protocol_whitelist", "file,pipe"),
        *("-format_whitelist", f"{kind.decoder},{_FAMILY.get(kind.decoder, '')}"),
        *("-codec_whitelist", _CODECS),
        *("-max_pixels", str(pixels)),
        *("-max_streams", "64"),
        *("-f", kind.decoder, "-i", name),
    ]


#: What ffmpeg calls the formats that share a demuxer; its list of allowed ones wants the whole name.
_FAMILY: Final = {"mov": "mov,mp4,m4a,3gp,3g2,mj2", "matroska": "matroska,webm"}


def probe(folder: Folder, source: Path, kind: Kind, *, pixels: int, bounds: sandbox.Bounds) -> Probed:
    """What is in the file. Raises :class:`Refused`, :class:`~media.tools.reasons.Unfinished`."""
    name = folder.take(source)
    entries = (
        "format=duration:stream=codec_type,codec_name,width,height,sample_aspect_ratio,avg_frame_rate,duration"
        ":stream_side_data=rotation:stream_disposition=attached_pic"
    )
    done = run(
        folder,
        _PROBE,
        ["-v", "error", "-of", "json", "-show_entries", entries, *reading(name, kind, pixels)],
        [name],
        bounds,
    )
    try:
        said = json.loads(done.stdout)
        streams = [
            _stream(one) for one in said["streams"] if not one.get("disposition", {}).get("attached_pic")
        ]
        lengths = [said.get("format", {}).get("duration"), *(one.get("duration") for one in said["streams"])]
        longest = max((float(length) for length in lengths if length not in (None, "N/A")), default=0.0)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ZeroDivisionError):
        raise Refused(Reason.UNREADABLE, "no answer") from None

    duration_ms = round(longest * 1_000) if 0 < longest < 1e9 else None
    return Probed([one for one in streams if one is not None], duration_ms, done.said)


def _stream(said: dict[str, Any]) -> Stream | None:
    if said.get("codec_type") not in ("video", "audio"):
        return None
    turns = [int(one["rotation"]) for one in said.get("side_data_list", []) if "rotation" in one]
    return Stream(
        picture=said["codec_type"] == "video",
        codec=str(said.get("codec_name", ""))[:32],
        width=int(said.get("width", 0)),
        height=int(said.get("height", 0)),
        aspect=_ratio(said.get("sample_aspect_ratio"), ":") or 1.0,
        rotation=round(-turns[0] / 90) % 4 if turns else 0,
        frames_per_s=_ratio(said.get("avg_frame_rate"), "/"),
    )


def _ratio(text: object, mark: str) -> float:
    """0 for what is unknown."""
    if not isinstance(text, str) or mark not in text:
        return 0.0
    above, _, below = text.partition(mark)
    return int(above) / int(below) if int(below) else 0.0


def run(
    folder: Folder,
    tool: sandbox.Tool,
    arguments: Sequence[str],
    inputs: Sequence[str],
    bounds: sandbox.Bounds,
    lines: Callable[[str], None] | None = None,
) -> sandbox.Done:
    """:func:`sandbox.run`, with what the tool said read for its reason."""
    try:
        return sandbox.run(folder, tool, arguments, bounds=bounds, inputs=inputs, lines=lines)
    except Refused as error:
        if error.reason is Reason.UNREADABLE:
            raise Refused(why(error.said), error.said, error.code) from None
        raise


def why(said: str) -> Reason:
    """The reason in the words of a tool, ``unreadable`` if it says none that is known."""
    said = said.lower()
    return next((reason for words, reason in _WORDS if words in said), Reason.UNREADABLE)


class Progress:
    """Reads ``-progress`` and tells percents, 0 to 100, each once and upwards. ``ended_ms``: how far it came."""

    ARGUMENTS: Final = ("-nostats", "-progress", "pipe:1", "-stats_period", "0.5")

    def __init__(self, duration_ms: int | None, tell: Callable[[int], None] | None) -> None:
        self.duration_ms, self.tell = duration_ms, tell
        self.ended_ms, self.told = 0, -1

    def line(self, line: str) -> None:
        name, _, value = line.partition("=")
        if name == "out_time_us" and value.removeprefix("-").isdigit():
            self.ended_ms = max(self.ended_ms, int(value[:18]) // 1_000)
            if self.duration_ms:
                self._say(min(99, self.ended_ms * 100 // self.duration_ms))

    def done(self) -> None:
        self._say(100)

    def _say(self, percent: int) -> None:
        if self.tell is not None and percent > self.told:
            self.told = percent
            self.tell(percent)
