"""What keeps a node of Cassandra in a vault: its commit log, copied as it is written, and now and then its tables.

The archiver of a system does it for its own nodes; on machines of their own ``python -m devtools.node_archive keep NODE DIR``
does, until SIGTERM, and ``restore DIR NODE [--until TIME]`` makes the node's folders again; with ``--keys KEYS`` or without.

::

    <generation>/nodes/<node>/log/CommitLog-….log    up to where it was synced; only ever appended to
    <generation>/nodes/<node>/timeline               time, segment, bytes: what was there when; "whole": of one that has ended
    <generation>/nodes/<node>/base/<time>/data       its tables, hard links where nothing has changed since the one before
    <generation>/nodes/ports/…                       where it was

A commit log is a row of segments; a segment is a row of sections, each with a mark of where the next begins, which is written
when the section is on disk. So what is between two marks never changes, and a copy up to a mark is whole. Cassandra deletes a
segment when its tables have what was in it; a link of ours keeps it until it is copied.

With keys the copies are sealed (:mod:`devtools.node_keys`, :mod:`devtools.node_log`); names of tables, sizes and times are not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import struct
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from devtools import record, sealed, snapshots
from devtools.errors import DevError
from devtools.keyring import Keyring
from devtools.node_keys import LIST, SUFFIX, NodeKeys
from devtools.node_log import NodeLog, Segment, named

_HEADER = struct.Struct(">iqH")  # version, id, length of the parameters, which a checksum follows
_MARK = struct.Struct(">ii")
#: How exactly a point in time can be had.
MARK_EVERY_S = 1.0
POLL_EVERY_S = 0.2
LOOK_AFTER_S = 30.0
BASE_EVERY_S = 6 * 3_600.0
KEEP = 7


class Base(NamedTuple):
    folder: Path
    ended_at: float  # seconds since the epoch: it can be restored to this and to any later time
    first: int  # the segment from which on the log belongs to it
    sealed: bool


class Archive:
    """The part of a vault that is about one node. ``ring``: what is added to it is sealed, by keys that it has under ``name``."""

    def __init__(self, root: Path, ring: Keyring | None = None, name: str = "") -> None:
        self.root = root
        self.keys = NodeKeys(ring.node(name), name) if ring else None
        self.log = NodeLog(root / "log", self.keys)
        #: There while somebody wants tables to be kept now.
        self.wanted = root / "wanted"

    def bases(self) -> list[Base]:
        """Oldest first."""
        found = []
        for about in self.root.glob("base/[!.]*/about.json"):
            known = record.read_json(about)
            found.append(
                Base(
                    about.parent,
                    float(known["endedAt"]),
                    int(known["firstSegment"]),
                    bool(known.get("sealed")),
                )
            )
        return sorted(found, key=lambda base: base.ended_at)

    def marks(self, until: float | None) -> list[tuple[int, int]]:
        """The newest segment, and how much of it was there, at one time after the other."""
        found = []
        for at, segment, size, *whole in self._timeline():
            if until is not None and float(at) > until:
                break
            if not whole:
                found.append((int(segment), int(size)))
        return found

    def _timeline(self) -> list[list[str]]:
        timeline = self.root / "timeline"
        return [line.split() for line in timeline.read_text().splitlines()] if timeline.exists() else []

    def whole(self) -> dict[int, int]:
        """Sizes of segments that have ended."""
        return {int(segment): int(size) for _, segment, size, *whole in self._timeline() if whole}

    def choose(self, until: float | None) -> Base:
        """The newest tables, or the newest from before ``until``. Raises :class:`DevError`."""
        fitting = [base for base in self.bases() if until is None or base.ended_at <= until]
        if not fitting:
            raise DevError(f"there are no tables in {self.root} that are old enough")
        return fitting[-1]

    def check(self, until: float | None = None) -> None:
        """Whether every key that it takes is there. Raises :class:`DevError`; nothing is touched."""
        base = self.choose(until)
        needed = [base.folder / LIST] if base.sealed else []
        behind = self._behind(base, until)
        for number, _ in self.marks(until):
            if 0 < base.first <= number and number not in behind:
                raise DevError(f"segment {number} of the log is missing in {self.log.folder}")
        needed += [part for one in behind.values() for part in one.parts.values()]
        if needed and self.keys is None:
            raise DevError(f"{needed[0]} is sealed; say where its key is: --backup-keys KEYS")
        if self.keys:
            if base.sealed:
                needed += self.keys.read_list(base.folder)
            self.keys.there(needed)

    def _behind(self, base: Base, until: float | None) -> dict[int, Segment]:
        marks = self.marks(until) if until is not None else []
        last = marks[-1][0] if marks else 0 if until is not None else 1 << 62
        return {number: one for number, one in self.log.segments().items() if base.first <= number <= last}

    def restore(self, node: Path, until: float | None = None) -> Base:
        """Make the folders of a node that has no data. It reads the log when it starts. Raises :class:`DevError`."""
        base = self.choose(until)
        if (node / "data").exists() and any((node / "data").iterdir()):
            raise DevError(f"{node} has data; restore into an empty folder")
        self.check(until)
        shutil.rmtree(node, ignore_errors=True)
        try:
            self._restore(base, node, until)
        except BaseException:
            shutil.rmtree(node, ignore_errors=True)  # half a node is none
            raise
        return base

    def _restore(self, base: Base, node: Path, until: float | None) -> None:
        if self.keys and base.sealed:
            self.keys.restore(base.folder, node)
        else:
            shutil.copytree(base.folder / "data", node / "data")
        (node / "commitlog").mkdir(parents=True, mode=0o700)
        segments = self._behind(base, until)
        marks = self.marks(until) if until is not None else [(max(segments, default=0), -1)]
        marked, size = marks[-1] if marks else (0, 0)
        whole = self.whole()
        for number, segment in segments.items():
            target = node / "commitlog" / segment.name
            if number == marked:
                self.log.restore(segment, target, size)
            else:
                self.log.restore(segment, target, at_least=whole.get(number, 0))

    def end(self, bases: Sequence[Base]) -> None:
        """These tables, and the log that only they need: first the keys, then the files."""
        left = [base for base in self.bases() if base not in bases]
        first = left[0].first if left else 1 << 62
        gone = [one for number, one in self.log.segments().items() if number < first]
        if self.keys:
            kept = [path for base in left for path in base.folder.rglob(f"*{SUFFIX}")]
            kept += [
                part for one in self.log.segments().values() if one not in gone for part in one.parts.values()
            ]
            self.keys.keep_only(kept)
        for base in bases:
            shutil.rmtree(base.folder)
        for segment in gone:
            for path in self.log.folder.glob(f"{segment.name}*"):
                path.unlink()


class Keeper:
    """Keeps the archive of a node that runs in ``node``."""

    def __init__(self, node: Path, archive: Archive) -> None:
        self.node, self.archive = node, archive
        self._links = node / "commitlog-kept"
        for folder in (archive.log.folder, archive.root / "base", self._links):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._known = {number: segment.size for number, segment in archive.log.segments().items()}
        self._last = max(self._known, default=0)
        self._marked_at = 0.0
        self.missed = False  # something may not be in the log: tables have to be kept anew

    def poll(self, now: float | None = None) -> int:
        """Copy what has been synced since. Returns how many bytes."""
        for number, path in named(self.node / "commitlog").items():
            if number > self._last:
                # Numbers follow one another, but for a start of the node, whose own look at its log we have not seen.
                self.missed = self.missed or (self._last > 0 and number != self._last + 1)
                self._last = number
            if number not in self._known or not (self._links / path.name).exists():
                self._link(path)
        copied = 0
        for number, link in named(self._links).items():
            gone = not (self.node / "commitlog" / link.name).exists()
            copied += self._copy(number, link)
            if gone:
                size = self._known.get(number, 0)
                self.archive.log.end(number, link.name, size)
                self._note(f"{time.time():.6f} {number} {size} whole")
                link.unlink()
        if now is not None or (copied and time.time() - self._marked_at >= MARK_EVERY_S):
            self._marked_at = now or time.time()
            newest = max(self._known, default=0)
            self._note(f"{self._marked_at:.6f} {newest} {self._known.get(newest, 0)}")
        return copied

    def _note(self, line: str) -> None:
        with (self.archive.root / "timeline").open("a") as file:
            file.write(f"{line}\n")

    def _link(self, segment: Path) -> None:
        try:
            os.link(segment, self._links / segment.name)
        except FileNotFoundError:
            self.missed = True
        except FileExistsError:
            pass

    def _copy(self, number: int, segment: Path) -> int:
        known = self._known.get(number, 0)
        with segment.open("rb") as source:
            end = _synced(source.fileno(), known)
        if end <= known:
            return 0
        self.archive.log.append(number, segment, known, end)
        self._known[number] = end
        return end - known

    def take(self) -> Base:
        """Keep the tables as they are. Raises :class:`DevError` while they change all the time."""
        self.missed = False
        self.poll()
        first = min(named(self._links), default=0)
        before = self.archive.bases()
        folder = self.archive.root / "base"
        draft = folder / f".new-{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        keys = self.archive.keys
        snapshots.take_tables(
            self.node, draft, before[-1].folder if before else None, keys.keep if keys else None
        )
        # What came to the tables meanwhile is in the log of these moments.
        self.poll(time.time())
        ended = time.time()
        target = folder / datetime.fromtimestamp(ended, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        if keys:
            keys.write_list(draft, target.name)
            sealed.sync_disk(draft)
        record.write_json(
            draft / "about.json", {"endedAt": ended, "firstSegment": first, "sealed": bool(keys)}
        )
        draft.rename(target)
        return Base(target, ended, first, bool(keys))

    def look_after(self) -> Base | None:
        """New tables, if the last ones are old, something was missed, or somebody asks for them; the oldest ones go, with the log
        that only they need."""
        bases = self.archive.bases()
        asked = self.archive.wanted.exists()
        if bases and not self.missed and not asked and time.time() - bases[-1].ended_at < BASE_EVERY_S:
            return None
        self.archive.wanted.unlink(missing_ok=True)
        base = self.take()
        self.archive.end(self.archive.bases()[:-KEEP])
        there = self.archive.log.segments().keys()
        self._known = {number: size for number, size in self._known.items() if number in there}
        return base


class Nodes:
    """Keeps nodes, in a thread: tables that are copied hold up nothing else."""

    def __init__(self, keepers: Sequence[Keeper]) -> None:
        self._keepers = keepers
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self.run, daemon=True)

    def start(self) -> None:
        if self._keepers:
            self._thread.start()

    def stop(self) -> None:
        """With a last look: the nodes have ended before."""
        if self._keepers:
            self._ending.set()
            self._thread.join(60)

    @property
    def failed(self) -> bool:
        """Whether it has ended by itself: whoever supervises begins anew."""
        return bool(self._keepers) and not self._thread.is_alive()

    def end(self, *_: object) -> None:
        """A handler of signals, for who runs it without the thread."""
        self._ending.set()

    def run(self) -> None:
        told = ""
        tables_at = 0.0
        while True:
            ending = self._ending.is_set()
            try:
                for keeper in self._keepers:
                    keeper.poll(time.time() if ending else None)
                if not ending and time.monotonic() - tables_at >= LOOK_AFTER_S:
                    for keeper in self._keepers:
                        base = keeper.look_after()
                        if base is not None:
                            print(f"tables {base.folder}", flush=True)
                    tables_at = time.monotonic()
                told = ""
            except (DevError, OSError) as error:
                if str(error) != told:
                    print(f"tried again later: {error}", flush=True)
                told = str(error)
            if ending:
                return
            self._ending.wait(POLL_EVERY_S)


def _synced(file: int, known: int) -> int:
    """Up to where a segment's sections are whole; ``known``: an earlier answer."""
    end = known
    if not end:
        head = os.pread(file, _HEADER.size, 0)
        if len(head) < _HEADER.size:
            return 0
        version, _, length = _HEADER.unpack(head)
        if not version:
            return 0  # it is being made
        end = _HEADER.size + length + 4
    while True:
        mark = os.pread(file, _MARK.size, end)
        if len(mark) < _MARK.size:
            return end
        following, _ = _MARK.unpack(mark)
        if following <= end:
            return end
        end = following


def main() -> int:
    parser = argparse.ArgumentParser(prog="devtools.node_archive")
    parser.add_argument("what", choices=["keep", "restore"])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--until", metavar="TIME", help="of restore: not what was written later")
    parser.add_argument(
        "--keys", type=Path, help="folder of the keys that the archive is sealed by, on another disk"
    )
    args = parser.parse_args()
    try:
        root = (args.target if args.what == "keep" else args.source).resolve()
        make = Keyring.make if args.what == "keep" else Keyring.open
        archive = Archive(root, make(args.keys) if args.keys else None, root.name)
        if args.what == "keep":
            nodes = Nodes([Keeper(args.source.resolve(), archive)])
            signal.signal(signal.SIGTERM, nodes.end)
            nodes.run()
        else:
            until = parse_time(args.until) if args.until else None
            base = archive.restore(args.target.resolve(), until)
            print(f"tables of {base.folder.name}; its log is read when the node starts")
    except DevError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def parse_time(text: str) -> float:
    """``2026-11-26T08:30:00Z``, or with another offset; without one it is UTC. Raises :class:`DevError`."""
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise DevError(f"{text!r} is no time such as 2026-11-26T08:30:00Z") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


if __name__ == "__main__":
    sys.exit(main())
