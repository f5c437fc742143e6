"""How an upload by tus 1.0 ends: whole, given up, too late, taken over by another request, refused as it begins."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import pytest

from accounts.models import Account
from media.models import Media, State, Upload
from media.services import quota, uploads
from media.storage import Storage, StorageUnavailable
from media.uploads import ending
from tests.media.conftest import Person, Tus, assert_problem, kept
from tests.media.incoming import MIB, some_bytes, state, stored
from whatsapp.infra import faults
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db


def test_who_asks_how_far_it_is_ends_what_only_lacks_its_end(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All parts are stored, and the storage goes away before they are one object: HEAD says that all is there, and then it is."""
    tus, data = Tus(ann), some_bytes(5 * MIB)
    path = tus.begin(chat, len(data)).headers["Location"]

    def away(*args: Any) -> Any:
        raise StorageUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(type(folder), "complete", away)
        assert_problem(tus.send(path, 0, data), "unavailable", 503)
        assert_problem(tus.ask("GET", path), "bad_request", 405)
        assert tus.ask("HEAD", path).status_code == 423, "with 503 tus-js-client would send all of it again"
    assert state(path) == State.UPLOADING
    assert tus.offset(path) == len(data)
    assert state(path) == State.STORED
    assert stored(path, folder) == data


def test_what_is_given_up_leaves_nothing(ann: Person, chat: str, folder: Storage) -> None:
    tus, data = Tus(ann), some_bytes(8 * MIB)
    path = tus.begin(chat, 9 * MIB, data).headers["Location"]
    assert kept(folder)
    assert tus.ask("DELETE", path).status_code == 204
    assert kept(folder) == []
    assert list(folder.open_uploads(2**53)) == []
    assert_problem(tus.send(path, 8 * MIB, b"x"), "gone", 410)
    assert tus.ask("HEAD", path).status_code == 410


def test_what_takes_too_long_leaves_nothing(
    ann: Person, chat: str, folder: Storage, clock: Any, limits: Any
) -> None:
    limits(media_upload_ms=60_000)
    tus = Tus(ann)
    path = tus.begin(chat, 9 * MIB, some_bytes(8 * MIB)).headers["Location"]
    assert ending.sweep() == 0
    clock(60_000)
    assert tus.ask("HEAD", path).status_code == 410
    assert ending.sweep() == 1
    assert kept(folder) == []
    assert not Upload.objects.filter(pk=path.rpartition("/")[2]).exists()
    assert state(path) == State.GONE


@pytest.mark.parametrize("first", ["sweep", "end"])
def test_a_sweep_at_the_moment_in_which_the_last_byte_comes(
    ann: Person,
    chat: str,
    folder: Storage,
    clock: Any,
    limits: Any,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
) -> None:
    """Who is told that all bytes are here has them."""
    from media.uploads.receiver import Receiver

    limits(media_upload_ms=60_000)
    path = Tus(ann).begin(chat, 1000).headers["Location"]
    media = Media.objects.get(pk=path.rpartition("/")[2])
    late = Receiver(uploads.hold(account=media.owner, media_id=media.pk, offset=0), folder)
    late.open()
    late.feed(some_bytes(1000))
    clock(60_000)
    if first == "end":
        due = uploads.overdue(now_ms())
        monkeypatch.setattr(uploads, "overdue", lambda now: due)
        late.close()
        assert ending.sweep() == 0
        assert (state(path), stored(path, folder)) == (State.STORED, some_bytes(1000))
    else:
        real = type(folder).delete

        def deleted(self: Storage, keys: Any) -> None:
            monkeypatch.setattr(type(folder), "delete", real)
            real(self, keys)
            with pytest.raises(uploads.Lost):
                late.close()

        monkeypatch.setattr(type(folder), "delete", deleted)
        assert ending.sweep() == 1
        assert (state(path), kept(folder)) == (State.GONE, [])


def test_who_gives_up_what_ends_at_this_moment_deletes_nothing(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    tus, data = Tus(ann), some_bytes(1000)
    path = tus.begin(chat, 1000).headers["Location"]
    real = uploads.find

    def found(**asked: Any) -> Upload:
        upload = real(**asked)
        monkeypatch.setattr(uploads, "find", real)
        assert tus.send(path, 0, data).status_code == 204
        return upload

    monkeypatch.setattr(uploads, "find", found)
    assert_problem(tus.ask("DELETE", path), "unavailable", 503)
    assert (state(path), stored(path, folder)) == (State.STORED, data)
    assert_problem(tus.ask("DELETE", path), "conflict", 409)


def test_a_request_that_was_taken_over_changes_nothing(ann: Person, chat: str, folder: Storage) -> None:
    """A phone changes its network: the request that it left behind still writes when the next one has the upload."""
    from media.uploads.receiver import Receiver

    tus, data = Tus(ann), some_bytes(11 * MIB)
    path = tus.begin(chat, len(data)).headers["Location"]
    account = Media.objects.get(pk=path.rpartition("/")[2]).owner
    media_id = uuid.UUID(path.rpartition("/")[2])
    left = Receiver(uploads.hold(account=account, media_id=media_id, offset=0), folder)
    left.open()
    left.feed(bytes(5 * MIB - 1))  # other bytes: they must not get in
    assert tus.send(path, 0, data[: 6 * MIB]).status_code == 204
    with pytest.raises(uploads.Lost):
        left.feed(bytes(9))
    with pytest.raises(uploads.Lost):
        left.close()
    assert tus.offset(path) == 6 * MIB
    assert tus.send(path, 6 * MIB, data[6 * MIB :]).status_code == 204
    assert stored(path, folder) == data


@pytest.mark.parametrize("protected", [True, False])
def test_a_request_that_was_taken_over_stores_no_whole_file(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch, protected: bool
) -> None:
    """Its last byte comes when the file is whole, and somebody may be looking into it."""
    from media.uploads.receiver import Receiver

    if not protected:
        monkeypatch.setattr(faults, "off", "still_held".__eq__)
    tus, data = Tus(ann), some_bytes(1000)
    path = tus.begin(chat, len(data)).headers["Location"]
    media = Media.objects.get(pk=path.rpartition("/")[2])
    left = Receiver(uploads.hold(account=media.owner, media_id=media.pk, offset=0), folder)
    left.open()
    left.feed(bytes(999))
    assert tus.send(path, 0, data).status_code == 204
    left.feed(bytes(1))
    with pytest.raises(uploads.Lost):
        left.close()
    assert stored(path, folder) == (data if protected else bytes(1000))


def test_a_beginning_that_is_refused_with_its_bytes_leaves_nothing(
    ann: Person, chat: str, folder: Storage, limits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client is not told where the upload is, and begins again: it would reach its limits without a file."""

    def away(*args: Any, **options: Any) -> int:
        raise StorageUnavailable

    tus, data = Tus(ann), some_bytes(1000)
    wrong = "sha1 " + base64.b64encode(bytes(20)).decode()
    with monkeypatch.context() as patch:
        patch.setattr(type(folder), "put", away)
        assert_problem(tus.begin(chat, 1000, data), "unavailable", 503)
    assert tus.begin(chat, 1000, data, Upload_Checksum=wrong).status_code == 460
    assert tus.begin(chat, 10, data).status_code == 413
    assert not Upload.objects.exists()
    counted, _ = quota.counted(Account.objects.get(pk=ann.user_id), now_ms())
    limits(media_uploads_of_one=0)
    assert_problem(tus.begin(chat, 1000, data), "unavailable", 503)
    assert quota.counted(Account.objects.get(pk=ann.user_id), now_ms())[0] <= counted, (
        "who is turned away is not counted"
    )
    limits(media_uploads_of_one=1)
    with monkeypatch.context() as patch:
        patch.setattr(type(folder), "put", away)
        name = {"X_Idempotency_Key": "named"}
        assert_problem(tus.begin(chat, 1000, data, **name), "unavailable", 503)
    answer = tus.begin(chat, 1000, data, **name)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (201, "0"), "it is found by its name"
