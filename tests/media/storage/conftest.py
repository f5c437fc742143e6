"""One suite over both storages: ``place`` is a folder, then a bucket of a real S3 server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from media.storage import Storage
from media.storage.local import Local
from tests.media.storage.wire import Wire
from tests.support import early
from tests.support.buckets import bucket
from tests.support.s3 import S3


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@dataclass
class Place:
    kind: str
    storage: Storage

    def key(self, name: str = "") -> str:
        """A key that nobody else uses."""
        return f"incoming/{uuid.uuid4()}{name}"


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.needs_s3)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return Place("local", Local(tmp_path / "media"))
    server: S3 = request.getfixturevalue("s3_server")
    return Place("s3", bucket({**server.variables(), "S3_PREFIX": server.new_prefix()}))


@pytest.fixture(scope="module")
def killable() -> Iterator[S3]:
    """A server of these tests alone."""
    with S3(early.folder("s3")) as server:
        yield server


@pytest.fixture
def own_s3(killable: S3) -> Iterator[S3]:
    """An S3 server that a test may kill and freeze; the next one finds it alive."""
    yield killable
    killable.thaw()
    assert killable.child is not None
    if killable.child.pid is None:
        killable.start()


@pytest.fixture
def wire(s3_server: S3) -> Iterator[Wire]:
    """What lies between a storage and the S3 server of everybody, and may harm what passes."""
    with Wire(s3_server.server.port) as between:
        yield between


def noise(size: int) -> bytes:
    return os.urandom(size)
