"""What uploads by tus 1.0 are counted by: bytes, uploads that are begun, parts, places."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from media.apis import receiving
from media.models import Media, Upload
from media.storage import Storage
from media.storage.interface import MOST_PARTS
from tests.media.conftest import Person, Tus, assert_problem, direct, sign_in
from tests.media.incoming import MIB, some_bytes, stored
from whatsapp.infra import faults

pytestmark = pytest.mark.django_db


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
