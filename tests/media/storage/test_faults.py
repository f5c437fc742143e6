"""A bucket that is down or does not answer; each with a twin that shows what would happen without what protects from it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from typing import Any

import pytest

from media.storage import NotStored, Storage, StorageUnavailable
from media.storage.guard import Guard
from media.storage.s3 import S3
from tests.media.storage.wire import Wire
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
