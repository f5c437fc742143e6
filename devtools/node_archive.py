"""What keeps a node of Cassandra in a vault: its commit log, copied as it is written, and now and then its tables.

The archiver of a system does it for its own nodes; on machines of their own ``python -m devtools.node_archive keep NODE DIR``
does, until SIGTERM, and ``restore DIR NODE [--until TIME]`` makes the node's folders again.

::

    <generation>/nodes/<node>/log/CommitLog-….log    up to where it was synced; only ever appended to
    <generation>/nodes/<node>/timeline               time, segment, bytes: what was there when
    <generation>/nodes/<node>/base/<time>/data       its tables, hard links where nothing has changed since the one before
    <generation>/nodes/ports/…                       where it was

A commit log is a row of segments; a segment is a row of sections, each with a mark of where the next begins, which is written
when the section is on disk. So what is between two marks never changes, and a copy up to a mark is whole. Cassandra deletes a
segment when its tables have what was in it; a link of ours keeps it until it is copied.
"""

from __future__ import annotations

import argparse
import os
import re
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

from devtools import record, snapshots
from devtools.errors import DevError

_HEADER = struct.Struct(">iqH")  # version, id, length of the parameters, which a checksum follows
_MARK = struct.Struct(">ii")
_NAME = re.compile(r"CommitLog-\d+-(\d+)\.log")
_CHUNK = 1 << 20
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


class Archive:
    """The part of a vault that is about one node."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "log"

    def bases(self) -> list[Base]:
        """Oldest first."""
        found = []
        for about in self.root.glob("base/*/about.json"):
            known = record.read_json(about)
            found.append(Base(about.parent, float(known["endedAt"]), int(known["firstSegment"])))
        return sorted(found, key=lambda base: base.ended_at)

    def segments(self) -> dict[int, Path]:
        """By number, ascending."""
        return _segments(self.log)

    def mark(self, until: float) -> tuple[int, int]:
        """The last segment that was there then, and how much of it."""
        last = (0, 0)
        for line in (self.root / "timeline").read_text().splitlines():
            at, segment, size = line.split()
            if float(at) > until:
                break
            last = int(segment), int(size)
        return last

    def restore(self, node: Path, until: float | None = None) -> Base:
        """Make the folders of a node that has no data. It reads the log when it starts. Raises :class:`DevError`."""
        fitting = [base for base in self.bases() if until is None or base.ended_at <= until]
        if not fitting:
            raise DevError(f"there are no tables in {self.root} that are old enough")
        base = fitting[-1]
        if (node / "data").exists() and any((node / "data").iterdir()):
            raise DevError(f"{node} has data; restore into an empty folder")
        shutil.rmtree(node, ignore_errors=True)
        shutil.copytree(base.folder / "data", node / "data")
        (node / "commitlog").mkdir(parents=True, mode=0o700)
        last, size = self.mark(until) if until is not None else (1 << 62, 0)
        for number, segment in self.segments().items():
            if base.first <= number <= last:
                target = node / "commitlog" / segment.name
                shutil.copy2(segment, target)
                if number == last:
                    os.truncate(target, min(size, target.stat().st_size))
        return base


class Keeper:
    """Keeps the archive of a node that runs in ``node``."""

    def __init__(self, node: Path, archive: Archive) -> None:
        self.node, self.archive = node, archive
        self._links = node / "commitlog-kept"
        for folder in (archive.log, archive.root / "base", self._links):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._known = {number: path.stat().st_size for number, path in archive.segments().items()}
        self._last = max(self._known, default=0)
        self._marked_at = 0.0
        self.missed = False  # something may not be in the log: tables have to be kept anew

    def poll(self, now: float | None = None) -> int:
        """Copy what has been synced since. Returns how many bytes."""
        for number, path in _segments(self.node / "commitlog").items():
            if number > self._last:
                # Numbers follow one another, but for a start of the node, whose own look at its log we have not seen.
                self.missed = self.missed or (self._last > 0 and number != self._last + 1)
                self._last = number
            if number not in self._known or not (self._links / path.name).exists():
                self._link(path)
        copied = 0
        for number, link in _segments(self._links).items():
            gone = not (self.node / "commitlog" / link.name).exists()
            copied += self._copy(number, link)
            if gone:
                link.unlink()
        if now is not None or (copied and time.time() - self._marked_at >= MARK_EVERY_S):
            self._marked_at = now or time.time()
            newest = max(self._known, default=0)
            with (self.archive.root / "timeline").open("a") as file:
                file.write(f"{self._marked_at:.6f} {newest} {self._known.get(newest, 0)}\n")
        return copied

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
            target = os.open(self.archive.log / segment.name, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                for start in range(known, end, _CHUNK):
                    os.pwrite(target, os.pread(source.fileno(), min(_CHUNK, end - start), start), start)
                os.fdatasync(target)
            finally:
                os.close(target)
        self._known[number] = end
        return end - known

    def take(self) -> Base:
        """Keep the tables as they are. Raises :class:`DevError` while they change all the time."""
        self.missed = False
        self.poll()
        first = min(_segments(self._links), default=0)
        before = self.archive.bases()
        folder = self.archive.root / "base"
        draft = folder / f".new-{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        snapshots.take_tables(self.node, draft, before[-1].folder if before else None)
        # What came to the tables meanwhile is in the log of these moments.
        self.poll(time.time())
        ended = time.time()
        record.write_json(draft / "about.json", {"endedAt": ended, "firstSegment": first})
        target = folder / datetime.fromtimestamp(ended, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        draft.rename(target)
        return Base(target, ended, first)

    def look_after(self) -> Base | None:
        """New tables, if the last ones are old or something was missed; the oldest ones go, with the log that only they need."""
        bases = self.archive.bases()
        if bases and not self.missed and time.time() - bases[-1].ended_at < BASE_EVERY_S:
            return None
        base = self.take()
        bases = self.archive.bases()
        for old in bases[:-KEEP]:
            shutil.rmtree(old.folder)
        for number, segment in self.archive.segments().items():
            if number < bases[-KEEP:][0].first:
                segment.unlink()
                self._known.pop(number, None)
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


def _segments(folder: Path) -> dict[int, Path]:
    found = {}
    for entry in folder.iterdir() if folder.is_dir() else ():
        match = _NAME.fullmatch(entry.name)
        if match:
            found[int(match[1])] = entry
    return dict(sorted(found.items()))


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
    args = parser.parse_args()
    try:
        if args.what == "keep":
            nodes = Nodes([Keeper(args.source.resolve(), Archive(args.target.resolve()))])
            signal.signal(signal.SIGTERM, nodes.end)
            nodes.run()
        else:
            until = parse_time(args.until) if args.until else None
            base = Archive(args.source.resolve()).restore(args.target.resolve(), until)
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
