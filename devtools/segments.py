"""Segments of PostgreSQL's log in a sealed vault: sealed when they are whole, opened when a restore asks for them.

``pg_receivewal`` writes beside the keys, where everything may lie in the clear: what is being received is put on disk with every
commit, and 16 MB cannot be sealed anew each time. When the next segment has begun, the one before it is sealed into the vault and
deleted here. It looks for the newest segment in its folder to know where to go on, and that one is left to it.

``python -m devtools.segments --vault DIR --keys KEYS --generation NAME --spool DIR FILE TO`` is a ``restore_command``: 0, the
file is there; 1, there is none; 200, and PostgreSQL gives up instead of taking it for the end: the file does not open.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import threading
from pathlib import Path

from devtools import sealed
from devtools.errors import DevError
from devtools.keyring import Keyring

SUFFIX = ".sealed"
SIZE = 16 << 20  # bytes of a segment, as initdb has it
POLL_EVERY_S = 0.2
#: How many are opened for a call: starting Python costs more than opening one.
AHEAD = 16
#: Above 125 PostgreSQL ends its recovery.
GIVE_UP = 200
_WHOLE = re.compile(r"[0-9A-F]{24}")
#: Before the name of a segment that is sealed and being overwritten.
_OVER = ".over-"
_SEGMENT = re.compile(r"([0-9A-F]{24})(\.partial)?")


def sealed_name(generation: str, segment: str) -> str:
    """What a segment is bound to."""
    return f"{generation}/wal/{segment}"


#: What stands before the reason in the server's log.
UNOPENED = "the log ends here: "


class Segments:
    """Seals what was received for a generation, ``wal``: its folder in the vault."""

    def __init__(self, ring: Keyring, generation: str, wal: Path) -> None:
        self._ring, self._generation, self._wal = ring, generation, wal
        self.receiving = ring.receiving(generation)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self.run, daemon=True)
        #: Why what is whole was not sealed when it last looked; "": it was.
        self.trouble = ""

    def poll(self) -> int:
        """Seal what is whole and not the newest; how many. Raises :class:`DevError`, ``OSError``."""
        if not self._wal.is_dir():  # nor is it made: its disk may be away
            raise FileNotFoundError(f"{self._wal} is not there")
        for segment in self.receiving.glob(f"{_OVER}*"):
            sealed.shred(segment)
        found = sorted(
            (match for entry in self.receiving.iterdir() if (match := _SEGMENT.fullmatch(entry.name))),
            key=lambda match: (match[1][8:], match[1][:8], not match[2]),
        )
        number = 0
        for match in found[:-1]:
            if match[2]:
                continue  # the rest of it came on another timeline, or its process died: restoring finds it here
            segment = self.receiving / match[0]
            key = self._ring.current(self._generation).key
            with segment.open("rb") as source:
                sealed.seal(
                    source, self._wal / f"{match[0]}{SUFFIX}", key, sealed_name(self._generation, match[0])
                )
            # Under another name: who dies while it is overwritten must not seal what is left of it.
            sealed.shred(segment.rename(self.receiving / f"{_OVER}{match[0]}"))
            number += 1
        return number

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join(60)

    @property
    def failed(self) -> bool:
        return not self._thread.is_alive()

    def run(self) -> None:
        for draft in self._wal.glob(f".*{SUFFIX}.*"):
            draft.unlink(missing_ok=True)  # of one that was killed; nobody else seals here
        while True:
            ending = self._ending.is_set()
            try:
                self.poll()
                self.trouble = ""
            except (DevError, OSError) as error:
                if str(error) != self.trouble:
                    print(f"segments are sealed later: {error}", flush=True)
                self.trouble = str(error)
            if ending:
                return
            self._ending.wait(POLL_EVERY_S)


class Log:
    """The log of a generation, wherever its segments are: sealed, in the clear from before there were keys, or being received."""

    def __init__(self, generation: Path, ring: Keyring | None) -> None:
        self._generation, self._wal = generation, generation / "wal"
        self._ring = ring
        self._plain = [self._wal, *([ring.receiving(generation.name)] if ring else [])]

    def sealed(self) -> list[Path]:
        return sorted(self._wal.glob(f"[!.]*{SUFFIX}"))

    def names(self) -> set[str]:
        """Of all segments that can be had, whole or not."""
        found: set[str] = set()
        for folder in self._plain:
            if folder.is_dir():
                found |= {entry.name.removesuffix(".partial") for entry in folder.iterdir()}
        found |= {
            path.name.removesuffix(SUFFIX) for path in self.sealed()
        }  # then those that were sealed meanwhile
        return {name for name in found if _WHOLE.fullmatch(name)}

    def fetch(self, name: str, target: Path) -> bool:
        """Whether there is such a file; then ``target`` is it. Raises :class:`DevError` when it does not open.

        One that was begun, zeros alone and not its size yet, is none: the log ends before it, and PostgreSQL would refuse it. It
        gets, and refuses, one that something else has cut.
        """
        path = self._wal / f"{name}{SUFFIX}"
        if self._ring and path.exists():
            with sealed.Draft(target, durable=False) as draft:
                sealed.unseal(path, draft.file, self._ring, sealed_name(self._generation.name, name))
                draft.keep()
            return True
        for candidate in (
            name,
            f"{name}.partial",
        ):  # the newest segment is still being written when the server goes
            for folder in reversed(self._plain):
                path = folder / candidate
                if path.is_file() and (candidate == name or not _is_only_begun(path)):
                    shutil.copyfile(path, target)
                    return True
        return False

    def fetch_all(self, target: Path) -> None:
        """Every file into a folder, for a server that cannot come here."""
        target.mkdir(mode=0o700)
        history = {
            entry.name for folder in self._plain if folder.is_dir() for entry in folder.glob("*.history")
        }
        for name in sorted(self.names() | history):
            self.fetch(name, target / name)

    def gap(self, first: str) -> str:
        """The first segment that is missing between ``first`` and the newest one; "": none."""
        if not _WHOLE.fullmatch(first):
            return ""
        numbers = {number_of(name) for name in self.names()}
        for number in range(number_of(first), max(numbers, default=0)):
            if number not in numbers:
                return name_of(first[:8], number)
        return ""


def _is_only_begun(path: Path) -> bool:
    return path.stat().st_size != SIZE and not any(path.read_bytes())


def number_of(segment: str) -> int:
    """Its place in the log, the same on each timeline."""
    return int(segment[8:16], 16) * 256 + int(segment[16:], 16)


def name_of(timeline: str, number: int) -> str:
    return f"{timeline}{number >> 8:08X}{number & 255:08X}"


def _restore(log: Log, spool: Path, name: str, target: Path) -> int:
    try:
        if not log.fetch(name, target):
            return 1
    except DevError as error:
        print(f"{UNOPENED}{error}", file=sys.stderr, flush=True)
        return GIVE_UP
    if not _WHOLE.fullmatch(name):
        return 0
    for number in range(number_of(name) + 1, number_of(name) + 1 + AHEAD):
        following = name_of(name[:8], number)
        try:
            if not (spool / following).exists() and not log.fetch(following, spool / following):
                break
        except DevError:
            break  # it is said when it is asked for
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="devtools.segments")
    parser.add_argument("--vault", type=Path, required=True)
    parser.add_argument("--keys", type=Path, required=True)
    parser.add_argument("--generation", required=True)
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("file")
    parser.add_argument("to", type=Path)
    args = parser.parse_args()
    try:
        log = Log(args.vault / args.generation, Keyring.open(args.keys))
        return _restore(log, args.spool, args.file, Path(os.path.abspath(args.to)))
    except (DevError, OSError) as error:
        print(f"{UNOPENED}{error}", file=sys.stderr, flush=True)
        return GIVE_UP


if __name__ == "__main__":
    sys.exit(main())
