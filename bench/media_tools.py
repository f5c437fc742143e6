"""What our way of running a tool costs beside the bare tool on the same file: CPU-seconds, one after the other in one run.

Ours is what the pipeline does for a file: a folder, what kind of file it is, the walls, the tool, the answer. The bare tool is a
plain process: Pillow or PDFium in a script of a few lines, ffmpeg with the very arguments that ours was given.
"""

from __future__ import annotations

import itertools
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench import media_samples as samples
from bench.figures import Figures, combine
from media.tools import documents, kinds, pictures, sandbox, video, voice
from media.tools.folders import Folder, folder
from media.tools.renditions import Name

#: At most so many times the CPU of the bare tool.
AIM: Final = 1.2
_HERE: Final = Path(__file__).parent
_LARGE: Final = (4_000, 3_000)


@dataclass(frozen=True)
class Comparison:
    """One tool and one file. ``ours`` does in a folder what the pipeline does; ``bare`` is the plain command, run where it may
    write, or empty: the last command that ours ran."""

    name: str
    source: Path
    ours: Callable[[Folder, Path], object]
    bare: tuple[str, ...] = ()


def comparisons(place: Path, video_s: int, voice_s: int) -> list[Comparison]:
    """With files that are made in ``place``."""
    photo, large, clip, note, pdf = (
        place / name for name in ("photo.jpg", "large.jpg", "clip.mp4", "note.m4a", "text.pdf")
    )
    photo.write_bytes(samples.photos(1)[0])
    large.write_bytes(samples.photos(1, _LARGE, 4 * 10**6)[0])
    samples.video(clip, video_s)
    samples.voice(note, voice_s)
    pdf.write_bytes(samples.document())
    for path in place.iterdir():
        path.chmod(0o644)
    picture, page = (str(_HERE / name) for name in ("bare_picture.py", "bare_pdf.py"))
    return [
        Comparison("photo_4_megapixels", photo, _picture, (picture, str(photo), "full.webp", "thumb.jpg")),
        Comparison("photo_12_megapixels", large, _picture, (picture, str(large), "full.webp", "thumb.jpg")),
        Comparison("pdf_first_page", pdf, _document, (page, str(pdf), "poster.jpg", "thumb.jpg")),
        Comparison("voice", note, _voice),
        Comparison("video_stills", clip, _stills),
        Comparison("video_720p", clip, _transcode(Name.P720)),
        Comparison("video_1080p", clip, _transcode(Name.P1080)),
    ]


def measure(found: list[Comparison], runs: int, say: Callable[[str], None]) -> Figures:
    """Name → ``combine`` of ``{"ours", "bare": CPU-seconds, "ours_wall", "bare_wall": seconds, "ratio"}``. Who is first changes
    with the run; what is short has run once before, so that programs are read from the disk."""
    figures: dict[str, list[Figures]] = {one.name: [] for one in found}
    for one in found:
        if not one.name.startswith("video"):  # ffmpeg has just made the samples
            _ours(one)
            _bare(one)
    for run, one in itertools.product(range(runs), found):
        pair = [("ours", _ours), ("bare", _bare)]
        taken: Figures = {}
        for name, work in reversed(pair) if run % 2 else pair:
            taken[name], taken[f"{name}_wall"] = used_by(partial(work, one))
        taken["ratio"] = round(taken["ours"] / taken["bare"], 3)
        figures[one.name].append(taken)
        say(f"{one.name}, run {run + 1}: {taken['ours']:.2f} and {taken['bare']:.2f} CPU-seconds")
    return {name: combine(taken) for name, taken in figures.items()}


def used_by(work: Callable[[], object]) -> tuple[float, float]:
    """CPU-seconds of this process and of the children that it waited for, theirs included; seconds by the clock."""
    began, before = time.perf_counter(), _used()
    work()
    return round(_used() - before, 4), round(time.perf_counter() - began, 4)


def _used() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in both)


def told(figures: Figures) -> str:
    """The figures as a table."""
    lines = [f"{'CPU-seconds':22}{'ours':>9}{'bare':>9}{'ratio':>8}   lowest to highest ({AIM} is the aim)"]
    for name, found in figures.items():
        median, spread = found["median"], found["spread"]["ratio"]
        above = "  ABOVE" if median["ratio"] > AIM else ""
        lines.append(
            f"{name:22}{median['ours']:9.3f}{median['bare']:9.3f}{median['ratio']:8.2f}   "
            f"{spread[0]:.2f} to {spread[1]:.2f}{above}"
        )
    return "\n".join(lines)


def ffmpeg_version() -> str:
    """As it says itself."""
    said = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout
    return said.split()[2]


# -- ours -------------------------------------------------------------------------------------------------------------------


def _ours(one: Comparison) -> None:
    with _noted() as commands, folder() as place:
        one.ours(place, one.source)
    _commands[one.name] = commands[-1]


def _picture(place: Folder, path: Path) -> object:
    return pictures.renditions(place, path, kinds.identify(path, "image/jpeg"))


def _document(place: Folder, path: Path) -> object:
    return documents.preview(place, path, kinds.identify(path, "application/pdf"))


def _voice(place: Folder, path: Path) -> object:
    return voice.renditions(place, path, kinds.identify(path, "audio/mp4"))


def _stills(place: Folder, path: Path) -> object:
    kind = kinds.identify(path, "video/mp4")
    return video.stills(place, path, kind, video.probe(place, path, kind))


def _transcode(size: Name) -> Callable[[Folder, Path], object]:
    def run(place: Folder, path: Path) -> object:
        kind = kinds.identify(path, "video/mp4")
        return video.transcode(place, path, kind, video.probe(place, path, kind), size)

    return run


# -- the bare tool ----------------------------------------------------------------------------------------------------------


def _bare(one: Comparison) -> None:
    """Where ours runs there is the input one folder above; so it is here."""
    command = [sys.executable, *one.bare] if one.bare else _commands[one.name]
    with tempfile.TemporaryDirectory() as place:
        for argument in command:
            if argument.startswith("../in"):
                (Path(place) / argument[3:]).symlink_to(one.source)
        work = Path(place) / "work"
        work.mkdir()
        subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL)


#: The last command of ffmpeg that ours ran, by the comparison's name.
_commands: dict[str, list[str]] = {}


@contextmanager
def _noted() -> Iterator[list[list[str]]]:
    """The commands that are run meanwhile."""
    commands: list[list[str]] = []
    run = sandbox.run

    def noting(place: Folder, tool: sandbox.Tool, arguments: Any, **more: Any) -> sandbox.Done:
        if tool.program != "ffprobe":
            commands.append([tool.program, *arguments])
        return run(place, tool, arguments, **more)

    sandbox.run = noting  # type: ignore[assignment]
    try:
        yield commands
    finally:
        sandbox.run = run
