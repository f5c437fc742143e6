"""Byte-wise search of the storage: names of objects, what is written beside them, and what is in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from media.storage import NotStored, storage
from whatsapp.infra.needles import Needles


def search(needles: Needles, *, contents: bool = True) -> Iterator[tuple[str, str]]:
    """(place, kind) of what is found. ``contents``: read every object, too. The place is the object's folder and what of its name
    does not stand for a person. Raises :class:`media.storage.StorageUnavailable`."""
    here = storage()
    for entry in here.keys(""):
        kind = needles.find(entry.key.encode())
        if not kind:
            with contextlib.suppress(NotStored):
                kind = needles.find(repr(sorted(here.describe(entry.key).metadata.items())).encode())
        if not kind and contents:
            with contextlib.suppress(NotStored):
                kind = needles.find_in(here.stream(entry.key))
        if kind:
            yield f"object {_shown(entry.key, needles)}", kind


def _shown(key: str, needles: Needles) -> str:
    folder = key.split("/")[0]
    return f"{folder}/…" if needles.find(key.encode()) else key
