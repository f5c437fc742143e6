"""Files of others on this machine's disk: names that do nothing but name, nothing replaced, nothing executed."""

from __future__ import annotations

import mimetypes
import os
import pathlib
import re
import shutil
import subprocess
import unicodedata

from . import text
from .attachment import NAMES, File

MAX_NAME = (
    150  # bytes, of the 255 that file systems take; numbers and the mark of an unfinished one come besides
)
_BAD = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')
#: What a program may be started for: data that is shown or played. No page, no script, no shortcut.
SAFE = re.compile(r"(image/(?!svg)|video/|audio/|text/plain$|application/pdf$)")
TRIES = 1_000


def safe_name(file: File) -> str:
    """A name without folders, controls, hidden or disguised parts: of the sender's, or of what it is."""
    name = unicodedata.normalize("NFC", text.one_line(file.name).replace(text.REPLACEMENT, "_"))
    name = _BAD.sub("_", name).strip(". ")
    if not name:
        name = NAMES[file.kind].lower().replace(" ", "-") + (mimetypes.guess_extension(file.media_type) or "")
    stem, dot, end = name.rpartition(".")
    if not dot or not end.isalnum() or len(end.encode()) > 16:
        stem, end = name, ""
    room = MAX_NAME - len(end.encode()) - 1
    stem = stem.encode()[:room].decode("utf-8", "ignore").rstrip(". ") or "file"
    return f"{stem}.{end}" if end else stem


def keep(arrived: pathlib.Path, folder: pathlib.Path, name: str) -> pathlib.Path:
    """Move a file into the folder it is in already, under this name or the next free one. Raises OSError."""
    stem, dot, end = name.rpartition(".")
    stem, suffix = (stem, dot + end) if dot else (name, "")
    for number in range(TRIES):
        target = folder / (f"{stem} ({number}){suffix}" if number else name)
        try:
            os.link(arrived, target, follow_symlinks=False)  # fails where there is one
        except FileExistsError:
            continue
        except OSError:  # a file system without links
            try:
                os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            except FileExistsError:
                continue
            os.replace(arrived, target)
            return target
        arrived.unlink()
        return target
    raise FileExistsError(f"there are {TRIES} files of this name")


def may_open(path: pathlib.Path) -> bool:
    """Whether another program may be started for it."""
    return bool(SAFE.match(mimetypes.guess_type(path.name)[0] or ""))


def open_elsewhere(path: pathlib.Path) -> None:
    """By the desktop's own choice of a program. Raises OSError where there is no desktop."""
    program = shutil.which("xdg-open")
    if program is None:
        raise FileNotFoundError("there is no xdg-open")
    subprocess.Popen(  # noqa: S603 - a file of a passive kind, by its whole path
        [program, str(path.absolute())], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
