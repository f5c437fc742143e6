"""tus 1.0 against the views: offsets, lengths, checksums, names. Over sockets: ``test_uploads.py``."""

from __future__ import annotations

import base64
import hashlib
import random
from typing import Any

import pytest

from media.models import Media, State
from media.services import contents
from media.storage import Storage
from tests.media.conftest import Person, Tus, assert_problem, kept, sign_in, some_id
from tests.media.incoming import MIB, some_bytes, state, stored
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db


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
