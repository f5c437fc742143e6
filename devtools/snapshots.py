"""Snapshots of a Cassandra node that runs, without JMX: ``python -m devtools.snapshots take NODE TO`` and ``restore FROM NODE``.

Its tables are files that are never changed, so a hard link keeps them; what is not in a table yet is in the commit log, which
is copied *first*: whatever is written to a table meanwhile is there twice, and Cassandra does not mind. A folder whose files
change while they are linked (a compaction has ended) is linked again, so that of each compaction either side is whole; logs
of unfinished ones come along, and the node tidies up after them when it starts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Protocol

from devtools.errors import DevError

_ATTEMPTS = 50


def take(node: Path, target: Path) -> int:
    """Everything that was acknowledged before is in it. Returns how many files were linked. Raises :class:`DevError`."""
    if not (node / "data").is_dir():
        raise DevError(f"{node} is no folder of a Cassandra node")
    draft = target.with_name(f".{target.name}-{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    _copy_log(node / "commitlog", draft / "commitlog")
    number = take_tables(node, draft)
    draft.rename(target)
    return number


class Keep(Protocol):
    """How a file of a table comes to ``target``. ``before``: where it may be, as it was; ``changes``: it is written to."""

    def __call__(
        self, source: Path, target: Path, before: Path | None, place: str, *, changes: bool
    ) -> None: ...


def take_tables(node: Path, target: Path, before: Path | None = None, keep: Keep | None = None) -> int:
    """The tables alone. ``before``: an earlier one in the same place; what has not changed since is linked from there."""
    number = 0
    for table in _tables(node / "data"):
        place = table.relative_to(node)
        number += _link(table, target, place, before, keep or _keep)
    return number


def _copy_log(source: Path, target: Path) -> None:
    """A segment that goes meanwhile has become tables, which are linked afterwards."""
    target.mkdir(parents=True, mode=0o700)
    for segment in sorted(source.glob("CommitLog-*")):
        try:
            shutil.copy2(segment, target / segment.name)
        except FileNotFoundError:
            continue


def _tables(data: Path) -> list[Path]:
    """Folders that hold files; tables of system keyspaces too, for they say what the others are."""
    return sorted(Path(folder) for folder, _, names in os.walk(data) if names)


def _link(source: Path, root: Path, place: Path, before: Path | None, keep: Keep) -> int:
    target = root / place
    for _ in range(_ATTEMPTS):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True, mode=0o700)
        try:
            names = _files(source)
            for name in names:
                keep(
                    source / name,
                    target / name,
                    before / place / name if before else None,
                    (place / name).as_posix(),
                    changes=".log" in name or "_txn_" in name,
                )
            if _files(source) == names:
                return len(names)
        except FileNotFoundError:
            continue  # begin this one anew
    raise DevError(f"{source} changes all the time; try again when less is written")


def _files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_file())


def _keep(source: Path, target: Path, before: Path | None, place: str, *, changes: bool) -> None:
    if changes:
        shutil.copy2(source, target)
        return
    if before is not None and before.exists() and _same(source.stat(), before.stat()):
        os.link(before, target)
        return
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another disk
        shutil.copy2(source, target)


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    """Files of tables have names and times of their own, and are never changed."""
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def restore(snapshot: Path, node: Path) -> None:
    """Into the folder of a node that has no data, at the address that it had. Raises :class:`DevError`."""
    if (node / "data").exists() and any((node / "data").iterdir()):
        raise DevError(f"{node} has data; restore into an empty folder")
    for part in ("data", "commitlog"):
        shutil.rmtree(node / part, ignore_errors=True)
        shutil.copytree(snapshot / part, node / part)


def main() -> int:
    parser = argparse.ArgumentParser(prog="devtools.snapshots")
    parser.add_argument("what", choices=["take", "restore"])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    try:
        if args.what == "take":
            print(f"{take(args.source.resolve(), args.target.resolve())} files")
        else:
            restore(args.source.resolve(), args.target.resolve())
    except DevError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
