"""The one clock. Everything that needs the time takes it from here or as an argument, so that tests can move it.

In a test build (``WHATSAPP_TEST_BUILD=1``, never in production) the file ``clock_offset`` in the data folder moves the
clock of every process of a stack: it holds milliseconds to add, as text.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from whatsapp.infra.build import TEST_BUILD, data_folder


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _moved_ms() -> int:
    try:
        return _wall_ms() + int(_OFFSET_FILE.read_text())
    except (OSError, ValueError):
        return _wall_ms()


_OFFSET_FILE = Path(data_folder()) / "clock_offset" if TEST_BUILD else Path(os.devnull)

now_ms = _moved_ms if TEST_BUILD else _wall_ms
"""Milliseconds since the epoch, as an int."""
