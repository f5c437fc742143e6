"""What a scanner says, and that nobody takes its silence for a yes."""

from __future__ import annotations

import io
import os
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from typing import Any

import pytest

from devtools.clamd import EICAR
from media import scan as scanning
from media.scan import CHUNK, Kind, Scanner, ScannerUnavailable, Verdict
from tests.support import early
from tests.support.clamd import Clamd

#: Seconds in which a bounded answer comes on a busy machine, and in which an unbounded one would have come.
BOUND, LONG_ENOUGH = 60, 2
CLEAN = Verdict(Kind.CLEAN)


def zipped(data: bytes, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("holiday.txt", data)
    return file.getvalue()


def pieces(data: bytes, size: int = 100_000) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


@pytest.fixture
def own_clamd() -> Iterator[Callable[..., Clamd]]:
    """Makes daemons for one test, which may kill and freeze them."""
    made: list[Clamd] = []

    def make(**settings: str) -> Clamd:
        server = Clamd(early.folder("clamd"), settings)
        made.append(server)
        server.start()
        return server

    yield make
    for server in made:
        server.__exit__()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 20 * 2**20])
def test_what_is_clean_is_clean(clamd_server: Clamd, size: int) -> None:
    assert Scanner(clamd_server.url).scan(pieces(os.urandom(size))) == CLEAN


@pytest.mark.parametrize("way", ["url", "unix_url"])
@pytest.mark.parametrize(
    "data",
    [EICAR, zipped(EICAR), zipped(zipped(EICAR)), zipped(b"x" * 2**20 + EICAR), b"x" * (3 * CHUNK) + EICAR],
)
def test_what_is_harmful_is_named(clamd_server: Clamd, way: str, data: bytes) -> None:
    found = Scanner(getattr(clamd_server, way)).scan(pieces(data, 1_000))
    assert found.kind is Kind.INFECTED
    assert found.name.startswith("Eicar-Test-Signature")
    assert not found.clean


def test_many_threads_ask_at_once(clamd_server: Clamd, pool: ThreadPoolExecutor) -> None:
    scanner = Scanner(clamd_server.url)
    asked = [
        (data, pool.submit(scanner.scan, pieces(data))) for data in (EICAR, b"clean", zipped(EICAR), b"") * 5
    ]
    for data, answer in asked:
        assert answer.result(BOUND).clean == (data in (b"clean", b""))


def test_what_we_do_not_send_is_too_large(clamd_server: Clamd) -> None:
    """The piece that is too much is not asked for again."""
    taken: list[int] = []

    def counted() -> Iterator[bytes]:
        for number in range(100):
            taken.append(number)
            yield bytes(CHUNK)

    found = Scanner(clamd_server.url, most_bytes=3 * CHUNK).scan(counted())
    assert found == Verdict(Kind.TOO_LARGE)
    assert not found.clean
    assert len(taken) == 4
    assert Scanner(clamd_server.url, most_bytes=3 * CHUNK).scan([bytes(3 * CHUNK)]) == CLEAN


def test_what_clamd_does_not_take_is_never_clean(own_clamd: Callable[..., Clamd]) -> None:
    """It answers in the middle of what is sent, and hangs up."""
    server = own_clamd(StreamMaxLength="1M", MaxFileSize="1M")
    for _ in range(5):
        try:
            found = Scanner(server.url).scan(pieces(bytes(30 * 2**20)))
        except ScannerUnavailable:
            continue  # its last words were lost with the connection
        assert found == Verdict(Kind.TOO_LARGE)
    assert Scanner(server.url).scan([b"small"]) == CLEAN


@pytest.mark.parametrize("data", [bytes(3 * 2**20) + EICAR, zipped(bytes(3 * 2**20) + EICAR)])
def test_what_clamd_does_not_look_into_is_too_large(own_clamd: Callable[..., Clamd], data: bytes) -> None:
    server = own_clamd(MaxFileSize="2M", MaxScanSize="2M")
    assert Scanner(server.url).scan(pieces(data)) == Verdict(Kind.TOO_LARGE)


def test_twin_without_that_setting_clamd_calls_it_clean(own_clamd: Callable[..., Clamd]) -> None:
    """Why ``AlertExceedsMax yes`` is not a matter of taste."""
    server = own_clamd(MaxFileSize="2M", MaxScanSize="2M", AlertExceedsMax="no")
    assert Scanner(server.url).scan(pieces(bytes(3 * 2**20) + EICAR)) == CLEAN


def test_killed_in_the_middle_there_is_no_verdict(own_clamd: Callable[..., Clamd]) -> None:
    server = own_clamd()

    def dies() -> Iterator[bytes]:
        for number in range(80):
            yield bytes(CHUNK)
            if number == 3:
                server.kill()

    with pytest.raises(ScannerUnavailable):
        Scanner(server.url).scan(dies())
    with pytest.raises(ScannerUnavailable, match="no connection"):
        Scanner(server.url).scan([b"clean"])
    with pytest.raises(ScannerUnavailable):
        Scanner(server.unix_url).scan([b"clean"])
    with pytest.raises(ScannerUnavailable):
        Scanner(server.url).ping()
    server.start()
    Scanner(server.url).ping()
    assert Scanner(server.url).scan([b"clean"]) == CLEAN


@pytest.mark.parametrize("size", [10, 40 * 2**20])
def test_frozen_it_is_waited_for_within_bounds(
    own_clamd: Callable[..., Clamd], pool: ThreadPoolExecutor, size: int
) -> None:
    """While bytes are sent, and after them."""
    server = own_clamd()
    server.freeze()
    scanner = Scanner(server.url, wait_s=0.5, verdict_s=0.5)
    for ask in (lambda: scanner.scan(pieces(bytes(size))), scanner.ping):
        with pytest.raises(ScannerUnavailable):
            pool.submit(ask).result(BOUND)
    server.thaw()
    assert Scanner(server.url).scan(pieces(bytes(size))) == CLEAN


def test_twin_without_bounds_a_frozen_one_holds_its_callers(
    own_clamd: Callable[..., Clamd], pool: ThreadPoolExecutor
) -> None:
    server = own_clamd()
    server.freeze()
    patient = Scanner(server.url, wait_s=600, verdict_s=600)
    waiting: Future[Verdict] = pool.submit(patient.scan, [EICAR])
    with pytest.raises(TimeoutError):
        waiting.result(LONG_ENOUGH)
    server.thaw()
    assert waiting.result(BOUND).kind is Kind.INFECTED


def test_the_whole_has_a_bound_too(clamd_server: Clamd) -> None:
    """However steadily bytes come."""
    done = threading.Event()

    def endless() -> Iterator[bytes]:
        while not done.is_set():
            yield b"x"

    try:
        with pytest.raises(ScannerUnavailable):
            Scanner(clamd_server.url, whole_s=0.3).scan(endless())
    finally:
        done.set()


def test_an_error_of_the_bytes_is_the_callers(clamd_server: Clamd) -> None:
    def fails() -> Iterator[bytes]:
        yield b"some"
        raise RuntimeError("the storage broke off")

    with pytest.raises(RuntimeError, match="broke off"):
        Scanner(clamd_server.url).scan(fails())


# -- answers that are none ----------------------------------------------------------------------------------------------------


@pytest.fixture
def says() -> Iterator[Callable[[bytes], str]]:
    """Makes servers that answer these bytes, whatever they are sent, and hang up."""
    listeners: list[socket.socket] = []

    def make(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while connection.recv(65_536)[-4:] != bytes(4):
                    pass
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"

    yield make
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"stream: OK", b"\0", b"OK\0", b"stream: OK\n\0", b"stream: OKAY\0", b"stream: FOUND\0", b"PONG\0",
        b"stream: Can't allocate memory ERROR\0", b"INSTREAM: no OK\0", b"x" * 100_000, b"stream: OK\0stream: OK",
        b"Command read timed out\0", b"\xff\xfe\0",
    ],
)  # fmt: skip
def test_whatever_is_no_verdict_is_none(says: Callable[[bytes], str], answer: bytes) -> None:
    with pytest.raises(ScannerUnavailable):
        Scanner(says(answer), verdict_s=5).scan([b"x"])


def test_the_answers_of_the_protocol(says: Callable[[bytes], str]) -> None:
    assert Scanner(says(b"stream: OK\0")).scan([b"x"]) == CLEAN
    assert Scanner(says(b"stream: A B FOUND\0")).scan([b"x"]) == Verdict(Kind.INFECTED, "A B")
    limit = b"INSTREAM size limit exceeded. ERROR\0"
    assert Scanner(says(limit)).scan([b"x"]) == Verdict(Kind.TOO_LARGE)
    limit = b"stream: Heuristics.Limits.Exceeded.MaxScanTime FOUND\0"
    assert Scanner(says(limit)).scan([b"x"]) == Verdict(Kind.TOO_LARGE)


def test_clean_before_all_was_sent_is_no_verdict() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        said = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(64)
                connection.sendall(b"stream: OK\0")
                said.set()
                while connection.recv(65_536):
                    pass

        threading.Thread(target=serve, daemon=True).start()

        def slow() -> Iterator[bytes]:
            yield b"first"
            assert said.wait(BOUND)
            for _ in range(1_000):
                yield b"more"

        with pytest.raises(ScannerUnavailable):
            Scanner(f"tcp://127.0.0.1:{listener.getsockname()[1]}").scan(slow())


@pytest.mark.parametrize("kind", list(Kind))
def test_a_verdict_cannot_be_taken_for_a_truth_value(kind: Kind) -> None:
    """``if scan(…)`` and ``if not scan(…)`` are mistakes, and neither passes anything."""
    verdict = Verdict(kind)
    assert verdict.clean is (kind is Kind.CLEAN)
    for mistake in (bool, lambda v: not v, lambda v: v or None):
        with pytest.raises(TypeError, match=r"\.clean"):
            mistake(verdict)


def test_the_scanner_is_a_setting(settings: Any) -> None:
    settings.CLAMD_URL = ""
    assert scanning.scanner() is None
    settings.CLAMD_URL = "tcp://127.0.0.1:1"
    found = scanning.scanner()
    assert found is not None
    with pytest.raises(ScannerUnavailable):
        found.scan([b"x"])
