"""What the tools make."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Name(StrEnum):
    """Kept: stored with objects, and asked for by clients."""

    FULL = "full"
    THUMB = "thumb"
    POSTER = "poster"
    P720 = "720p"
    P1080 = "1080p"
    VOICE = "voice"
    WAVEFORM = "waveform"


@dataclass(frozen=True, slots=True)
class Rendition:
    """A file that was made; it is gone with the folder that it is in. Pixels, milliseconds and bytes."""

    name: Name
    path: Path
    media_type: str
    size: int
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None
