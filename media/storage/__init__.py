"""Where the bytes of media are: a folder of this machine, or a bucket (``whatsapp/settings/storage.py``).

>>> storage().put(key, data, "image/webp")
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import FileSystemStorage, storages

from media.storage.interface import (
    Entry,
    NotStored,
    OpenUpload,
    Part,
    Storage,
    StorageUnavailable,
    Stored,
    WrongParts,
)

__all__ = [
    "Entry", "NotStored", "OpenUpload", "Part", "Storage", "StorageUnavailable", "Stored", "WrongParts", "storage",
]  # fmt: skip

_lock = threading.Lock()
_made: tuple[Any, Storage] | None = None


def storage() -> Storage:
    """The storage of media: that of Django's ``STORAGES["default"]``. One object a process, for all its threads."""
    global _made
    backend = storages["default"]
    with _lock:
        if _made is None or _made[0] is not backend:
            _made = backend, make(backend)
        return _made[1]


def make(backend: Any) -> Storage:
    """A storage where ``backend`` keeps files: a ``FileSystemStorage`` or a ``storages.backends.s3.S3Storage``."""
    if isinstance(backend, FileSystemStorage):
        modes = {}
        if backend.file_permissions_mode is not None:
            modes["file_mode"] = backend.file_permissions_mode
        if backend.directory_permissions_mode is not None:
            modes["folder_mode"] = backend.directory_permissions_mode
        from media.storage.local import Local

        return Local(Path(backend.location), **modes)
    # Only with a bucket: boto3 takes a while to import.
    from media.storage.guard import Guard
    from media.storage.s3 import S3
    from media.storage.s3_client import Clients, Patience
    from whatsapp.infra.breaker import Policy

    ask_s = settings.S3_TIMEOUT_MS / 1000
    patience = Patience(ask_s, settings.S3_TRANSFER_TIMEOUT_MS / 1000, settings.S3_FINISH_TIMEOUT_MS / 1000)
    policy = Policy(settings.S3_BREAKER_FAILURES, settings.S3_BREAKER_OPEN_MS / 1000)
    return S3(
        backend,
        Clients(backend, patience, settings.S3_PUBLIC_URL),
        Guard(f"bucket {backend.bucket_name}", policy),
        checksum=settings.S3_CHECKSUM,
    )


def _forget() -> None:
    """After a fork: connections and locks are the parent's."""
    global _made, _lock
    _made, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
