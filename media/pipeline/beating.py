"""Says for a worker that it is still there, while it waits for a tool or a server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections

from media.models import Media
from media.services import work

log = logging.getLogger(__name__)


class Beating:
    """``check`` raises :class:`work.Lost` once another worker has the media."""

    def __init__(self) -> None:
        self.lost = threading.Event()
        self.ended = threading.Event()

    def check(self) -> None:
        if self.lost.is_set():
            raise work.Lost


@contextmanager
def beating(media: Media) -> Iterator[Beating]:
    """A thread that keeps the lease. When the database is away for longer than a lease, another worker may begin: then both work
    for a while, and one of them changes something."""
    state = Beating()

    def run() -> None:
        try:
            while not state.ended.wait(work.BEAT_MS / 1000):
                try:
                    work.beat(media)
                except work.Lost:
                    state.lost.set()
                    return
                except Exception as error:
                    log.warning("a lease could not be kept: %s", type(error).__name__)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, name="media-beat", daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.ended.set()
        thread.join()
