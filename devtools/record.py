"""What a running system writes down about itself, and how the other commands find it."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

from devtools.paths import CHECKOUT_RECORD, DEFAULT_DATA, DataFolder
from devtools.processes import is_alive, start_ticks


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Replace ``file`` as a whole, readable by its owner only (URLs hold passwords)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}-{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump(content, out, indent=1)
    draft.replace(file)


def read_json(file: Path) -> dict[str, Any]:
    """The object in ``file``; empty if there is none or it is damaged."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def remember(data: DataFolder) -> None:
    """Note in the checkout that this data folder runs from it, beside others that do."""
    _note([str(data.root), *(root for root in _noted() if state(DataFolder(Path(root))))])


def forget(data: DataFolder) -> None:
    """Take the note back; what else runs stays noted."""
    if str(data.root) in (noted := _noted()):
        _note([root for root in noted if root != str(data.root)])


def _noted() -> list[str]:
    """The data folders that were started from this checkout, the last one first."""
    note = read_json(CHECKOUT_RECORD)
    return [str(root) for root in (note.get("data"), *note.get("others", [])) if root]


def _note(roots: list[str]) -> None:
    """``roots``: the last one that was started first."""
    unique = list(dict.fromkeys(roots))
    if unique:
        write_json(CHECKOUT_RECORD, {"data": unique[0], "others": unique[1:]})
    else:
        CHECKOUT_RECORD.unlink(missing_ok=True)


def find(explicit: str | None) -> DataFolder:
    """The data folder that a command is about: the one named, else the last that ``up`` started from here, else the default."""
    return DataFolder(Path(explicit or next(iter(_noted()), DEFAULT_DATA)))


def words(data: DataFolder) -> str:
    """What a command says to find a folder from which nothing runs: `` --data DIR``, or nothing for the default."""
    return "" if data.root == DEFAULT_DATA.resolve() else f" --data {shlex.quote(str(data.root))}"


def me() -> dict[str, int]:
    """This process, in a form that :func:`supervisor` can check later."""
    return {"pid": os.getpid(), "ticks": start_ticks(os.getpid()) or 0}


def state(data: DataFolder) -> dict[str, Any]:
    """What the supervisor of ``data`` last wrote; empty if there is none, or its process is gone (a stale record)."""
    found = read_json(data.state)
    return found if found and is_alive(found.get("pid", 0), found.get("ticks")) else {}
