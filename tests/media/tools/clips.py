"""Videos and sounds, made by an ffmpeg that trusts itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any


def ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments], check=True, timeout=100)


def ffprobe(path: Path) -> dict[str, Any]:
    command = ["ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json", str(path)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, timeout=100).stdout))


def video(
    path: Path,
    size: str = "320x240",
    *options: str,
    seconds: float = 1,
    rate: int = 10,
    source: str = "testsrc2",
    sound: bool = True,
    codec: tuple[str, ...] = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"),
) -> Path:
    mark = ":" if "=" in source else "="
    tone = ("-f", "lavfi", "-i", f"sine=440:d={seconds}") if sound else ()
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        f"{source}{mark}s={size}:r={rate}:d={seconds}",
        *tone,
        *codec,
        "-threads",
        "1",
        *options,
        str(path),
    )
    return path


def tone(path: Path, *options: str, seconds: float = 2, source: str = "sine=440:d={}") -> Path:
    ffmpeg("-f", "lavfi", "-i", source.format(seconds), *options, str(path))
    return path
