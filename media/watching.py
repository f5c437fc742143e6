"""What a worker of media shows of what it cannot count itself: uploads that wait, room on disks, whether the scanner answers.

Asked for when figures are scraped, in the thread of that, and at most every :data:`EVERY_S`. Every worker says the same.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from typing import Final

from django.db import connections
from django.db.models import Count, Min, Q

from media.models import Media, State
from media.pipeline.process import work_folder
from media.scan import ScannerUnavailable, scanner
from media.storage import storage
from media.storage.local import Local
from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms

EVERY_S: Final = 15.0
#: A scrape waits no longer for the scanner.
_PATIENCE_S: Final = 2.0
_STATES: Final = (State.UPLOADING, State.STORED, State.PROCESSING)
#: Begun, and put off: a tool, the scanner or the storage was away. A long video is worked on for hours, and does not wait.
LATER: Final = "later"


def show() -> None:
    """As metrics of this process."""
    waiting = metrics.seldom(_waiting, EVERY_S)
    metrics.source(
        "whatsapp_media_waiting",
        "Uploads: bytes come (uploading), no worker yet (stored), one works (processing), put off as something is away (later).",
        lambda: {state: number for state, (number, _) in waiting().items()},
        ("state",),
    )
    metrics.source(
        "whatsapp_media_waiting_oldest_seconds",
        "Age of the oldest of them since it was begun (uploading) or had all its bytes; 0: there is none.",
        lambda: {state: age_s for state, (_, age_s) in waiting().items()},
        ("state",),
    )
    metrics.source(
        "whatsapp_media_disk_free_ratio",
        "Free part, 0 to 1, of the disks that files are kept on (storage, if that is a folder) and made anew on (work).",
        metrics.seldom(_free, EVERY_S),
        ("folder",),
    )
    metrics.source(
        "whatsapp_media_scanner_up",
        "1 while the scanner answers; nothing where there is none.",
        metrics.seldom(_scanner, EVERY_S),
        ("scanner",),
    )


def _waiting() -> dict[str, tuple[int, float]]:
    """State → how many, and seconds since the oldest of them came into it."""
    found = dict.fromkeys((*map(str, _STATES), LATER), (0, 0.0))
    try:
        rows = Media.objects.filter(state__in=_STATES).annotate(held=Q(worker__isnull=False))
        figures = rows.values_list("state", "held").annotate(Count("pk"), Min("created_at"), Min("stored_at"))
        for state, held, number, begun, stored in figures:
            since = begun if stored is None else stored
            name = LATER if state == State.PROCESSING and not held else state
            found[name] = number, max(0, now_ms() - since) / 1000
    finally:
        connections.close_all()  # of this thread, which ends with the scrape
    return found


def _free() -> dict[str, float]:
    here = storage()
    folders = {"work": work_folder() or tempfile.gettempdir()}
    if isinstance(here, Local):
        here.folder.mkdir(parents=True, exist_ok=True)
        folders["storage"] = here.folder
    found = {}
    for name, folder in folders.items():
        disk = shutil.disk_usage(folder)
        found[name] = disk.free / disk.total
    return found


def _scanner() -> dict[str, int]:
    daemon = scanner()
    if daemon is None:
        return {}
    try:
        replace(daemon, connect_s=_PATIENCE_S, wait_s=_PATIENCE_S, whole_s=_PATIENCE_S).ping()
    except ScannerUnavailable:
        return {"clamd": 0}
    return {"clamd": 1}
