"""What the disk itself takes to make a small write durable: the floor under every ✓."""

from __future__ import annotations

import os
import time
from pathlib import Path

BLOCK = bytes(range(256)) * 32  # 8 KiB, as PostgreSQL's WAL writes it


def fdatasync_ms(folder: Path, count: int = 300) -> list[float]:
    """Milliseconds of ``count`` times: overwrite the next 8 KiB of a file that has its full size, then fdatasync."""
    file = folder / "fsync.tmp"
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        size = len(BLOCK) * count
        os.posix_fallocate(handle, 0, size)
        os.pwrite(handle, bytes(size), 0)  # as a WAL segment is: its blocks exist
        os.fsync(handle)
        taken = []
        for number in range(count):
            start = time.perf_counter()
            os.pwrite(handle, BLOCK, number * len(BLOCK))
            os.fdatasync(handle)
            taken.append((time.perf_counter() - start) * 1000)
        return taken
    finally:
        os.close(handle)
        file.unlink()


def filesystem(folder: Path) -> str:
    """``/dev/vda ext4``: what holds the folder."""
    best = ("", "?")
    for line in Path("/proc/mounts").read_text().splitlines():
        device, mount, kind = line.split()[:3]
        if folder.is_relative_to(mount) and len(mount) >= len(best[0]):
            best = (mount, f"{device} {kind}")
    return best[1]
