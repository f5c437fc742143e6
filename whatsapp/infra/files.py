"""Files by name, in Django's default storage: a folder of this machine or a bucket (``whatsapp/settings/storage.py``).

Names are the caller's, say what is in the file, and are never used for something else: so a file is whole or absent, may be
deleted twice, and needs no lock. All of it blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from whatsapp.infra import metrics

log = logging.getLogger(__name__)


class FilesUnavailable(Exception):
    """The storage does not answer, or refuses."""


def save(name: str, data: bytes) -> None:
    """Raises :class:`FilesUnavailable`; then the file may be there or not."""
    with _typed("save"):
        stored = default_storage.save(name, ContentFile(data))
        if stored != name:
            raise FileExistsError(name)


def read(name: str) -> bytes:
    """Raises ``FileNotFoundError``, :class:`FilesUnavailable`."""
    with _typed("read"), default_storage.open(name) as file:
        data: bytes = file.read()
        return data


def delete(name: str) -> None:
    """Of what is not there nothing is said. Raises :class:`FilesUnavailable`."""
    with _typed("delete"):
        default_storage.delete(name)


@contextmanager
def _typed(what: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # each storage has its own
        log.warning("a file could not be handled (%s): %s", what, type(error).__name__)
        metrics.count("files", f"{what}_failed")
        raise FilesUnavailable(type(error).__name__) from error
