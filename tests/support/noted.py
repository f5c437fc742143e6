"""The file of ``./dev faults --json``: several test processes add to it at the same time."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def note(change: Callable[[dict[str, Any]], None]) -> None:
    """Let ``change`` add to what stands in the file, alone; without a file nothing is noted."""
    name = os.environ.get("WHATSAPP_FAULTS_JSON")
    if not name:
        return
    with Path(name).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        known = json.loads(file.read() or "{}")
        change(known)
        file.truncate(0)
        file.write(json.dumps(known, indent=1))
