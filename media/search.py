"""Byte-wise search of the storage: names of objects, what is written beside them, and what is in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from media.storage import NotStored, storage
from whatsapp.infra.needles import Label, Needles


def search(needles: Needles[Label], *, contents: bool = True) -> Iterator[tuple[str, Label]]:
    """(place, label) of what is found. ``contents``: read every object, too. The place is the object's folder and what of its
    name does not stand for a person. Raises :class:`media.storage.StorageUnavailable`."""
    here = storage()
    for entry in here.keys(""):
        found = needles.every(entry.key.encode())
        with contextlib.suppress(NotStored):
            found |= needles.every(repr(sorted(here.describe(entry.key).metadata.items())).encode())
        if contents:
            with contextlib.suppress(NotStored):
                found |= needles.every_in(here.stream(entry.key))
        for label in found:
            yield f"object {_shown(entry.key, needles)}", label


def _shown(key: str, needles: Needles[Label]) -> str:
    folder = key.split("/")[0]
    return f"{folder}/…" if needles.every(key.encode()) else key
