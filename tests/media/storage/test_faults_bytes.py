"""A bucket that gets other bytes than were sent, forgets an upload or breaks off; each with a twin that shows what would happen
without what protects from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import botocore.auth
import pytest

from media.storage import NotStored, Storage, StorageUnavailable, s3
from media.storage.interface import LEAST_PART
from media.storage.s3 import S3
from tests.media.storage.conftest import noise
from tests.media.storage.wire import CHANGED, MARK, Wire
from tests.support.buckets import bucket
from tests.support.s3 import S3 as Server

TYPE = "application/octet-stream"


# -- other bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.needs_s3
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("checksum", ["md5", "sha256"])
def test_bytes_that_change_on_their_way_are_not_stored(
    s3_server: Server, wire: Wire, monkeypatch: pytest.MonkeyPatch, checksum: str, signed: bool
) -> None:
    """Over TLS the content is not part of the signature: then the checksum alone notices."""
    if not signed:
        unsign(monkeypatch)
    storage = bucket(
        {**s3_server.variables(wire.url), "S3_PREFIX": s3_server.new_prefix()}, S3_CHECKSUM=checksum
    )
    data = MARK * 1_000
    token = storage.begin("incoming/x", TYPE)
    wire.tamper = True
    for store in (
        lambda: storage.part("incoming/x", token, 1, data),
        lambda: storage.put("incoming/y", data, TYPE),
    ):
        with pytest.raises(StorageUnavailable):
            store()
    assert not storage.exists("incoming/y")
    wire.tamper = False
    part = storage.part("incoming/x", token, 1, data)
    storage.complete("incoming/x", token, [part])
    assert storage.read("incoming/x") == data


@pytest.mark.needs_s3
def test_twin_without_checksums_they_are_stored_and_reading_back_tells(
    s3_server: Server, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsign(monkeypatch)
    monkeypatch.setattr(S3, "_checked", lambda *_: {})
    storage = bucket({**s3_server.variables(wire.url), "S3_PREFIX": s3_server.new_prefix()})
    data = MARK * 1_000
    token = storage.begin("incoming/x", TYPE)
    wire.tamper = True
    part = storage.part("incoming/x", token, 1, data)
    wire.tamper = False
    assert storage.complete("incoming/x", token, [part]) == len(data)
    assert CHANGED in storage.read("incoming/x")
    storage.put("incoming/right", data, TYPE)
    assert storage.sha256("incoming/x")[0] != storage.sha256("incoming/right")[0]


def unsign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.auth.S3SigV4Auth, "_should_sha256_sign_payload", lambda *_: False)


@pytest.mark.needs_s3
def test_an_upload_that_is_gone_is_complete_if_the_object_is_of_its_parts(
    s3_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Amazon forgets uploads a while after they were completed; the servers here answer as the first time."""
    storage = bucket({**s3_server.variables(), "S3_PREFIX": s3_server.new_prefix()})
    token = storage.begin("incoming/x", TYPE)
    parts = [
        storage.part("incoming/x", token, 1, noise(LEAST_PART)),
        storage.part("incoming/x", token, 5, b"tail"),
    ]
    assert storage.complete("incoming/x", token, parts) == LEAST_PART + 4
    real = S3._call

    def forgotten(self: S3, what: str, *rest: Any, **asked: Any) -> Any:
        if "complete_multipart_upload" in rest:
            raise NotStored(what)
        return real(self, what, *rest, **asked)

    monkeypatch.setattr(S3, "_call", forgotten)
    assert storage.complete("incoming/x", token, parts) == LEAST_PART + 4
    again = storage.begin("incoming/x", TYPE)
    others = [storage.part("incoming/x", again, 1, noise(LEAST_PART)), parts[1]]
    with pytest.raises(NotStored):  # as large, and other bytes
        storage.complete("incoming/x", again, others)
    storage.put("incoming/x", noise(LEAST_PART + 4), TYPE)
    with pytest.raises(NotStored):
        storage.complete("incoming/x", token, parts)
    storage.delete(["incoming/x"])
    with pytest.raises(NotStored):
        storage.complete("incoming/x", token, parts)


# -- breaks off -------------------------------------------------------------------------------------------------------------


@pytest.mark.needs_s3
def test_a_stream_that_breaks_off_goes_on_where_it_was(s3_server: Server, wire: Wire) -> None:
    storage = bucket({**s3_server.variables(wire.url), "S3_PREFIX": s3_server.new_prefix()})
    data = noise(3 * LEAST_PART)
    storage.put("incoming/x", data, TYPE)
    fresh = bucket({**s3_server.variables(wire.url), "S3_PREFIX": _prefix(storage)})
    wire.cuts = [LEAST_PART + 1_000, LEAST_PART + 2_000, 5_000]
    assert b"".join(fresh.stream("incoming/x", 100_000)) == data
    assert not wire.cuts


@pytest.mark.needs_s3
def test_twin_a_stream_that_does_not_go_on_says_so(
    s3_server: Server, wire: Wire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Never less than all without an error."""
    monkeypatch.setattr(s3, "_RESUMES", 0)
    storage = bucket({**s3_server.variables(wire.url), "S3_PREFIX": s3_server.new_prefix()})
    storage.put("incoming/x", noise(LEAST_PART), TYPE)
    for ask in (
        lambda one: list(one.stream("incoming/x", 100_000)),
        lambda one: one.sha256("incoming/x"),
        lambda one: one.read("incoming/x"),
        lambda one: one.download("incoming/x", tmp_path / "file"),
    ):
        fresh = bucket({**s3_server.variables(wire.url), "S3_PREFIX": _prefix(storage)})
        wire.cuts = [100_000]
        with pytest.raises(StorageUnavailable):
            ask(fresh)
    assert not (tmp_path / "file").exists()


@pytest.mark.needs_s3
def test_a_stream_does_not_go_on_with_another_object(s3_server: Server, wire: Wire) -> None:
    storage = bucket({**s3_server.variables(wire.url), "S3_PREFIX": s3_server.new_prefix()})
    storage.put("incoming/x", noise(3 * LEAST_PART), TYPE)
    fresh = bucket({**s3_server.variables(wire.url), "S3_PREFIX": _prefix(storage)})
    wire.cuts = [LEAST_PART]
    pieces = fresh.stream("incoming/x", 100_000)
    next(pieces)
    storage.put("incoming/x", noise(3 * LEAST_PART), TYPE)
    with pytest.raises((StorageUnavailable, NotStored)):
        list(pieces)


def _prefix(storage: Storage) -> str:
    assert isinstance(storage, S3)
    return storage._location
