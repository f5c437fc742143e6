"""The one clock. Everything that needs the time takes it from here or as an argument, so that tests can move it.

In a test build (``WHATSAPP_TEST_BUILD=1``, never in production) the file ``clock_offset`` in the data folder moves the
clock of every process of a stack, and ``clock_offset-<name>`` that of the one with this name (WHATSAPP_PROCESS): they hold
milliseconds to add, as text.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from whatsapp.infra.build import TEST_BUILD, data_folder


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _moved_ms() -> int:
    return _wall_ms() + sum(map(_offset, _OFFSET_FILES))


def _offset(file: Path) -> int:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0


_OFFSET_FILES = [
    Path(data_folder()) / name
    for name in ("clock_offset", f"clock_offset-{os.environ.get('WHATSAPP_PROCESS', '')}")
]

now_ms = _moved_ms if TEST_BUILD else _wall_ms
"""Milliseconds since the epoch, as an int."""
