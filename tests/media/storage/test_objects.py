"""Whole objects, in a folder and in a bucket alike."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from media.storage import NotStored
from media.storage.interface import CHUNK, OWN_PART
from tests.media.storage.conftest import Place, noise


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, OWN_PART + 1])
def test_what_is_put_is_what_is_read(place: Place, tmp_path: Path, size: int) -> None:
    key, data, storage = place.key(), noise(size), place.storage
    assert storage.put(key, data, "image/webp") == size
    assert storage.read(key) == data
    assert storage.size(key) == size
    assert storage.sha256(key) == (hashlib.sha256(data).hexdigest(), size)
    assert b"".join(storage.stream(key, 100_000)) == data
    assert all(0 < len(piece) <= 100_000 for piece in storage.stream(key, 100_000))
    assert storage.download(key, tmp_path / "file") == size
    assert (tmp_path / "file").read_bytes() == data


@pytest.mark.parametrize("size", [0, 5, OWN_PART, OWN_PART + 5])
def test_a_file_is_put_as_it_is(place: Place, tmp_path: Path, size: int) -> None:
    """Above one part of ours it goes in parts."""
    data, key = noise(size), place.key()
    (tmp_path / "file").write_bytes(data)
    assert place.storage.put(key, tmp_path / "file", "video/mp4", {"user-id": "u1"}, "private") == size
    assert place.storage.sha256(key) == (hashlib.sha256(data).hexdigest(), size)
    found = place.storage.describe(key)
    assert (found.media_type, found.metadata, found.cache_control) == (
        "video/mp4",
        {"user-id": "u1"},
        "private",
    )
    assert not list(place.storage.open_uploads(2**50))


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_bytes_may_come_in_any_kind(place: Place, make: type) -> None:
    key = place.key()
    assert place.storage.put(key, make(b"hello"), "text/plain") == 5
    assert place.storage.read(key) == b"hello"


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, 3, b"012"),
        (3, None, b"3456789"),
        (8, 5, b"89"),
        (9, 1, b"9"),
        (10, None, b""),
        (50, 2, b""),
        (4, 0, b""),
    ],
)
def test_a_piece_is_read(place: Place, start: int, length: int | None, expected: bytes) -> None:
    key = place.key()
    place.storage.put(key, b"0123456789", "text/plain")
    assert place.storage.read(key, start, length) == expected


def test_what_is_said_of_an_object(place: Place) -> None:
    key, storage = place.key(), place.storage
    storage.put(key, b"one", "image/webp", {"user-id": "u1", "conversation-id": "c1"}, "private, max-age=60")
    found = storage.describe(key)
    assert (found.key, found.size, found.media_type) == (key, 3, "image/webp")
    assert found.metadata == {"user-id": "u1", "conversation-id": "c1"}
    assert found.cache_control == "private, max-age=60"
    assert found.etag.strip('"') == found.etag[1:-1]
    assert found.modified_ms > 1_700_000_000_000
    storage.put(key, b"other", "image/png")
    again = storage.describe(key)
    assert (again.size, again.media_type, again.metadata) == (5, "image/png", {})
    assert again.etag != found.etag


def test_what_is_not_there(place: Place, tmp_path: Path) -> None:
    key, storage = place.key(), place.storage
    assert not storage.exists(key)
    storage.delete([key, place.key()])
    for ask in (
        storage.read,
        storage.size,
        storage.describe,
        storage.sha256,
        lambda key: next(iter(storage.stream(key))),
    ):
        with pytest.raises(NotStored):
            ask(key)
    with pytest.raises(NotStored):
        storage.read(key, 0, 0)
    with pytest.raises(NotStored):
        storage.download(key, tmp_path / "file")
    assert not (tmp_path / "file").exists()
    with pytest.raises(NotStored):
        storage.copy(key, place.key())


def test_copies_keep_or_change_what_is_beside(place: Place) -> None:
    source, target, storage = place.key(), place.key(), place.storage
    storage.put(source, b"hello", "text/plain", {"user-id": "u1"}, "private")
    storage.copy(source, target)
    assert storage.read(target) == b"hello"
    found = storage.describe(target)
    assert (found.media_type, found.metadata, found.cache_control) == (
        "text/plain",
        {"user-id": "u1"},
        "private",
    )
    storage.copy(source, source, {"user-id": "u2"})  # onto itself: only what is beside it is new
    assert storage.read(source) == b"hello"
    assert storage.describe(source).metadata == {"user-id": "u2"}
    storage.delete([source])
    assert storage.read(target) == b"hello"


def test_a_copy_of_bytes_that_were_replaced_is_refused(place: Place) -> None:
    source, target, storage = place.key(), place.key(), place.storage
    storage.put(source, b"hello", "text/plain")
    etag = storage.describe(source).etag
    storage.copy(source, target, etag=etag)
    assert storage.read(target) == b"hello"
    storage.delete([target])
    storage.put(source, b"other", "text/plain")
    for _ in range(10):  # an answer, not a fault of the server: its breaker stays closed
        with pytest.raises(NotStored):
            storage.copy(source, target, etag=etag)
    assert not storage.exists(target)
    storage.copy(source, target, etag=storage.describe(source).etag)
    assert storage.read(target) == b"other"


def test_deletes_come_in_batches_and_may_come_twice(place: Place) -> None:
    storage = place.storage
    keys = [place.key() for _ in range(4)]
    for key in keys:
        storage.put(key, b"x", "text/plain")
    storage.delete(keys[:3])
    storage.delete(keys[:3])
    assert [storage.exists(key) for key in keys] == [False, False, False, True]
    storage.delete(iter([]))


def test_keys_are_listed_in_their_order(place: Place) -> None:
    storage = place.storage
    names = ["media/a-b/x", "media/a/x", "media/a.b", "media/b", "media/c/d/e", "incoming/z"]
    for name in names:
        storage.put(name, name.encode(), "text/plain")
    listed = list(storage.keys())
    assert [entry.key for entry in listed] == sorted(names)
    assert all(entry.size == len(entry.key) and entry.modified_ms > 1_700_000_000_000 for entry in listed)
    for prefix in ("media/", "media/a", "media/c/d", "incoming/", "none"):
        assert [entry.key for entry in storage.keys(prefix)] == sorted(
            n for n in names if n.startswith(prefix)
        )
    for after in (*names, "media/a-b", "media/a0", "media/", "zzz"):
        expected = sorted(n for n in names if n.startswith("media/") and n > after)
        assert [entry.key for entry in storage.keys("media/", after)] == expected, after


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        "a/",
        ".about/x",
        "a/.x",
        "a b",
        "a\0b",
        "é",
        "a\n",
        "x" * 513,
    ],
)
def test_bad_keys_reach_no_storage(place: Place, key: str) -> None:
    storage = place.storage
    for act in (
        lambda: storage.put(key, b"", "text/plain"),
        lambda: storage.read(key),
        lambda: storage.describe(key),
        lambda: storage.begin(key, "text/plain"),
        lambda: storage.part(key, "0" * 32, 1, b""),
        lambda: storage.abort(key, "0" * 32),
        lambda: storage.delete([key]),
        lambda: storage.signed_url(key, expires_s=60, media_type="text/plain", now_ms=0),
    ):
        with pytest.raises(ValueError, match="is no key"):
            act()


@pytest.mark.parametrize(
    "metadata", [{"Name": "x"}, {"a": "ä"}, {"a": "x\r\ny"}, {"a": " x"}, {"a": "x" * 2_048}, {"": "x"}]
)
def test_bad_metadata_is_refused(place: Place, metadata: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="metadata"):
        place.storage.put(place.key(), b"", "text/plain", metadata)


@pytest.mark.parametrize("media_type", ["", "text", "text/html; charset=utf-8", "a/b\r\nx: y", "Text/Html"])
def test_bad_media_types_are_refused(place: Place, media_type: str) -> None:
    with pytest.raises(ValueError, match="media type"):
        place.storage.begin(place.key(), media_type)
