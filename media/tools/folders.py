"""Folders that tools work in, which nothing outlives: not an error, not a kill -9, not (with :func:`sweep`) a power cut."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from media.tools.reasons import Busy

log = logging.getLogger(__name__)

_PREFIX: Final = "media-"
_NOBODY: Final = 65_534
_PATIENCE_S: Final = 60.0
#: Waits for the end of a pipe that its parent holds open, and removes the folder then; a tool that is being killed just now may
#: still make a file.
_REMOVER: Final = (
    'trap "" HUP INT TERM; read _; '
    'until rm -rf -- "$1" 2>/dev/null; do chmod -R u+rwX -- "$1" 2>/dev/null; sleep 0.1; done'
)


class Folder:
    """``path`` belongs to us: inputs are here. ``work`` below it belongs to the tools, and is where they run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.work = path / "work"

    def take(self, source: Path, suffix: str = "") -> str:
        """The name under which tools read ``source``, relative to where they run. It is linked, or copied where a link would not
        be readable for them: when we are root and others may not read it. The file is not changed. Raises :class:`Busy`."""
        name = f"in{len(os.listdir(self.path))}{suffix}"
        place = self.path / name
        try:
            if os.geteuid() != 0 or _others_read(source.absolute()):
                place.symlink_to(source.absolute())
            else:
                shutil.copyfile(source, place)
                place.chmod(0o444)
        except OSError as error:
            raise Busy(f"no copy of the input: {error.strerror}") from None
        return f"../{name}"

    def put_in(self, data: bytes) -> Path:
        """An input from memory. Raises :class:`Busy`."""
        place = self.path / "given"
        try:
            place.write_bytes(data)
        except OSError as error:
            raise Busy(f"no room for the input: {error.strerror}") from None
        return place

    def put(self, source: Path, name: str) -> None:
        """A copy of ``source`` where tools run, for those that look nowhere else. What is there under ``name`` is replaced and
        not followed: a tool may have put it there. Raises :class:`Busy`."""
        place = self.work / name
        try:
            place.unlink(missing_ok=True)
            descriptor = os.open(
                place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
            )
            with source.open("rb") as given, os.fdopen(descriptor, "wb") as taken:
                os.fchmod(descriptor, 0o644)
                shutil.copyfileobj(given, taken)
        except OSError as error:
            raise Busy(f"no copy of the input: {error.strerror}") from None

    def made(self, name: str) -> Path | None:
        """The file that a tool wrote under ``name``, if it is one, is alone under its name, and holds something."""
        path = self.work / name
        try:
            found = path.lstat()
        except OSError:
            return None
        return path if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_size else None

    def used(self, most: int = 1_000) -> tuple[int, int]:
        """How many bytes of disk the tools' files take, and how many files and folders there are; no further than ``most``."""
        total = entries = 0
        left: list[str] = [str(self.work)]
        while left and entries <= most:
            try:
                with os.scandir(left.pop()) as found:
                    for entry in found:
                        entries += 1
                        if entries > most:
                            break
                        if entry.is_dir(follow_symlinks=False):
                            left.append(entry.path)
                        else:
                            total += entry.stat(follow_symlinks=False).st_blocks * 512
            except FileNotFoundError:
                continue
            except OSError:  # a name that is too long, of folders in folders
                entries = most + 1
        return total, entries


@contextlib.contextmanager
def folder(parent: Path | None = None) -> Iterator[Folder]:
    """A new folder under ``parent`` (default: the system's for temporary files), removed with all it holds at the end, also when
    this process is killed. Raises :class:`Busy` when there is no room for it."""
    base = parent or Path(tempfile.gettempdir())
    held: int | None = None
    place: Path | None = None
    remover: subprocess.Popen[bytes] | None = None
    try:
        try:
            place, held = _new(base)
            remover = subprocess.Popen(  # noqa: S603 - a shell's own words, and a folder of ours
                ["/bin/sh", "-c", _REMOVER, "sh", str(place)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PATH": "/usr/bin:/bin"},
                cwd="/",
                start_new_session=True,
            )
            work = place / "work"
            work.mkdir(mode=0o700)
            if os.geteuid() == 0:
                os.chown(work, _NOBODY, _NOBODY)
                place.chmod(0o711)
        except OSError as error:
            raise Busy(f"no folder to work in: {error.strerror}") from None
        yield Folder(place)
    finally:
        if remover is not None and remover.stdin is not None:
            remover.stdin.close()
            try:
                remover.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                log.warning("a folder of a media tool cannot be removed yet")
        elif place is not None:
            place.rmdir()
        if held is not None:
            os.close(held)


def sweep(parent: Path | None = None) -> int:
    """Remove folders under ``parent`` that nobody holds any more; how many. For the start of a worker: what a power cut left."""
    removed = 0
    for place in (parent or Path(tempfile.gettempdir())).glob(f"{_PREFIX}*"):
        try:
            held = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if os.fstat(held).st_uid != os.geteuid():
                continue
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Not in Python: a tool may have left folders in folders, deeper than functions go.
            for command in (["/bin/chmod", "-R", "u+rwX", "--"], ["/bin/rm", "-rf", "--"]):
                subprocess.run([*command, str(place)], check=True, capture_output=True)  # noqa: S603
            removed += 1
        except (OSError, subprocess.CalledProcessError):
            continue
        finally:
            os.close(held)
    return removed


def _new(base: Path) -> tuple[Path, int]:
    """A folder and the lock that says it is in use. A sweep that came between its making and its lock has taken it away."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        try:
            held = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(held), place.stat()):
                return place, held
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(held)


def _others_read(path: Path) -> bool:
    path = path.resolve()
    return bool(path.stat().st_mode & stat.S_IROTH) and all(
        parent.stat().st_mode & stat.S_IXOTH for parent in path.parents
    )
