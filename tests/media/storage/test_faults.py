"""A storage that is down, does not answer, gets other bytes or breaks off; each with a twin that shows what would happen
without what protects from it."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from pathlib import Path
from typing import Any

import botocore.auth
import pytest

from devtools.paths import REPO
from media.storage import NotStored, Storage, StorageUnavailable, s3
from media.storage.guard import Guard
from media.storage.interface import LEAST_PART
from media.storage.local import Local
from media.storage.s3 import S3
from tests.media.storage.conftest import noise
from tests.media.storage.wire import CHANGED, MARK, Wire
from tests.support.buckets import bucket
from tests.support.s3 import S3 as Server
from whatsapp.infra.breaker import CLOSED, HALF_OPEN, OPEN, Policy

TYPE = "application/octet-stream"
#: Seconds in which a bounded answer comes on a busy machine, and in which an unbounded one would have come.
BOUND, LONG_ENOUGH = 60, 2
QUICK = {"S3_TIMEOUT_MS": 300, "S3_TRANSFER_TIMEOUT_MS": 300, "S3_FINISH_TIMEOUT_MS": 300}
NEVER_OPENS = {"S3_BREAKER_FAILURES": 0}

Operation = Callable[[Storage], Any]
OPERATIONS: dict[str, Operation] = {
    "begin": lambda s: s.begin("incoming/x", TYPE),
    "part": lambda s: s.part("incoming/x", "token", 1, b"x"),
    "abort": lambda s: s.abort("incoming/x", "token"),
    "open_uploads": lambda s: list(s.open_uploads(2**50)),
    "put": lambda s: s.put("incoming/x", b"x", TYPE),
    "read": lambda s: s.read("incoming/here"),
    "stream": lambda s: list(s.stream("incoming/here")),
    "describe": lambda s: s.describe("incoming/here"),
    "copy": lambda s: s.copy("incoming/here", "incoming/y"),
    "delete": lambda s: s.delete(["incoming/x"]),
    "keys": lambda s: list(s.keys()),
    "sha256": lambda s: s.sha256("incoming/here"),
}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(20) as threads:
        yield threads


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def back(storage: Storage, clock: Clock | None = None) -> bytes:
    """What it reads, once it does: a server that has just begun, on a busy machine, may take longer than these tests wait."""
    deadline = time.monotonic() + BOUND
    while True:
        if clock:
            clock.now += 5.1
        try:
            return storage.read("incoming/here")
        except StorageUnavailable:
            if time.monotonic() > deadline:
                raise


# -- down, silent -----------------------------------------------------------------------------------------------------------


def test_down_and_silent_are_answered_within_bounds_and_it_comes_back(
    own_s3: Server, pool: ThreadPoolExecutor
) -> None:
    storage, calm = bucket(own_s3.variables(), **QUICK, **NEVER_OPENS), bucket(own_s3.variables())
    calm.put("incoming/here", b"here", TYPE)
    token = calm.begin("incoming/z", TYPE)
    part = calm.part("incoming/z", token, 1, b"part")
    operations = {**OPERATIONS, "complete": lambda s: s.complete("incoming/z", token, [part])}
    own_s3.freeze()
    waiting = {name: pool.submit(operation, storage) for name, operation in operations.items()}
    for name, answer in waiting.items():
        with pytest.raises(StorageUnavailable):
            answer.result(BOUND)
            pytest.fail(f"{name} was answered")
    own_s3.thaw()
    own_s3.kill()
    for operation in operations.values():
        with pytest.raises(StorageUnavailable):
            pool.submit(operation, storage).result(BOUND)
    own_s3.start()
    assert back(storage) == b"here"
    assert calm.complete("incoming/z", token, [part]) == 4


def test_twin_without_bounds_a_silent_server_holds_its_callers(
    own_s3: Server, pool: ThreadPoolExecutor
) -> None:
    storage = bucket(own_s3.variables(), **dict.fromkeys(QUICK, 600_000), **NEVER_OPENS)
    storage.put("incoming/here", b"here", TYPE)
    own_s3.freeze()
    waiting: Future[bytes] = pool.submit(storage.read, "incoming/here")
    with pytest.raises(TimeoutError):
        waiting.result(LONG_ENOUGH)
    own_s3.thaw()
    assert waiting.result(BOUND) == b"here"


def breaking(storage: Storage, failures: int) -> tuple[S3, Clock]:
    """With a breaker on a clock of ours."""
    assert isinstance(storage, S3)
    clock = Clock()
    storage._guard = Guard("bucket test", Policy(failures, 5.0), clock)
    return storage, clock


def test_who_fails_again_and_again_is_left_alone_for_a_while(own_s3: Server) -> None:
    with Wire(own_s3.server.port) as wire:
        bucket(own_s3.variables()).put("incoming/here", b"here", TYPE)
        storage, clock = breaking(bucket(own_s3.variables(wire.url), **QUICK), 3)
        own_s3.freeze()
        for _ in range(3):
            with pytest.raises(StorageUnavailable, match="Timeout"):
                storage.read("incoming/here")
        assert storage._guard.state == OPEN
        asked = wire.connections
        for operation in OPERATIONS.values():
            with pytest.raises(StorageUnavailable, match="left alone"):
                operation(storage)
        assert wire.connections == asked, "nobody waited for it"
        clock.now += 5.1
        assert storage._guard.state == HALF_OPEN
        with pytest.raises(StorageUnavailable, match="Timeout"):
            storage.read("incoming/here")  # one is a trial
        assert storage._guard.state == OPEN
        own_s3.thaw()
        assert back(storage, clock) == b"here"
        assert storage._guard.state == CLOSED


def test_twin_without_a_breaker_each_call_waits_for_itself(own_s3: Server) -> None:
    with Wire(own_s3.server.port) as wire:
        storage, _ = breaking(bucket(own_s3.variables(wire.url), **QUICK), 0)
        own_s3.freeze()
        for count in range(1, 6):
            with pytest.raises(StorageUnavailable, match="Timeout"):
                storage.read("incoming/here")
            assert wire.connections >= count


def test_many_threads_open_it_once_and_answers_that_say_no_do_not(
    own_s3: Server, pool: ThreadPoolExecutor
) -> None:
    storage, clock = breaking(bucket(own_s3.variables()), 3)

    def missing() -> None:
        with pytest.raises(NotStored):
            storage.read("incoming/none")

    for answer in [pool.submit(missing) for _ in range(40)]:
        answer.result(BOUND)
    assert storage._guard.state == CLOSED
    own_s3.kill()

    def refused() -> None:
        with pytest.raises(StorageUnavailable):
            storage.read("incoming/none")

    for answer in [pool.submit(refused) for _ in range(40)]:
        answer.result(BOUND)
    assert storage._guard.state == OPEN
    own_s3.start()
    bucket(own_s3.variables()).put("incoming/here", b"here", TYPE)
    assert back(storage, clock) == b"here"
    assert storage._guard.state == CLOSED


@pytest.mark.needs_s3
def test_a_slow_line_is_slow_and_not_down(s3_server: Server, wire: Wire) -> None:
    """Bounds are for what makes no progress: a part that takes longer than they are passes."""
    storage = bucket(
        {**s3_server.variables(wire.url), "S3_PREFIX": s3_server.new_prefix()}, S3_TIMEOUT_MS=2_000
    )
    token = storage.begin("incoming/x", TYPE)
    wire.pace_s = 0.03
    part = storage.part("incoming/x", token, 1, bytes(6 * 2**20))
    wire.pace_s = 0
    assert storage.complete("incoming/x", token, [part]) == 6 * 2**20


def test_a_server_that_stops_in_the_middle_of_a_part(pool: ThreadPoolExecutor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        storage = bucket(
            {
                "S3_BUCKET": "media",
                "S3_ENDPOINT_URL": f"http://127.0.0.1:{listener.getsockname()[1]}",
                "S3_REGION": "us-east-1",
                "S3_ACCESS_KEY_ID": "k",
                "S3_SECRET_ACCESS_KEY": "s",
                "S3_ADDRESSING_STYLE": "path",
            },
            **QUICK,
        )
        with pytest.raises(StorageUnavailable):
            pool.submit(storage.part, "incoming/x", "token", 1, bytes(32 * 2**20)).result(BOUND)


@pytest.mark.needs_s3
@pytest.mark.parametrize("wrong", [{"S3_SECRET_ACCESS_KEY": "wrong"}, {"S3_BUCKET": "no-such-bucket"}])
def test_a_bucket_that_refuses_is_not_one_without_the_object(
    s3_server: Server, wrong: dict[str, str]
) -> None:
    storage = bucket({**s3_server.variables(), **wrong})
    for ask in (lambda: storage.read("incoming/x"), lambda: storage.put("incoming/x", b"x", TYPE)):
        with pytest.raises(StorageUnavailable):
            ask()


# -- other bytes ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def wire(s3_server: Server) -> Iterator[Wire]:
    with Wire(s3_server.server.port) as between:
        yield between


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


# -- the folder -------------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_said_and_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Local(tmp_path / "media")
    storage.put("media/a", b"old", TYPE)
    token = storage.begin("media/b", TYPE)
    part = storage.part("media/b", token, 1, b"part")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(os, "fsync", full)
        for store in (
            lambda: storage.put("media/a", b"new", TYPE),
            lambda: storage.begin("media/c", TYPE),
            lambda: storage.part("media/b", token, 2, b"part"),
            lambda: storage.complete("media/b", token, [part]),
        ):
            with pytest.raises(StorageUnavailable, match="No space"):
                store()
    assert storage.read("media/a") == b"old"
    assert not list((tmp_path / "media" / ".drafts").iterdir())
    assert storage.complete("media/b", token, [part]) == 4


_WRITER = """
import hashlib, sys
from pathlib import Path
from media.storage.local import Local

here = Local(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    data = hashlib.shake_128(str(number).encode()).digest(6 * 2**20)
    key = "media/" + hashlib.sha256(data).hexdigest()
    if number % 2:
        here.put(key, data, "image/webp")
    else:
        token = here.begin(key, "image/webp")
        parts = [here.part(key, token, 1, data[: 5 * 2**20]), here.part(key, token, 2, data[5 * 2**20 :])]
        here.complete(key, token, parts)
    print(key, flush=True)
"""


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_killed_while_it_writes_nothing_half_is_seen_and_nothing_stays(tmp_path: Path, after: int) -> None:
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path / "media")], env=env, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    said = [writer.stdout.readline().strip() for _ in range(after)]
    writer.kill()
    said += writer.stdout.read().split()
    writer.wait()
    storage = Local(tmp_path / "media")
    found = [entry.key for entry in storage.keys("")]
    assert set(said) <= set(found), "what it said is there"
    for key in found:
        assert key == f"media/{storage.sha256(key)[0]}"
    for upload in storage.open_uploads(2**50):
        storage.abort(upload.key, upload.token)
    assert storage.tidy(0) == 0, "others may be at work"
    storage.tidy(2**50)
    assert not list((tmp_path / "media" / ".drafts").iterdir())
    assert not list((tmp_path / "media" / ".uploads").glob("*"))
    assert set(found) == {entry.key for entry in storage.keys("")}


def test_no_folder_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "media").write_bytes(b"")
    storage = Local(tmp_path / "media")
    with pytest.raises(StorageUnavailable):
        storage.put("media/a", b"x", TYPE)
    assert not list(storage.keys())


def test_an_upload_that_ends_while_a_part_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either the part is refused or the upload is gone: nothing is left of both."""
    storage = Local(tmp_path / "media")
    token = storage.begin("media/a", TYPE)
    real = storage._begun

    def aborted_after(key: str, token: str) -> Any:
        found = real(key, token)
        monkeypatch.setattr(storage, "_begun", real)
        storage.abort(key, token)
        return found

    monkeypatch.setattr(storage, "_begun", aborted_after)
    with pytest.raises(NotStored):
        storage.part("media/a", token, 1, b"part")
    assert not list((tmp_path / "media" / ".uploads").iterdir())


@pytest.mark.parametrize("end", ["complete", "abort"])
def test_who_is_killed_while_an_upload_ends_leaves_nothing_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """What says whose parts they are is deleted, the parts are not; and a part comes at that moment."""
    storage = Local(tmp_path / "media")
    token = storage.begin("media/a", TYPE)
    part = storage.part("media/a", token, 1, b"part")

    class Killed(BaseException):
        pass

    def killed(folder: Path, **options: Any) -> None:
        (folder / "about.json").unlink()
        with monkeypatch.context() as patch:
            patch.setattr(storage, "_begun", lambda *args: {})  # who had looked just before
            with pytest.raises(NotStored):
                storage.part("media/a", token, 2, b"late")
        raise Killed

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(Killed):
        storage.complete("media/a", token, [part]) if end == "complete" else storage.abort("media/a", token)
    monkeypatch.undo()
    assert storage.tidy(2**50) == 1
    assert not list((tmp_path / "media" / ".uploads").iterdir())
    assert not list((tmp_path / "media" / ".drafts").iterdir())
    assert storage.exists("media/a") is (end == "complete")


def test_parts_of_nobody_do_not_stop_the_sweep(tmp_path: Path) -> None:
    storage = Local(tmp_path / "media")
    token = storage.begin("media/a", TYPE)
    storage.part("media/a", token, 1, b"part")
    (tmp_path / "media" / ".uploads" / token / "about.json").unlink()
    assert list(storage.open_uploads(2**50)) == []
    assert storage.tidy(0) == 0, "others may be at work"
    assert storage.tidy(2**50) == 1
    assert not list((tmp_path / "media" / ".uploads").iterdir())


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    storage = Local(tmp_path / "media")
    storage.put("media/2026/a", b"x", TYPE)
    storage.part("media/b", storage.begin("media/b", TYPE), 1, b"x")
    for path in [tmp_path / "media", *(tmp_path / "media").rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
