"""How long media are kept: rows of the table in ``whatsapp/infra/retention.py``. What a bucket deletes by itself is in
``media/storage/lifecycle.py``."""

from __future__ import annotations

from typing import Any, Final

from media.models import Hold, Media, Reference, State, Upload
from media.services.contents import carried_ms
from media.storage.lifecycle import POLICY as STORAGE
from whatsapp.infra import retention
from whatsapp.infra.retention import DAY_MS, Policy


def unused(now: int) -> Any:
    """Looked at again when the last message that carries it has expired; then it goes, or has a later date."""
    return Media.objects.filter(state__in=(State.READY, State.REFUSED), look_at__lte=now)


POLICIES: Final = (
    Policy(
        "media_uploads",
        "Uploads that came to no end, with their parts",
        ("media.Upload", "files.incoming"),
        "an upload that was cut goes on",
        "24 hours (LIMITS.media_upload_ms)",
        "media-sweep-uploads",
        lambda now: Upload.objects.filter(expires_at__lte=now),
    ),
    Policy(
        "media_files",
        "Files that were sent, what was made of them, and who uploaded them when",
        ("media.Media", "media.Rendition", "files.media"),
        "who was sent one fetches it",
        "24 hours if nobody was sent it (LIMITS.media_unused_ms), else a day longer than the last message that carries it",
        "media-drop-unused",
        unused,
    ),
    Policy(
        "media_references",
        "Which message carries which file",
        ("media.Reference",),
        "who was sent a file may fetch it",
        "31 days: a day longer than messages",
        "media-drop-unused",
        lambda now: Reference.objects.filter(created_at__lt=now - carried_ms()),
    ),
    Policy(
        "media_holds",
        "Which files moderators have yet to look at",
        ("media.Hold",),
        "a reported file outlives its messages until the case is decided",
        "while the case is open",
        "media-drop-unused",
        lambda now: Hold.objects.filter(case__state="closed", case__closed_at__lte=now),
    ),
    Policy(
        "media_storage",
        "Objects in the storage that no row names any more",
        ("files.storage",),
        "what a crash has left is found",
        f"{STORAGE.delete_after_ms // DAY_MS} days, parts of uploads one; by the bucket's own rules too",
        "media-sweep-storage",
    ),
)


def register() -> None:
    retention.register(POLICIES)
    retention.impersonal("hashes of content that staff do not let pass", "media.BlockedContent")
