"""Uploads in parts, in a folder and in a bucket alike."""

from __future__ import annotations

import base64
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from media.storage import NotStored, Part, WrongParts
from media.storage.interface import LEAST_PART, MOST_PART, MOST_PARTS
from tests.media.storage.conftest import Place, noise

TYPE = "application/octet-stream"
SOON = 2**50  # ms: after everything


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("last", [0, 1, LEAST_PART - 1, LEAST_PART, LEAST_PART + 1])
def test_parts_make_an_object(place: Place, last: int) -> None:
    key, storage = place.key(), place.storage
    first, second = noise(LEAST_PART), noise(last)
    token = storage.begin(key, "video/mp4", {"user-id": "u1"}, "private")
    parts = [storage.part(key, token, 1, first), storage.part(key, token, 2, second)]
    assert [(part.number, part.size) for part in parts] == [(1, LEAST_PART), (2, last)]
    assert parts[0].sha256_b64 == base64.b64encode(hashlib.sha256(first).digest()).decode()
    assert not storage.exists(key), "nothing is seen before the end"
    assert storage.complete(key, token, parts) == LEAST_PART + last
    assert storage.sha256(key) == (digest(first + second), LEAST_PART + last)
    found = storage.describe(key)
    assert (found.media_type, found.metadata, found.cache_control) == (
        "video/mp4",
        {"user-id": "u1"},
        "private",
    )
    assert not list(storage.open_uploads(SOON))


@pytest.mark.parametrize("size", [0, 1, 100])
def test_one_part_may_be_small(place: Place, size: int) -> None:
    key, data = place.key(), noise(size)
    token = place.storage.begin(key, TYPE)
    assert place.storage.complete(key, token, [place.storage.part(key, token, 1, data)]) == size
    assert place.storage.read(key) == data


def test_numbers_may_have_gaps_and_come_in_any_order(place: Place) -> None:
    key, storage = place.key(), place.storage
    data = {3: noise(LEAST_PART), 70: noise(LEAST_PART + 3), MOST_PARTS: b"tail"}
    token = storage.begin(key, TYPE)
    parts = {number: storage.part(key, token, number, data[number]) for number in (MOST_PARTS, 3, 70)}
    storage.complete(key, token, [parts[number] for number in sorted(parts)])
    assert storage.sha256(key)[0] == digest(b"".join(data.values()))


def test_a_part_stored_again_replaces_the_first_and_others_may_be_left_out(place: Place) -> None:
    key, storage = place.key(), place.storage
    token = storage.begin(key, TYPE)
    storage.part(key, token, 1, b"first")
    storage.part(key, token, 2, b"left out")
    again = storage.part(key, token, 1, memoryview(b"again"))
    assert storage.complete(key, token, [again]) == 5
    assert storage.read(key) == b"again"


def test_parts_are_stored_at_once_by_many_threads(place: Place) -> None:
    key, storage = place.key(), place.storage
    token = storage.begin(key, TYPE)
    data = [noise(LEAST_PART) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        parts = list(pool.map(lambda n: storage.part(key, token, n + 1, data[n]), range(6)))
    storage.complete(key, token, parts)
    assert storage.sha256(key)[0] == digest(b"".join(data))


def test_completed_twice_is_completed_once(place: Place) -> None:
    """Its answer may have been lost."""
    key, storage = place.key(), place.storage
    token = storage.begin(key, TYPE)
    parts = [storage.part(key, token, 1, noise(LEAST_PART)), storage.part(key, token, 4, b"tail")]
    assert storage.complete(key, token, parts) == storage.complete(key, token, parts) == LEAST_PART + 4
    assert storage.size(key) == LEAST_PART + 4


def test_two_uploads_of_one_key_do_not_touch_each_other(place: Place) -> None:
    key, storage = place.key(), place.storage
    one, two = storage.begin(key, TYPE), storage.begin(key, TYPE)
    assert one != two
    first, second = storage.part(key, one, 1, b"one"), storage.part(key, two, 1, b"two")
    storage.complete(key, one, [first])
    assert storage.read(key) == b"one"
    storage.complete(key, two, [second])
    assert storage.read(key) == b"two"


def test_what_makes_no_object_is_refused_and_the_upload_stays(place: Place) -> None:
    key, storage = place.key(), place.storage
    token = storage.begin(key, TYPE)
    small, next_, big = (
        storage.part(key, token, 1, b"small"),
        storage.part(key, token, 2, b"next"),
        storage.part(key, token, 3, noise(LEAST_PART)),
    )
    never = Part(9, small.etag, small.size, small.sha256_b64)
    other = Part(3, small.etag, LEAST_PART, small.sha256_b64)
    for parts in ([], [small, next_], [next_, small], [big, big], [never], [other]):
        with pytest.raises(WrongParts):
            storage.complete(key, token, parts)
    assert not storage.exists(key)
    assert (
        storage.complete(key, token, [big, Part(9, *_of(storage.part(key, token, 9, b"end")))])
        == LEAST_PART + 3
    )


def _of(part: Part) -> tuple[str, int, str]:
    return part.etag, part.size, part.sha256_b64


def test_an_aborted_upload_is_gone_and_may_be_aborted_again(place: Place) -> None:
    key, storage = place.key(), place.storage
    token = storage.begin(key, TYPE)
    part = storage.part(key, token, 1, b"part")
    storage.abort(key, token)
    storage.abort(key, token)
    with pytest.raises(NotStored):
        storage.complete(key, token, [part])
    assert not storage.exists(key)
    assert not list(storage.open_uploads(SOON))


def test_aborting_what_is_complete_leaves_the_object(place: Place) -> None:
    key, storage = place.key(), place.storage
    token = storage.begin(key, TYPE)
    storage.complete(key, token, [storage.part(key, token, 1, b"part")])
    storage.abort(key, token)
    assert storage.read(key) == b"part"


def test_the_uploads_of_others_are_not_taken_for_ours(place: Place) -> None:
    """A token with another key, a made-up one, and one that would leave its folder."""
    key, storage = place.key(), place.storage
    token = storage.begin(key, TYPE)
    part = storage.part(key, token, 1, b"part")
    for wrong in ("0" * 32, "no-such-upload", "../../x"):
        with pytest.raises(NotStored):
            storage.complete(key, wrong, [part])
        storage.abort(key, wrong)
    with pytest.raises((NotStored, WrongParts)):
        storage.complete(place.key(), token, [part])
    assert storage.complete(key, token, [part]) == 4


def test_forgotten_uploads_are_found_by_their_age(place: Place) -> None:
    storage = place.storage
    keys = sorted(place.key() for _ in range(3))
    tokens = {key: storage.begin(key, TYPE) for key in keys}
    storage.part(keys[0], tokens[keys[0]], 1, b"part")
    found = {upload.key: upload for upload in storage.open_uploads(SOON)}
    assert {key: upload.token for key, upload in found.items()} == tokens
    now_ms = time.time() * 1000
    assert all(abs(upload.begun_ms - now_ms) < 600_000 for upload in found.values())
    assert not list(storage.open_uploads(min(upload.begun_ms for upload in found.values())))
    for upload in found.values():
        storage.abort(upload.key, upload.token)
    assert not list(storage.open_uploads(SOON))


@pytest.mark.parametrize("number", [0, -1, MOST_PARTS + 1])
def test_numbers_have_bounds(place: Place, number: int) -> None:
    key = place.key()
    token = place.storage.begin(key, TYPE)
    with pytest.raises(ValueError, match="part numbers"):
        place.storage.part(key, token, number, b"")
    place.storage.abort(key, token)


def test_parts_have_a_bound(place: Place) -> None:
    key = place.key()
    token = place.storage.begin(key, TYPE)
    with pytest.raises(ValueError, match="at most"):
        place.storage.part(key, token, 1, bytes(MOST_PART + 1))
    part = place.storage.part(key, token, 1, bytes(MOST_PART))
    assert place.storage.complete(key, token, [part]) == MOST_PART
