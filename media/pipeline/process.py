"""The work on one upload, from its bytes to ``ready`` or ``refused``. It may be killed at any moment and begun again anywhere:
what it has stored is found, what it had not is made anew."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

from django.conf import settings

from media.models import Kind, Media, Rendition
from media.pipeline.beating import Beating, beating
from media.pipeline.keeping import digest_of, keep, keep_original
from media.scan import Kind as Found
from media.scan import ScannerUnavailable, scanner
from media.services import blocking, contents, work
from media.services.uploads import ORIGINAL
from media.storage import NotStored, StorageUnavailable, names, storage
from media.tools import documents, pictures, video, voice
from media.tools.folders import Folder, folder
from media.tools.kinds import Family, identify
from media.tools.kinds import Kind as FileKind
from media.tools.reasons import Busy, Late, Missing, Reason, Refused, Unfinished
from media.tools.renditions import Name
from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

log = logging.getLogger(__name__)

_FAMILIES: Final = {
    Family.PICTURE: Kind.IMAGE,
    Family.VIDEO: Kind.VIDEO,
    Family.AUDIO: Kind.AUDIO,
    Family.DOCUMENT: Kind.DOCUMENT,
}
_SCANNED: Final = 2**20


def work_folder() -> Path | None:
    """Where folders for tools are made; None: where temporary files are."""
    return Path(settings.MEDIA_FOLDER) if settings.MEDIA_FOLDER else None


def process(media_id: uuid.UUID) -> str:
    """Work on it if it waits for that. Returns the state that it has now, "" if somebody else works on it or nothing is to do."""
    media = work.claim(media_id)
    if media is None:
        return ""
    try:
        try:
            if media.attempts > work.MOST_ATTEMPTS:
                # Its workers have died of it, whatever it is.
                raise Refused(Reason.RESOURCES, "too many attempts")
            with beating(media) as state:
                _work(media, state)
        except Busy as busy:
            if now_ms() - (media.stored_at or 0) < LIMITS.media_busy_ms:
                raise
            _refused(media, Reason.RESOURCES)  # it is this file that needs more than there is
            log.warning("an upload that finds no room was given up: %s", busy)
        except Refused as refusal:
            log.info("an upload was refused: %s %s", refusal.reason, refusal.said[-200:])
            _refused(media, refusal.reason)
    except (Unfinished, ScannerUnavailable, StorageUnavailable) as error:
        what = f" {error}" if isinstance(error, Missing) else ""  # the program
        log.warning("an upload waits: %s%s", type(error).__name__, what)
        metrics.count("media", "waits")
        work.later(media, attempt=isinstance(error, Late))
        return media.state
    except work.Lost:
        return ""
    metrics.count("media", media.state)
    return media.state


def _refused(media: Media, reason: str) -> None:
    work.refuse(media, reason)
    if reason is Reason.BLOCKED:
        try:
            contents.drop(media)
        except StorageUnavailable:
            log.warning("files of blocked content stay for a while")
    elif reason not in work.TRIED_AGAIN:
        _drop_original(media)


def _work(media: Media, state: Beating) -> None:
    source = names.incoming(media.pk)
    if media.encrypted:
        _seal(media, source)
        return
    with folder(work_folder()) as place:
        path = place.path / "original"
        try:
            etag = storage().describe(source).etag
            storage().download(source, path)
        except NotStored:
            raise Refused(Reason.UNREADABLE, "nothing is stored") from None
        digest = _verified(media, digest_of(path))
        scanned = _scan(media, path)
        kind = identify(path, media.media_type)
        if _FAMILIES[kind.family] != media.kind:
            raise Refused(Reason.MISMATCH, kind.media_type)
        if kind.family is Family.DOCUMENT and not scanned:
            # It is passed on as it is; pictures, videos and sounds are made anew.
            raise Refused(Reason.RESOURCES, "too large to be scanned")
        _make(media, state, place, path, kind, digest, etag)
    state.check()
    with blocking.passing(digest):
        work.ready(media, media_type=kind.media_type, sha256=digest)
    _drop_original(media)


def _seal(media: Media, source: str) -> None:
    """End-to-end encrypted: that what is stored is what was sent is all that can be seen of it."""
    try:
        etag = storage().describe(source).etag
        digest, size = storage().sha256(source)
    except NotStored:
        raise Refused(Reason.UNREADABLE, "nothing is stored") from None
    _verified(media, digest)
    keep_original(media, source, digest, "application/octet-stream", size, etag=etag)
    with blocking.passing(digest):
        work.ready(media, media_type=media.media_type, sha256=digest)
    _drop_original(media)


def _verified(media: Media, digest: str) -> str:
    if media.sha256 and media.sha256 != digest:
        raise Refused(Reason.MISMATCH, "other bytes than its sender told")
    media.sha256 = digest
    blocking.check(digest)
    return digest


def _scan(media: Media, path: Path) -> bool:
    """Whether all of it was looked into, or nobody is there to look (a development system). Raises ``ScannerUnavailable``; of a
    file that has waited for a day :class:`Refused`, if the scanner was there just before: then it is the file that ends it."""
    daemon = scanner()
    if daemon is None:
        return True
    waited = now_ms() - (media.stored_at or 0) >= LIMITS.media_busy_ms
    if waited:
        daemon.ping()
    try:
        with path.open("rb") as file:
            verdict = daemon.scan(iter(lambda: file.read(_SCANNED), b""))
    except ScannerUnavailable:
        if waited:
            raise Refused(Reason.RESOURCES, "the scanner comes to no verdict") from None
        raise
    if verdict.kind is Found.INFECTED:
        raise Refused(Reason.INFECTED, verdict.name)
    return verdict.clean


def _make(
    media: Media, state: Beating, place: Folder, path: Path, kind: FileKind, digest: str, etag: str
) -> None:
    """All that is made of a file of this kind. ``digest``, ``etag``: of what was looked into."""

    def progress(percent: int) -> None:
        state.check()
        if percent >= media.percent + 5:
            work.tell(media, percent)

    if kind.family is Family.PICTURE:
        made = pictures.renditions(place, path, kind)
    elif kind.family is Family.AUDIO:
        made = voice.renditions(place, path, kind, progress=progress)
    elif kind.family is Family.DOCUMENT:
        made = documents.preview(place, path, kind)
        keep_original(media, names.incoming(media.pk), digest, kind.media_type, media.size, etag=etag)
    else:
        made = []
        _video(media, state, place, path, kind)
    for rendition in made:
        keep(media, rendition)


def _video(media: Media, state: Beating, place: Folder, path: Path, kind: FileKind) -> None:
    """The picture first, so that it is seen while the rest is made; then each size, unless it is there."""
    facts = video.probe(place, path, kind)
    for still in video.stills(place, path, kind, facts):
        keep(media, still)
    sizes = video.sizes(facts)
    there = set(Rendition.objects.filter(media=media).values_list("name", flat=True))
    for done, size in enumerate(sizes):
        if size not in there:
            keep(
                media,
                video.transcode(place, path, kind, facts, size, progress=_part(media, state, done, sizes)),
            )


def _part(media: Media, state: Beating, done: int, sizes: list[Name]) -> Callable[[int], None]:
    def progress(percent: int) -> None:
        state.check()
        whole = (100 * done + percent) // len(sizes)
        if whole >= media.percent + 5:
            work.tell(media, min(whole, 99))

    return progress


def _drop_original(media: Media) -> None:
    """What was uploaded is not needed any more; a sweep finds what stays."""
    Rendition.objects.filter(media=media, name=ORIGINAL).delete()
    try:
        storage().delete([names.incoming(media.pk)])
    except StorageUnavailable:
        log.warning("an original stays for a day")
