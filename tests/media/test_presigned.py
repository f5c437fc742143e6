"""Uploads straight into the storage, a folder and a bucket: what is given out, what is believed, how they end. In a whole system:
``test_presigned_clients.py``."""

from __future__ import annotations

import hashlib
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from django.db import connections
from django.test import Client

from media import tasks
from media.models import Media, State, Upload
from media.pipeline.process import process
from media.storage import Storage, StorageUnavailable, storage
from media.storage.interface import LEAST_PART
from media.uploads import ending
from tests.media.conftest import Person, Tus, assert_problem, direct, kept, sign_in, some_id
from tests.media.incoming import some_bytes
from tests.media.test_form import file, upload
from tests.media.test_process import made, photo
from tests.support.buckets import backend_options
from tests.support.s3 import S3

pytestmark = pytest.mark.django_db

SIZE = 2 * LEAST_PART + 777
ALL = 2**53


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.needs_s3)])
def place(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, settings: Any, limits: Any
) -> Storage:
    """The storage of this test."""
    limits(media_signed_part_bytes=LEAST_PART)
    if request.param == "folder":
        found: Storage = request.getfixturevalue("folder")
        return found
    server: S3 = request.getfixturevalue("s3_server")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    options = backend_options({**server.variables(), "S3_PREFIX": server.new_prefix()})
    settings.STORAGES = {**settings.STORAGES, "default": options}
    return storage()


@pytest.fixture
def ann(place: Storage) -> Person:
    return sign_in()


@pytest.fixture
def chat(ann: Person) -> str:
    return direct(ann, sign_in())


def begin(person: Person, chat: str, size: int = SIZE, key: str = "", **fields: Any) -> Any:
    body = {"fileType": "document", "conversationId": chat, "size": size, **fields}
    headers = {"X-Idempotency-Key": key} if key else {}
    return person.api.post("/media/presigned", body, headers=headers)


def begun(person: Person, chat: str, size: int = SIZE, **fields: Any) -> dict[str, Any]:
    answer = begin(person, chat, size, **fields)
    assert answer.status_code == 201, answer.content
    found: dict[str, Any] = answer.json()
    return found


def put(url: str, data: bytes) -> tuple[int, str]:
    """Status and ETag."""
    if urlsplit(url).hostname == "testserver":  # ours
        answer: Any = Client().put(url, data, content_type="application/octet-stream")
    else:
        answer = requests.put(url, data=data, timeout=30)
    return answer.status_code, answer.headers.get("ETag", "")


def put_all(found: dict[str, Any], data: bytes) -> list[dict[str, Any]]:
    """What ``complete`` takes."""
    parts, offset = [], (found["parts"][0]["number"] - 1) * found["partSize"]
    for part in found["parts"]:
        status, etag = put(part["url"], data[offset : offset + part["size"]])
        assert status == 200
        parts.append({"number": part["number"], "etag": etag})
        offset += part["size"]
    return parts


def complete(person: Person, found: dict[str, Any], parts: list[dict[str, Any]]) -> Any:
    return person.api.post(f"/media/presigned/{found['uploadId']}/complete", {"parts": parts})


def state(found: dict[str, Any]) -> str:
    return Media.objects.get(pk=found["mediaId"]).state


def test_parts_that_were_put_are_a_file(ann: Person, chat: str, place: Storage) -> None:
    data = some_bytes(SIZE)
    found = begun(ann, chat, encrypted=True, sha256=hashlib.sha256(data).hexdigest())
    assert found["mediaId"] == found["uploadId"]
    assert (found["state"], found["size"], found["partSize"]) == ("uploading", SIZE, LEAST_PART)
    assert [(part["number"], part["size"], part["etag"]) for part in found["parts"]] == [
        (1, LEAST_PART, None), (2, LEAST_PART, None), (3, 777, None),
    ]  # fmt: skip
    assert "next" not in found
    parts = put_all(found, data)
    assert kept(place) == [], "nothing is seen before the end"
    answer = complete(ann, found, parts)
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert (body["state"], body["size"], body["mediaId"]) == ("stored", SIZE, found["mediaId"])
    assert place.read(f"incoming/{found['mediaId']}") == data
    assert place.describe(f"incoming/{found['mediaId']}").metadata["user-id"] == ann.user_id
    assert process(uuid.UUID(found["mediaId"])) == State.READY
    assert place.read(made(uuid.UUID(found["mediaId"]))["full"].key) == data
    assert list(place.open_uploads(ALL)) == []


def test_the_pipeline_is_the_one_of_all_uploads(
    ann: Person, chat: str, place: Storage, enqueued: list[Any]
) -> None:
    data = photo()
    found = begun(ann, chat, len(data), fileType="image", mediaType="image/jpeg")
    parts, before = put_all(found, data), len(enqueued)
    complete(ann, found, parts)
    complete(ann, found, parts)
    assert enqueued[before:] == [tasks.process], "once, and at once"
    assert process(uuid.UUID(found["mediaId"])) == State.READY
    assert set(made(uuid.UUID(found["mediaId"]))) == {"full", "thumb"}
    body = ann.api.get(f"/media/{found['mediaId']}").json()
    assert (body["state"], body["sha256"]) == ("ready", hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("encrypted", [True, False])
def test_other_bytes_than_were_told_are_refused_when_they_are_read_back(
    ann: Person, chat: str, place: Storage, encrypted: bool
) -> None:
    """Nobody but the pipeline sees them."""
    data = photo()
    told = hashlib.sha256(data).hexdigest()
    found = begun(ann, chat, len(data), fileType="image", encrypted=encrypted, sha256=told)
    other = bytes(data[:-1]) + bytes([data[-1] ^ 1])
    assert complete(ann, found, put_all(found, other)).status_code == 200
    assert process(uuid.UUID(found["mediaId"])) == State.REFUSED
    assert Media.objects.get(pk=found["mediaId"]).reason == "mismatch"
    assert kept(place) == []


def test_addresses_come_in_pages_and_say_what_is_there(ann: Person, chat: str, place: Storage) -> None:
    """As after a cut: what is there need not be put again."""
    data = some_bytes(SIZE)
    found = begun(ann, chat)
    status, etag = put(found["parts"][1]["url"], data[LEAST_PART : 2 * LEAST_PART])
    assert status == 200
    path, pages, after = f"/media/presigned/{found['uploadId']}", [], 0
    for _ in range(3):
        page = ann.api.get(f"{path}?limit=1&after={after}").json()
        pages.append(page)
        after = page.get("next", 0)
    assert [[part["number"] for part in page["parts"]] for page in pages] == [[1], [2], [3]]
    assert [page.get("next") for page in pages] == [1, 2, None]
    assert [page["parts"][0]["etag"] for page in pages] == [None, etag, None]
    assert ann.api.get(f"{path}?after=3").json()["parts"] == []
    parts = [{"number": 2, "etag": etag}]
    for page in (pages[0], pages[2]):
        parts += put_all(page, data)
    assert complete(ann, found, parts).status_code == 200
    assert place.read(f"incoming/{found['mediaId']}") == data


def test_a_file_of_2_gb_has_few_enough_parts(ann: Person, chat: str, place: Storage, limits: Any) -> None:
    limits(media_signed_part_bytes=8 * 2**20)
    found = begun(ann, chat, 2 * 2**30)
    assert len(found["parts"]) == 100
    assert found["next"] == 100
    rest = ann.api.get(f"/media/presigned/{found['uploadId']}?after=100&limit=500").json()
    assert [part["number"] for part in rest["parts"]] == list(range(101, 257))
    assert sum(part["size"] for part in found["parts"] + rest["parts"]) == 2 * 2**30
    assert_problem(begin(ann, chat, 2 * 2**30 + 1), "too_large", 413)


def test_what_is_missing_or_another_is_named(ann: Person, chat: str, place: Storage) -> None:
    data = some_bytes(SIZE)
    found = begun(ann, chat)
    first, second, third = put_all(found, data)
    wrong = {"number": 2, "etag": third["etag"]}
    for parts, named in (([first, third], [2]), ([first, wrong, third], [2]), ([second], [1, 3])):
        assert assert_problem(complete(ann, found, parts), "conflict", 409)["details"] == {"parts": named}
    assert state(found) == State.UPLOADING
    bare = {"number": 3, "etag": third["etag"].strip('"')}
    assert complete(ann, found, [bare, second, first]).status_code == 200, "in any order, without quotes"


def test_who_lies_about_parts_gets_no_file(ann: Person, chat: str, place: Storage) -> None:
    found, other = begun(ann, chat), begun(ann, chat)
    there = put_all(other, some_bytes(SIZE))
    assert_problem(complete(ann, found, there), "conflict", 409)
    made_up = [{"number": number, "etag": "0" * 32} for number in (1, 2, 3)]
    assert_problem(complete(ann, found, made_up), "conflict", 409)
    put_all(found, some_bytes(SIZE)[::-1])
    assert_problem(complete(ann, found, there), "conflict", 409)
    assert_problem(complete(ann, found, [{"number": 1, "etag": "x"}] * 2), "bad_request", 400)
    assert_problem(complete(ann, found, [{"number": 4, "etag": "x"}]), "bad_request", 400)
    for parts in (
        [],
        [{"number": 0, "etag": "x"}],
        [{"number": 1}],
        [{"number": 1, "etag": "<x>"}],
        [{"number": 1, "etag": 7}],
        [{"number": 1, "etag": "x\n"}],
    ):
        assert_problem(complete(ann, found, parts), "bad_request", 400)
    assert state(found) == State.UPLOADING
    assert kept(place) == []


def test_what_was_said_again_is_done_once(ann: Person, chat: str, place: Storage) -> None:
    data = some_bytes(SIZE)
    found = begun(ann, chat)
    parts = put_all(found, data)
    first = complete(ann, found, parts).json()
    assert complete(ann, found, parts).json() == first
    process(uuid.UUID(found["mediaId"]))
    again = complete(ann, found, parts)
    assert (again.status_code, again.json()["state"]) == (200, Media.objects.get(pk=found["mediaId"]).state)
    page = ann.api.get(f"/media/presigned/{found['uploadId']}").json()
    assert (page["parts"], page["size"]) == ([], SIZE)
    assert_problem(ann.api.delete(f"/media/presigned/{found['uploadId']}"), "conflict", 409)


def test_a_lost_answer_of_the_storage_ends_nothing(
    ann: Person, chat: str, place: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object is made, and nobody heard of it: the next request ends the upload."""
    data = some_bytes(3 * 777)
    found = begun(ann, chat, len(data))
    parts = put_all(found, data)
    real = type(place).complete

    def unheard(self: Storage, *args: Any) -> int:
        real(self, *args)
        raise StorageUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(type(place), "complete", unheard)
        assert_problem(complete(ann, found, parts), "unavailable", 503)
    assert state(found) == State.UPLOADING
    assert complete(ann, found, parts).status_code == 200
    assert place.read(f"incoming/{found['mediaId']}") == data


def test_a_name_makes_one_upload(ann: Person, chat: str, place: Storage) -> None:
    first = begin(ann, chat, key="one").json()
    again = begin(ann, chat, key="one")
    assert again.json()["uploadId"] == first["uploadId"]
    assert again.headers["X-Idempotency-Replayed"] == "true"
    assert begun(ann, chat, key="two")["uploadId"] != first["uploadId"]
    assert_problem(begin(ann, chat, SIZE + 1, key="one"), "conflict", 409)
    assert len(list(place.open_uploads(ALL))) == 2
    complete(ann, first, put_all(first, some_bytes(SIZE)))
    late = begin(ann, chat, key="one").json()
    assert (late["uploadId"], late["state"], late["parts"]) == (first["uploadId"], "stored", [])


def test_an_upload_goes_on_the_way_on_which_it_began(ann: Person, chat: str, place: Storage) -> None:
    found, tus = begin(ann, chat, key="presigned").json(), Tus(ann)
    path = f"/media/tus/{found['uploadId']}"
    assert tus.ask("HEAD", path).status_code == 404
    assert_problem(tus.send(path, 0, b"x"), "not_found", 404)
    assert_problem(tus.ask("DELETE", path), "not_found", 404)
    assert_problem(tus.begin(chat, SIZE, X_Idempotency_Key="presigned"), "conflict", 409)
    form = {"file": file(), "fileType": "document", "conversationId": chat}
    assert_problem(upload(ann, form, X_Idempotency_Key="presigned"), "conflict", 409)
    other = tus.begin(chat, SIZE, b"x", X_Idempotency_Key="tus").headers["Location"].rpartition("/")[2]
    assert_problem(ann.api.get(f"/media/presigned/{other}"), "not_found", 404)
    assert_problem(ann.api.delete(f"/media/presigned/{other}"), "not_found", 404)
    assert_problem(complete(ann, {"uploadId": other}, [{"number": 1, "etag": "x"}]), "not_found", 404)
    assert_problem(begin(ann, chat, key="tus"), "conflict", 409)
    assert state(found) == State.UPLOADING
    assert tus.offset(f"/media/tus/{other}") == 1


def test_others_know_nothing_of_it(ann: Person, chat: str, place: Storage) -> None:
    eve, found = sign_in(), begun(ann, chat)
    parts = put_all(found, some_bytes(SIZE))
    path = f"/media/presigned/{found['uploadId']}"
    for answer in (eve.api.get(path), eve.api.delete(path), complete(eve, found, parts), begin(eve, chat)):
        assert_problem(answer, "not_found", 404)
    assert_problem(begin(ann, some_id()), "not_found", 404)
    assert complete(ann, found, parts).status_code == 200
    for answer in (eve.api.get(path), eve.api.delete(path), complete(eve, found, parts)):
        assert_problem(answer, "not_found", 404)


def test_what_is_given_up_leaves_nothing(ann: Person, chat: str, place: Storage) -> None:
    found = begun(ann, chat)
    parts = put_all(found, some_bytes(SIZE))
    path = f"/media/presigned/{found['uploadId']}"
    assert ann.api.delete(path).status_code == 204
    assert list(place.open_uploads(ALL)) == []
    assert kept(place) == []
    for answer in (ann.api.get(path), ann.api.delete(path), complete(ann, found, parts)):
        assert_problem(answer, "gone", 410)


def test_who_never_completes_leaves_nothing(
    ann: Person, chat: str, place: Storage, clock: Any, limits: Any
) -> None:
    found = begun(ann, chat)
    put(found["parts"][0]["url"], some_bytes(LEAST_PART))
    assert ending.sweep() == 0
    assert list(place.open_uploads(ALL))
    # Until a day is over; nobody's token lives that long.
    Upload.objects.filter(pk=found["uploadId"]).update(expires_at=found["expiresAt"] - 86_400_000)
    assert_problem(ann.api.get(f"/media/presigned/{found['uploadId']}"), "gone", 410)
    assert ending.sweep() == 1
    assert list(place.open_uploads(ALL)) == []
    assert not Upload.objects.filter(pk=found["uploadId"]).exists()
    assert state(found) == State.GONE


def test_two_that_say_so_at_once_make_one_file(
    ann: Person, chat: str, place: Storage, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have seen that all parts are there."""
    data = some_bytes(1_000)
    found = begun(ann, chat, len(data), encrypted=True)
    parts = put_all(found, data)
    both, real = threading.Barrier(2, timeout=20), type(place).list_parts

    def together(self: Storage, *args: Any) -> Any:
        listed = real(self, *args)
        both.wait()
        return listed

    def end(_: int) -> int:
        try:
            return int(complete(ann, found, parts).status_code)
        finally:
            connections.close_all()

    monkeypatch.setattr(type(place), "list_parts", together)
    with ThreadPoolExecutor(2) as pool:
        answers = sorted(pool.map(end, range(2)))
    monkeypatch.undo()
    # Who lost is told so; s3proxy answers two at once with an internal error.
    assert set(answers) <= {200, 409, 503}
    assert complete(ann, found, parts).status_code == 200
    assert Media.objects.get(pk=found["mediaId"]).size == 1_000


@pytest.mark.parametrize(
    ("fields", "code", "status"),
    [
        ({"size": 0}, "bad_request", 400),
        ({"size": "7"}, "bad_request", 400),
        ({"size": 2**31 + 1}, "too_large", 413),
        ({"size": 2**60}, "bad_request", 400),
        ({"fileType": "program"}, "bad_request", 400),
        ({"fileType": "image", "size": 65 * 2**20}, "too_large", 413),
        ({"conversationId": "7"}, "bad_request", 400),
        ({"sha256": "7"}, "bad_request", 400),
        ({"encrypted": "true"}, "bad_request", 400),
        ({"mediaType": "x" * 201}, "bad_request", 400),
    ],
)
@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_what_cannot_begin(
    ann: Person, chat: str, place: Storage, fields: dict[str, Any], code: str, status: int
) -> None:
    assert_problem(begin(ann, chat, **{"size": SIZE, **fields}), code, status)
    assert not Upload.objects.exists()


@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_bytes_and_uploads_are_counted_as_others(ann: Person, chat: str, place: Storage, limits: Any) -> None:
    limits(
        media_bytes_per_hour=1000, media_large_bytes=900, media_large_bytes_per_day=5000, media_open_uploads=3,
        media_least_bytes=1,
    )  # fmt: skip
    assert begin(ann, chat, 600).status_code == 201
    assert_problem(begin(ann, chat, 600), "rate_limited", 429)
    assert begin(ann, chat, 901).status_code == 201
    assert begin(ann, chat, 901).status_code == 201
    assert_problem(begin(ann, chat, 10), "limit_exceeded", 409)


@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_a_storage_that_is_away_begins_nothing(
    ann: Person, chat: str, place: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any, **options: Any) -> str:
        raise StorageUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(type(place), "begin", away)
        assert_problem(begin(ann, chat), "unavailable", 503)
        assert not Upload.objects.exists(), "nobody knows of it"
        assert_problem(begin(ann, chat, key="named"), "unavailable", 503)
    assert len(begin(ann, chat, key="named").json()["parts"]) == 3
    assert Upload.objects.count() == 1


@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_addresses_are_short_lived_and_asked_for_again(
    ann: Person, chat: str, place: Storage, clock: Any
) -> None:
    data = some_bytes(1_000)
    found = begun(ann, chat, len(data))
    assert found["urlsExpireAt"] < found["expiresAt"]
    clock(15 * 60_000 + 1_000)
    assert put(found["parts"][0]["url"], data)[0] == 403
    page = ann.api.get(f"/media/presigned/{found['uploadId']}").json()
    assert page["urlsExpireAt"] > found["urlsExpireAt"]
    assert complete(ann, found, put_all(page, data)).status_code == 200


@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_files_that_are_not_taken(ann: Person, chat: str, place: Storage, settings: Any) -> None:
    found = begun(ann, chat)
    settings.MEDIA = False
    path = f"/media/presigned/{found['uploadId']}"
    for answer in (begin(ann, chat), ann.api.get(path), complete(ann, found, [{"number": 1, "etag": "x"}])):
        assert_problem(answer, "feature_disabled", 501)
    assert put(found["parts"][0]["url"], bytes(LEAST_PART))[0] == 501
    assert ann.api.delete(path).status_code == 204


@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_pages_of_other_origins_may_put_parts(ann: Person, chat: str, place: Storage, settings: Any) -> None:
    settings.CORS_ALLOW_ALL_ORIGINS = False
    settings.CORS_ALLOWED_ORIGINS = ["https://chat.example"]
    url = begun(ann, chat, 1_000)["parts"][0]["url"]
    origin = {"Origin": "https://chat.example"}
    asks = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
    preflight = Client().options(url, headers={**origin, **asks})
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://chat.example"
    assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]
    answer = Client().put(url, bytes(1_000), content_type="image/jpeg", headers=origin)
    assert answer.status_code == 200
    assert "etag" in answer.headers["Access-Control-Expose-Headers"].lower()
