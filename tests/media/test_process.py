"""What becomes of an upload: looked into, made anew, refused, or made to wait."""

from __future__ import annotations

import hashlib
import io
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections
from PIL import Image

from media.models import Media, Rendition, State
from media.pipeline import process as pipeline
from media.pipeline.process import process
from media.scan import Kind as Found
from media.scan import ScannerUnavailable, Verdict
from media.services import contents, work
from media.storage import Storage, StorageUnavailable
from media.tools.reasons import Busy, Late, Missing
from tests.media.conftest import Person, kept
from tests.media.test_form import file, upload
from tests.media.tools.test_documents import pdf
from whatsapp.infra import faults
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db


def photo(size: tuple[int, int] = (800, 600)) -> bytes:
    """With a place in it."""
    made = io.BytesIO()
    picture = Image.effect_noise(size, 60).convert("RGB")
    exif = Image.Exif()
    exif[0x010E] = "somewhere secret"
    picture.save(made, "JPEG", exif=exif)
    return made.getvalue()


def sent(
    ann: Person, chat: str, data: bytes, kind: str = "image", media_type: str = "image/jpeg", **fields: str
) -> uuid.UUID:
    answer = upload(ann, {"file": file(data, media_type), "fileType": kind, "conversationId": chat, **fields})
    assert answer.status_code == 200, answer.content
    return uuid.UUID(answer.json()["mediaId"])


def made(media: uuid.UUID) -> dict[str, Rendition]:
    return {each.name: each for each in Rendition.objects.filter(media=media)}


def test_a_photo_is_made_anew(ann: Person, chat: str, folder: Storage) -> None:
    data = photo()
    media = sent(ann, chat, data)
    assert process(media) == State.READY
    full, thumb = made(media)["full"], made(media)["thumb"]
    assert (full.media_type, full.width, full.height) == ("image/webp", 800, 600)
    assert (thumb.media_type, thumb.width, thumb.height) == ("image/jpeg", 150, 150)
    for each in (full, thumb):
        content = folder.read(each.key)
        assert hashlib.sha256(content).hexdigest() == each.sha256
        assert each.sha256 in each.key
        assert len(content) == each.size
        assert b"somewhere secret" not in content
        Image.open(io.BytesIO(content)).verify()
    assert sorted(kept(folder)) == sorted([full.key, thumb.key]), "the original is gone"
    body = ann.api.get(f"/media/{media}").json()
    assert (body["state"], body["percent"], body["mediaType"]) == ("ready", 100, "image/jpeg")
    assert body["sha256"] == hashlib.sha256(data).hexdigest()
    assert process(media) == "", "nothing is left to do"


@pytest.mark.parametrize(
    ("data", "state", "reason"), [(photo(), "ready", None), (b"none", "refused", "not_allowed")]
)
def test_its_owner_is_told(
    ann: Person,
    chat: str,
    told: Any,
    django_capture_on_commit_callbacks: Any,
    data: bytes,
    state: str,
    reason: str | None,
) -> None:
    read = told(ann.user_id)
    media = sent(ann, chat, data)
    with django_capture_on_commit_callbacks(execute=True):
        process(media)
    (notice,) = read()
    percent = 100 if state == "ready" else 0
    assert (notice["type"], notice["kind"]) == ("notice", "media")
    assert notice["data"] == {"mediaId": str(media), "state": state, "percent": percent, "reason": reason}


def test_what_is_encrypted_is_not_looked_into(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "identify", lambda *args: pytest.fail("it was looked into"))
    data = photo()
    media = sent(ann, chat, data, encrypted="true", sha256=hashlib.sha256(data).hexdigest())
    assert process(media) == State.READY
    assert list(made(media)) == ["full"]
    assert folder.read(made(media)["full"].key) == data
    assert kept(folder) == [made(media)["full"].key]


@pytest.mark.parametrize("encrypted", ["true", "false"])
def test_other_bytes_than_were_told(ann: Person, chat: str, folder: Storage, encrypted: str) -> None:
    media = sent(ann, chat, photo(), encrypted=encrypted, sha256=hashlib.sha256(b"other").hexdigest())
    assert process(media) == State.REFUSED
    body = ann.api.get(f"/media/{media}").json()
    assert (body["state"], body["reason"]) == ("refused", "mismatch")
    assert kept(folder) == []


@pytest.mark.parametrize(
    ("data", "kind", "media_type", "reason"),
    [
        (b"\x7fELF and so on", "document", "application/pdf", "not_allowed"),
        (photo()[:2000], "image", "image/jpeg", "unreadable"),
        (photo(), "document", "image/jpeg", "mismatch"),
        (photo(), "image", "image/png", "mismatch"),
        (b"<html><script>alert(1)</script></html>", "image", "image/jpeg", "not_allowed"),
    ],
)
def test_what_is_refused_leaves_nothing(
    ann: Person, chat: str, folder: Storage, data: bytes, kind: str, media_type: str, reason: str
) -> None:
    media = sent(ann, chat, data, kind, media_type)
    assert process(media) == State.REFUSED
    assert Media.objects.get(pk=media).reason == reason
    assert kept(folder) == []


def test_what_is_beside_an_object_tells_others_nothing(
    ann: Person, chat: str, folder: Storage, settings: Any
) -> None:
    """A bucket tells it to whoever fetches the object: somebody who was forwarded it, or has uploaded the same bytes."""
    media = sent(ann, chat, photo())
    assert process(media) == State.READY
    beside = {each.key: folder.describe(each.key).metadata for each in made(media).values()}
    assert len(beside) == 2
    for key, metadata in beside.items():
        assert ann.user_id not in str(metadata)
        assert chat not in str(metadata)
        assert contents.is_of(key, metadata["user-id"], ann.user_id)
        assert not contents.is_of(key, metadata["user-id"], str(uuid.uuid4()))
    assert len({metadata["user-id"] for metadata in beside.values()}) == 2, "nor that both are of one user"
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another"
    assert all(contents.is_of(key, found["user-id"], ann.user_id) for key, found in beside.items())


def test_the_same_content_is_stored_once(ann: Person, chat: str, folder: Storage) -> None:
    data = photo()
    one, other = sent(ann, chat, data), sent(ann, chat, data)
    assert (process(one), process(other)) == (State.READY, State.READY)
    assert {n: r.key for n, r in made(one).items()} == {n: r.key for n, r in made(other).items()}
    assert len(kept(folder)) == 2


def test_who_died_is_followed_by_another(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker is gone after its first file: the next one finds that, once the lease is over, and makes the rest."""
    media = sent(ann, chat, photo())
    real = pipeline.keep
    calls: list[str] = []

    class Killed(BaseException):
        pass

    def once(media: Media, made: Any) -> None:
        real(media, made)
        calls.append(made.name)
        if len(calls) == 1:
            raise Killed

    monkeypatch.setattr(pipeline, "keep", once)
    with pytest.raises(Killed):
        process(media)
    assert list(made(media)) == ["original", "full"]
    assert process(media) == "", "its lease still runs"
    assert work.due(60_000) == []
    Media.objects.filter(pk=media).update(leased_until=0)
    assert work.due(60_000) == [media]
    assert work.due(60_000) == [], "it is enqueued, and not again with each look"
    assert process(media) == State.READY
    assert sorted(made(media)) == ["full", "thumb"]
    assert len(kept(folder)) == 2


def test_a_file_that_kills_its_workers_is_refused(ann: Person, chat: str, folder: Storage) -> None:
    media = sent(ann, chat, photo())
    for _ in range(work.MOST_ATTEMPTS):
        assert work.claim(media) is not None
        Media.objects.filter(pk=media).update(leased_until=0)
    assert process(media) == State.REFUSED
    assert Media.objects.get(pk=media).reason == "resources"


def test_who_lost_the_lease_changes_nothing(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker stood still for longer than its lease, and another one is done."""
    media = sent(ann, chat, photo())
    real = pipeline.identify

    def slow(*args: Any) -> Any:
        monkeypatch.setattr(pipeline, "identify", real)
        Media.objects.filter(pk=media).update(leased_until=0)
        assert process(media) == State.READY
        return real(*args)

    monkeypatch.setattr(pipeline, "identify", slow)
    assert process(media) == ""
    assert Media.objects.get(pk=media).state == State.READY
    assert sorted(made(media)) == ["full", "thumb"]


def test_what_is_never_done_in_time_is_refused_at_last(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*args: Any) -> Any:
        raise Late

    monkeypatch.setattr(pipeline.pictures, "renditions", late)
    media = sent(ann, chat, photo())
    for _ in range(work.MOST_ATTEMPTS):
        assert process(media) == State.PROCESSING
        Media.objects.filter(pk=media).update(leased_until=0)
    assert process(media) == State.REFUSED


def test_a_file_for_whose_tools_there_is_never_room_is_refused_after_a_day(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tool that is killed for its memory each time looks like a machine that is busy."""

    def killed(*args: Any) -> Any:
        raise Busy("somebody killed the tool")

    monkeypatch.setattr(pipeline.pictures, "renditions", killed)
    media = sent(ann, chat, photo())
    for _ in range(work.MOST_ATTEMPTS + 1):
        assert process(media) == State.PROCESSING
        Media.objects.filter(pk=media).update(leased_until=0)
    Media.objects.filter(pk=media).update(stored_at=now_ms() - LIMITS.media_busy_ms)
    assert process(media) == State.REFUSED
    assert Media.objects.get(pk=media).reason == "resources"


def test_a_program_that_is_not_installed_is_named_in_the_log(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*args: Any) -> Any:
        raise Missing("nosuchtool")

    monkeypatch.setattr(pipeline.pictures, "renditions", missing)
    assert process(sent(ann, chat, photo())) == State.PROCESSING
    assert "an upload waits: Missing nosuchtool" in caplog.text


def test_who_waits_for_long_is_tried_less_often(ann: Person, chat: str, folder: Storage) -> None:
    media = sent(ann, chat, photo())
    for waited_ms, wait_ms in ((0, 15_000), (100_000, 25_000), (86_400_000, 600_000)):
        Media.objects.filter(pk=media).update(leased_until=0, stored_at=now_ms() - waited_ms)
        claimed = work.claim(media)
        assert claimed is not None
        work.later(claimed, attempt=False)
        known = Media.objects.get(pk=media)
        assert known.leased_until - now_ms() == pytest.approx(wait_ms, abs=5_000)
        assert known.attempts == 0


class Daemon:
    """A scanner with one answer."""

    def __init__(self, answer: Verdict | Exception) -> None:
        self.answer = answer

    def scan(self, pieces: Any) -> Verdict:
        assert b"".join(pieces)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_nothing_passes_unscanned(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer: Verdict | Exception = ScannerUnavailable("away")
    monkeypatch.setattr(pipeline, "scanner", lambda: Daemon(answer))
    media = sent(ann, chat, photo())
    for _ in range(work.MOST_ATTEMPTS + 2):
        assert process(media) == State.PROCESSING
        assert "full" not in made(media)
        Media.objects.filter(pk=media).update(leased_until=0)
    answer = Verdict(Found.CLEAN)
    assert process(media) == State.READY, "waiting is no attempt"


class Ending(Daemon):
    """A scanner that ends with a file, and is there again (or is not)."""

    def __init__(self, back: bool) -> None:
        super().__init__(ScannerUnavailable("it broke off"))
        self.back = back

    def ping(self) -> None:
        if not self.back:
            raise ScannerUnavailable("away")


def test_a_file_that_the_scanner_ends_with_is_refused_after_a_day(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the file's doing only if the scanner was there just before: files wait for one that is away."""
    daemon = Ending(back=True)
    monkeypatch.setattr(pipeline, "scanner", lambda: daemon)
    media = sent(ann, chat, photo())
    assert process(media) == State.PROCESSING, "somebody else may have ended it"
    Media.objects.filter(pk=media).update(leased_until=0, stored_at=now_ms() - LIMITS.media_busy_ms)
    daemon.back = False
    assert process(media) == State.PROCESSING
    Media.objects.filter(pk=media).update(leased_until=0)
    daemon.back = True
    assert process(media) == State.REFUSED
    assert Media.objects.get(pk=media).reason == "resources"
    assert work.retry(media), "its bytes are kept for a day"


class Replacing:
    """A scanner, while whose work others take the place of the bytes."""

    def __init__(self, replace: Callable[[], object]) -> None:
        self.replace = replace

    def scan(self, pieces: Any) -> Verdict:
        assert b"".join(pieces)
        self.replace()
        return Verdict(Found.CLEAN)


@pytest.mark.parametrize("protected", [True, False])
def test_only_what_was_looked_into_is_passed_on(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch, protected: bool
) -> None:
    """A request that has lost its upload stores other bytes while the first ones are scanned."""
    if not protected:
        monkeypatch.setattr(faults, "off", "same_bytes".__eq__)
    clean, other = pdf(), pdf("OTHER")
    media = sent(ann, chat, clean, "document", "application/pdf")
    replace = lambda: folder.put(f"incoming/{media}", other, "application/pdf")  # noqa: E731
    monkeypatch.setattr(pipeline, "scanner", lambda: Replacing(replace))
    state = process(media)
    if not protected:
        assert folder.read(made(media)["full"].key) == other, "under the name of the clean one"
        return
    assert (state, "full" in made(media)) == (State.PROCESSING, False)
    monkeypatch.setattr(pipeline, "scanner", lambda: Daemon(Verdict(Found.CLEAN)))
    Media.objects.filter(pk=media).update(leased_until=0)
    assert process(media) == State.READY, "looked into from the beginning"
    full = made(media)["full"]
    assert folder.sha256(full.key)[0] == full.sha256 == Media.objects.get(pk=media).sha256
    assert folder.read(full.key) == other


@pytest.mark.parametrize("protected", [True, False])
def test_what_is_encrypted_is_passed_on_as_it_was_hashed(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch, protected: bool
) -> None:
    if not protected:
        monkeypatch.setattr(faults, "off", "same_bytes".__eq__)
    media = sent(ann, chat, b"sealed", encrypted="true")
    check = pipeline.blocking.check

    def replaced(digest: str) -> None:
        check(digest)
        folder.put(f"incoming/{media}", b"others", "application/octet-stream")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.blocking, "check", replaced)
        state = process(media)
    if protected:
        assert (state, "full" in made(media)) == (State.PROCESSING, False)
    else:
        assert folder.read(made(media)["full"].key) == b"others"


def test_what_the_scanner_knows_is_refused(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "scanner", lambda: Daemon(Verdict(Found.INFECTED, "Eicar")))
    media = sent(ann, chat, photo())
    assert process(media) == State.REFUSED
    assert Media.objects.get(pk=media).reason == "infected"
    assert kept(folder) == []


def test_what_is_too_large_to_be_scanned(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture is made anew, whatever was in it; a document would be passed on."""
    monkeypatch.setattr(pipeline, "scanner", lambda: Daemon(Verdict(Found.TOO_LARGE)))
    assert process(sent(ann, chat, photo())) == State.READY
    document = sent(ann, chat, b"%PDF-1.4\n" + bytes(200) + b"\n%%EOF\n", "document", "application/pdf")
    assert process(document) == State.REFUSED


def test_a_storage_that_is_away_makes_it_wait(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = sent(ann, chat, photo())

    def away(*args: Any, **kwargs: Any) -> Any:
        raise StorageUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(type(folder), "put", away)
        assert process(media) == State.PROCESSING
    Media.objects.filter(pk=media).update(leased_until=0)
    assert process(media) == State.READY


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once(ann: Person, chat: str, folder: Storage) -> None:
    media = sent(ann, chat, photo())
    found: list[str] = []

    def run() -> None:
        try:
            found.append(process(media))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["", "", "", "ready"]
    assert sorted(made(media)) == ["full", "thumb"]
