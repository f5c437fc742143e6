"""Fault points and protections that tests switch off. In anything but a test build both are constants.

A test arms a point by creating ``faults/kill-<name>`` in the data folder of its stack: the next process that reaches the
point removes the file and dies by SIGKILL. ``faults/off-<name>`` takes a protection away while it exists, so that the twin
of a fault test can show that the protection is what holds.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from whatsapp.infra.build import TEST_BUILD, data_folder

_FOLDER = Path(data_folder()) / "faults"


def _point(name: str) -> None:
    try:
        (_FOLDER / f"kill-{name}").unlink()
    except OSError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _off(name: str) -> bool:
    return (_FOLDER / f"off-{name}").exists()


def _no_point(name: str) -> None:
    return None


def _never_off(name: str) -> bool:
    return False


point = _point if TEST_BUILD else _no_point
"""``point(name)``: die here if the point is armed."""

off = _off if TEST_BUILD else _never_off
"""``off(name) -> bool``: is this protection switched off?"""
