"""What the storage and the table have of an upload, for tests of tus in this process."""

from __future__ import annotations

import random

from media.models import Media
from media.storage import Storage

MIB = 2**20


def stored(path: str, folder: Storage) -> bytes:
    """What the storage has of a whole upload."""
    return folder.read(f"incoming/{path.rpartition('/')[2]}")


def state(path: str) -> str:
    return Media.objects.get(pk=path.rpartition("/")[2]).state


def some_bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)
