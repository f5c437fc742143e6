"""tus 1.0 against the views: offsets, lengths, checksums, names, ends. Over sockets: ``test_uploads.py``."""

from __future__ import annotations

import base64
import hashlib
import random
import uuid
from typing import Any

import pytest

from accounts.models import Account
from media.apis import receiving
from media.models import Media, State, Upload
from media.services import contents, quota, uploads
from media.storage import Storage, StorageUnavailable
from media.storage.interface import MOST_PARTS
from media.uploads import ending
from tests.media.conftest import Person, Tus, assert_problem, direct, kept, sign_in, some_id
from whatsapp.infra import faults
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db

MIB = 2**20


@pytest.fixture
def ann(folder: Storage) -> Person:
    return sign_in()


@pytest.fixture
def chat(ann: Person) -> str:
    return direct(ann, sign_in())


def stored(path: str, folder: Storage) -> bytes:
    """What the storage has of a whole upload."""
    return folder.read(f"incoming/{path.rpartition('/')[2]}")


def state(path: str) -> str:
    return Media.objects.get(pk=path.rpartition("/")[2]).state


def some_bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def test_an_upload_in_one_piece(ann: Person, chat: str, folder: Storage) -> None:
    tus, data = Tus(ann), some_bytes(1000)
    answer = tus.begin(chat, len(data))
    assert answer.status_code == 201, answer.content
    path = answer.headers["Location"]
    assert tus.offset(path) == 0
    answer = tus.send(path, 0, data)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, "1000")
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert stored(path, folder) == data
    assert state(path) == State.STORED
    assert tus.offset(path) == 1000
    assert tus.send(path, 1000, b"").status_code == 204, "said again"
    assert_problem(tus.send(path, 0, data), "conflict", 409)


def test_the_first_bytes_come_along(ann: Person, chat: str, folder: Storage) -> None:
    tus, data = Tus(ann), some_bytes(1000)
    answer = tus.begin(chat, len(data), data[:300])
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (201, "300")
    path = answer.headers["Location"]
    assert tus.send(path, 300, data[300:]).status_code == 204
    assert stored(path, folder) == data
    assert kept(folder) == [f"incoming/{path.rpartition('/')[2]}"], "no tail stays"


@pytest.mark.parametrize("seed", range(6))
def test_any_pieces_make_the_file(ann: Person, chat: str, folder: Storage, limits: Any, seed: int) -> None:
    """Around the size of a part, in requests of any size, one of them empty."""
    chance = random.Random(seed)
    limits(media_part_bytes=5 * MIB)
    size = chance.choice(
        [5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 10 * MIB, 11 * MIB + 7, chance.randrange(1, 16 * MIB)]
    )
    tus, data = Tus(ann), some_bytes(size)
    path = tus.begin(chat, size).headers["Location"]
    offset = 0
    while offset < size:
        piece = chance.choice([0, 1, 4095, 3 * MIB, 5 * MIB, 6 * MIB])
        answer = tus.send(path, offset, data[offset : offset + piece])
        assert answer.status_code == 204, answer.content
        offset = min(offset + piece, size)
        assert int(answer.headers["Upload-Offset"]) == offset
        assert tus.offset(path) == offset
    assert stored(path, folder) == data
    assert kept(folder) == [f"incoming/{path.rpartition('/')[2]}"]


def test_a_length_that_is_told_later(ann: Person, chat: str, folder: Storage) -> None:
    tus, data = Tus(ann), some_bytes(6 * MIB)
    answer = tus.begin(chat, None)
    path = answer.headers["Location"]
    assert answer.headers["Upload-Defer-Length"] == "1"
    assert tus.send(path, 0, data[: 3 * MIB]).headers["Upload-Defer-Length"] == "1"
    assert_problem(tus.send(path, 3 * MIB, b"", Upload_Length=MIB), "bad_request", 400)
    answer = tus.send(path, 3 * MIB, data[3 * MIB :], Upload_Length=len(data))
    assert answer.status_code == 204
    assert stored(path, folder) == data


def test_a_length_that_is_told_behind_all_bytes(ann: Person, chat: str, folder: Storage) -> None:
    tus, data = Tus(ann), some_bytes(5 * MIB)
    path = tus.begin(chat, None).headers["Location"]
    tus.send(path, 0, data)
    assert state(path) == State.UPLOADING
    assert tus.send(path, len(data), b"", Upload_Length=len(data)).status_code == 204
    assert stored(path, folder) == data


def test_who_asks_how_far_it_is_ends_what_only_lacks_its_end(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All parts are stored, and the storage goes away before they are one object: HEAD says that all is there, and then it is."""
    tus, data = Tus(ann), some_bytes(5 * MIB)
    path = tus.begin(chat, len(data)).headers["Location"]

    def away(*args: Any) -> Any:
        from media.storage import StorageUnavailable

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


@pytest.mark.parametrize("name", ["sha1", "sha256", "md5"])
def test_bytes_with_another_checksum_do_not_count(ann: Person, chat: str, folder: Storage, name: str) -> None:
    tus, data = Tus(ann), some_bytes(12 * MIB)

    def checksum(of: bytes) -> str:
        return f"{name} {base64.b64encode(hashlib.new(name, of).digest()).decode()}"

    path = tus.begin(chat, len(data)).headers["Location"]
    first = data[: 2 * MIB]
    assert tus.send(path, 0, first, Upload_Checksum=checksum(first)).status_code == 204
    answer = tus.send(path, 2 * MIB, bytes(10 * MIB), Upload_Checksum=checksum(data))
    assert answer.status_code == 460
    assert answer.json()["code"] == "bad_request"
    assert tus.offset(path) == 2 * MIB
    rest = data[2 * MIB :]
    assert tus.send(path, 2 * MIB, rest, Upload_Checksum=checksum(rest)).status_code == 204
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


def test_a_name_makes_one_upload(ann: Person, chat: str) -> None:
    tus = Tus(ann)
    first = tus.begin(chat, 1000, b"first", X_Idempotency_Key="one")
    again = tus.begin(chat, 1000, b"first", X_Idempotency_Key="one")
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["X-Idempotency-Replayed"] == "true"
    assert again.headers["Upload-Offset"] == "5", "some clients go on there"
    tus.send(first.headers["Location"], 5, bytes(995))
    assert tus.begin(chat, 1000, X_Idempotency_Key="one").headers["Upload-Offset"] == "1000"
    assert tus.begin(chat, 1000, X_Idempotency_Key="two").headers["Location"] != first.headers["Location"]
    assert_problem(tus.begin(chat, 999, X_Idempotency_Key="one"), "conflict", 409)


def test_a_method_in_a_header(ann: Person, chat: str, folder: Storage) -> None:
    """For clients that can send nothing but POST (``overridePatchMethod`` of tus-js-client)."""
    tus = Tus(ann)
    path = tus.begin(chat, 10).headers["Location"]
    told = {"Upload_Offset": 0, "Content_Type": "application/offset+octet-stream"}
    answer = tus.ask("POST", path, b"12345", **told, X_HTTP_Method_Override="PATCH")
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, "5")
    assert tus.ask("POST", path, X_HTTP_Method_Override="HEAD").headers["Upload-Offset"] == "5"
    for method in (None, "GET", "PUT"):
        assert tus.ask("POST", path, b"x", **told, X_HTTP_Method_Override=method).status_code == 405
    nobody = {"Authorization": None, "X_HTTP_Method_Override": "DELETE"}
    assert tus.ask("POST", path, **nobody).status_code == 401
    assert (
        tus.ask(
            "PATCH", path, b"67890", **{**told, "Upload_Offset": 5}, X_HTTP_Method_Override="DELETE"
        ).status_code
        == 204
    )
    path = tus.begin(chat, 10).headers["Location"]
    assert tus.ask("POST", path, X_HTTP_Method_Override="DELETE").status_code == 204
    assert tus.ask("HEAD", path).status_code == 410


def test_others_know_nothing_of_it(ann: Person, chat: str) -> None:
    eve = sign_in()
    path = Tus(ann).begin(chat, 1000).headers["Location"]
    for answer in (
        Tus(eve).ask("HEAD", path),
        Tus(eve).send(path, 0, b"x"),
        Tus(eve).ask("DELETE", path),
        Tus(ann).send(f"/media/tus/{some_id()}", 0, b"x"),
    ):
        assert answer.status_code == 404
    assert_problem(Tus(eve).begin(chat, 1000), "not_found", 404)
    assert_problem(Tus(eve).begin(some_id(), 1000), "not_found", 404)
    nobody = Tus(ann)
    assert nobody.ask("HEAD", path, Authorization=None).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Tus_Resumable": "0.2.2"}, 412),
        ({"Tus_Resumable": None}, 412),
        ({"Upload_Length": "-1"}, 400),
        ({"Upload_Length": "1e3"}, 400),
        ({"Upload_Length": None}, 400),
        ({"Upload_Length": 0}, 400),
        ({"Upload_Length": 2**31 + 1}, 413),
        ({"Upload_Defer_Length": 1}, 400),
        ({"Upload_Metadata": ""}, 400),
        ({"Upload_Metadata": "fileType %%%"}, 400),
        ({"Upload_Metadata": "fileType aW1hZ2U=,fileType aW1hZ2U="}, 400),
        ({"Upload_Checksum": "sha1 aaaa"}, 400),
        ({"metadata": {"fileType": "program"}}, 400),
        ({"metadata": {"conversationId": "7"}}, 400),
        ({"metadata": {"sha256": "7"}}, 400),
        ({"metadata": {"encrypted": "perhaps"}}, 400),
        ({"metadata": {"filetype": "../../etc/passwd"}}, 201),
    ],
)
def test_what_cannot_begin(ann: Person, chat: str, headers: dict[str, Any], status: int) -> None:
    answer = Tus(ann).begin(chat, 1000, **headers)
    assert answer.status_code == status, answer.content
    assert answer.headers["Tus-Resumable"] == "1.0.0"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload_Offset": None}, 400),
        ({"Upload_Offset": "x"}, 400),
        ({"Upload_Offset": 7}, 409),
        ({"Content_Type": "application/json"}, 415),
        ({"Upload_Checksum": "crc32 aaaa"}, 400),
        ({"Upload_Checksum": "sha1 aaaa"}, 400),
        ({"Upload_Checksum": "sha1 ?"}, 400),
    ],
)
def test_bytes_that_are_not_taken(ann: Person, chat: str, headers: dict[str, Any], status: int) -> None:
    tus = Tus(ann)
    path = tus.begin(chat, 1000).headers["Location"]
    given = {"Upload_Offset": 0, "Content_Type": "application/offset+octet-stream", **headers}
    answer = tus.ask("PATCH", path, b"abc", **given)
    assert answer.status_code == status, answer.content
    assert tus.offset(path) == 0


def test_more_bytes_than_there_are(ann: Person, chat: str, folder: Storage) -> None:
    tus = Tus(ann)
    path = tus.begin(chat, 1000).headers["Location"]
    assert_problem(tus.send(path, 0, bytes(1001)), "too_large", 413)
    assert tus.offset(path) == 0
    assert tus.send(path, 0, bytes(1000)).status_code == 204


def test_what_is_spoken_here(ann: Person) -> None:
    answer = Tus(ann).ask("OPTIONS", "/media/tus", Authorization=None, Tus_Resumable=None)
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert "creation-with-upload" in answer.headers["Tus-Extension"].split(",")
    assert answer.headers["Tus-Max-Size"] == str(2**31)
    assert "sha1" in answer.headers["Tus-Checksum-Algorithm"].split(",")


def test_bytes_are_counted(ann: Person, chat: str, limits: Any) -> None:
    limits(
        media_bytes_per_hour=1000, media_large_bytes=900, media_large_bytes_per_day=5000, media_least_bytes=1
    )
    tus = Tus(ann)
    assert tus.begin(chat, 600).status_code == 201
    answer = tus.begin(chat, 600)
    assert_problem(answer, "rate_limited", 429)
    assert int(answer.headers["Retry-After"]) > 0
    assert tus.begin(chat, 901).status_code == 201, "a large file is counted by the day"
    assert tus.begin(chat, 4000).status_code == 201
    assert_problem(tus.begin(chat, 901), "rate_limited", 429)
    assert tus.begin(chat, 400).status_code == 201, "what was refused is not counted"


def test_bytes_of_no_known_number_are_counted_and_bounded(
    ann: Person, chat: str, folder: Storage, limits: Any
) -> None:
    limits(media_large_bytes_per_day=11 * MIB, media_document_bytes=16 * MIB, media_bytes_per_hour=2 * MIB)
    tus, data = Tus(ann), some_bytes(17 * MIB)
    path = tus.begin(chat, None).headers["Location"]
    assert tus.send(path, 0, data[: 10 * MIB]).status_code == 204
    assert_problem(tus.send(path, 10 * MIB, data[10 * MIB : 16 * MIB]), "rate_limited", 429)
    assert tus.offset(path) == 10 * MIB
    limits(media_large_bytes_per_day=100 * MIB)
    assert_problem(tus.send(path, 10 * MIB, data[10 * MIB :]), "too_large", 413)
    offset = tus.offset(path)
    assert tus.send(path, offset, data[offset : 16 * MIB]).status_code == 204
    assert tus.send(path, 16 * MIB, b"", Upload_Length=16 * MIB).status_code == 204
    assert stored(path, folder) == data[: 16 * MIB]


@pytest.mark.parametrize("length", [1, None])
def test_uploads_that_are_begun_and_given_up_again_and_again_are_counted(
    ann: Person, chat: str, limits: Any, length: int | None
) -> None:
    """Each leaves a row for a month, whatever its length."""
    limits(media_bytes_per_hour=5 * 16_384)
    tus = Tus(ann)
    for _ in range(5):
        begun = tus.begin(chat, length)
        assert begun.status_code == 201
        assert tus.ask("DELETE", begun.headers["Location"]).status_code == 204
    assert_problem(tus.begin(chat, length), "rate_limited", 429)
    assert Media.objects.filter(owner=ann.user_id).count() == 5


@pytest.mark.parametrize("protected", [True, False])
def test_parts_that_count_for_nothing_are_bounded(
    ann: Person,
    chat: str,
    folder: Storage,
    limits: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
    protected: bool,
) -> None:
    """The same bytes with a wrong checksum, again and again: each request leaves its parts until the upload ends."""
    if not protected:
        monkeypatch.setattr(faults, "off", "in_vain".__eq__)
    limits(media_part_bytes=1024)
    tus = Tus(ann)
    path = tus.begin(chat, 10_000).headers["Location"]
    wrong = "sha1 " + base64.b64encode(bytes(20)).decode()
    statuses = [tus.send(path, 0, some_bytes(5000 + n), Upload_Checksum=wrong).status_code for n in range(8)]
    parts = sum(file.stat().st_size for file in (tmp_path / "media" / ".uploads").rglob("0*"))
    if protected:
        assert statuses[0] == 460
        assert statuses[-1] == 410
        assert parts <= 10_000 + 5 * 1024
        other = tus.begin(chat, 5_000).headers["Location"]
        assert tus.send(other, 0, some_bytes(5_000), Upload_Checksum=wrong).status_code == 460
    else:
        assert set(statuses) == {460}
        assert parts > 30_000


def test_a_byte_at_a_time_comes_to_an_end(ann: Person, chat: str, folder: Storage) -> None:
    """Each request reads and writes all that is too small for a part."""
    tus = Tus(ann)
    path = tus.begin(chat, 50_000).headers["Location"]
    Upload.objects.update(next_part=MOST_PARTS)
    assert tus.send(path, 0, b"a").status_code == 204
    assert_problem(tus.send(path, 1, b"b"), "gone", 410)
    assert tus.offset(path) == 1


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


def test_nobody_has_all_places(ann: Person, chat: str, folder: Storage, limits: Any) -> None:
    limits(media_uploads_of_one=1)
    bob = sign_in()
    tus, other = Tus(ann), Tus(bob)
    path = tus.begin(chat, 1000).headers["Location"]
    where = other.begin(direct(bob, ann), 1000).headers["Location"]
    with receiving.place(str(ann.user_id)):
        assert_problem(tus.send(path, 0, bytes(1000)), "unavailable", 503)
        assert other.send(where, 0, bytes(1000)).status_code == 204
    assert tus.send(path, 0, bytes(1000)).status_code == 204
    assert not receiving._places


def test_uploads_that_are_begun_are_counted(ann: Person, chat: str, limits: Any) -> None:
    limits(media_open_uploads=2)
    tus = Tus(ann)
    path = tus.begin(chat, 10).headers["Location"]
    tus.begin(chat, 10)
    assert_problem(tus.begin(chat, 10), "limit_exceeded", 409)
    tus.ask("DELETE", path)
    assert tus.begin(chat, 10).status_code == 201


def test_what_was_told_of_a_file_is_told_again(ann: Person, chat: str, folder: Storage) -> None:
    """tus 1.0: HEAD has ``Upload-Metadata`` if the upload was given some, before its end and behind it."""
    tus = Tus(ann)
    path = tus.begin(chat, 10, metadata={"filename": "a holiday.pdf"}).headers["Location"]
    before = tus.ask("HEAD", path).headers["Upload-Metadata"]
    assert base64.b64encode(b"a holiday.pdf").decode() in before
    assert tus.send(path, 0, b"0123456789").status_code == 204
    assert tus.ask("HEAD", path).headers["Upload-Metadata"] == before
    Media.objects.update(state=State.READY, created_at=0)
    assert contents.drop_unused(now_ms()) == 1
    assert Media.objects.get(pk=path.rpartition("/")[2]).upload_metadata == "", "what is deleted is"
