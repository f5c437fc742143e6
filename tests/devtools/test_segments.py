"""Segments of PostgreSQL's log: sealed when they are whole, lost by nobody's death, opened or refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devtools import sealed, segments
from devtools.errors import DevError
from devtools.keyring import Keyring
from devtools.paths import REPO
from devtools.segments import GIVE_UP, SIZE, Log, Segments, name_of, number_of

NAMES = [name_of("00000001", number) for number in range(254, 258)]


class Received:
    """A generation with three whole segments and one that is being received."""

    def __init__(self, root: Path) -> None:
        self.ring = Keyring.make(root / "keys")
        self.vault = root / "vault"
        self.generation = self.vault / "g"
        self.wal = self.generation / "wal"
        self.wal.mkdir(parents=True)
        self.receiving = self.ring.receiving("g")
        self.receiving.mkdir(parents=True)
        self.content = {name: os.urandom(100_000) for name in NAMES[:3]} | {NAMES[3]: os.urandom(SIZE)}
        for name in NAMES[:3]:
            (self.receiving / name).write_bytes(self.content[name])
        (self.receiving / f"{NAMES[3]}.partial").write_bytes(self.content[NAMES[3]])
        self.spool = root / "spool"
        self.spool.mkdir()

    def log(self) -> Log:
        return Log(self.generation, Keyring.open(self.ring.root))

    def had(self) -> dict[str, bytes]:
        """Every segment that a restore would get."""
        target = self.spool / "one"
        return {name: target.read_bytes() for name in NAMES if self.log().fetch(name, target)}

    def ask(self, name: str, target: Path) -> subprocess.CompletedProcess[str]:
        """As PostgreSQL does."""
        return subprocess.run(
            [
                sys.executable, "-m", "devtools.segments", "--vault", str(self.vault), "--keys", str(self.ring.root),
                "--generation", "g", "--spool", str(self.spool), name, str(target),
            ],
            cwd=REPO, capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture
def received(tmp_path: Path) -> Received:
    return Received(tmp_path)


def test_what_is_whole_is_sealed_and_the_newest_is_left_alone(received: Received) -> None:
    poll = Segments(received.ring, "g", received.wal).poll
    assert poll() == 3
    assert poll() == 0
    assert sorted(path.name for path in received.wal.iterdir()) == [f"{name}.sealed" for name in NAMES[:3]]
    assert [path.name for path in received.receiving.iterdir()] == [f"{NAMES[3]}.partial"]
    # It is where pg_receivewal finds out where to go on, whole or not.
    (received.receiving / f"{NAMES[3]}.partial").rename(received.receiving / NAMES[3])
    assert poll() == 0
    assert received.had() == received.content


@pytest.mark.parametrize("step", ["plain written", "sealed half", "sealed", "key made"])
def test_who_is_killed_at_any_step_loses_no_segment(received: Received, step: str) -> None:
    """In a process that ends there, without a word to anybody."""
    program = f"""
import os
from pathlib import Path
from devtools import sealed, segments
from devtools.keyring import Keyring
def die(*args, **kwargs):
    os._exit(9)
step = {step!r}
if step == "plain written":
    sealed.seal = die
elif step == "sealed half":
    sealed.Sealer.finish = die
elif step == "sealed":
    sealed.shred = die
else:
    begin = Keyring.begin
    Keyring.begin = lambda self, generation: die(begin(self, generation))
segments.Segments(Keyring.open(Path({str(received.ring.root)!r})), "g", Path({str(received.wal)!r})).poll()
"""
    died = subprocess.run(
        [sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert died.returncode == 9, died.stderr
    assert received.had() == received.content
    assert received.log().gap(NAMES[0]) == ""
    assert (
        Segments(received.ring, "g", received.wal).poll() >= 2
    )  # one may be sealed, and was being overwritten
    assert received.had() == received.content
    assert [path.name for path in received.receiving.iterdir()] == [f"{NAMES[3]}.partial"]


def test_twin_who_deletes_before_it_is_sealed_loses_one(
    received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dead, pytest.raises(KeyboardInterrupt):

        def die(source: object, target: Path, *rest: object) -> None:
            (received.receiving / target.name.removesuffix(".sealed")).unlink()
            raise KeyboardInterrupt

        dead.setattr(sealed, "seal", die)
        Segments(received.ring, "g", received.wal).poll()
    assert received.had() != received.content
    assert received.log().gap(NAMES[0]) == NAMES[0]


def test_a_segment_that_came_again_is_sealed_again(received: Received) -> None:
    """As when the server was restored to a slot of a moment before: it has the same content."""
    poll = Segments(received.ring, "g", received.wal).poll
    poll()
    (received.receiving / f"{NAMES[1]}.partial").write_bytes(b"half of it, zeros behind")
    (received.receiving / NAMES[2]).write_bytes(received.content[NAMES[2]])
    assert poll() == 1
    assert received.had() == received.content, "the half does not stand before the whole"


def test_postgresql_gets_a_segment_and_those_behind_it(received: Received, tmp_path: Path) -> None:
    Segments(received.ring, "g", received.wal).poll()
    target = tmp_path / "RECOVERYXLOG"
    assert received.ask(NAMES[0], target).returncode == 0
    assert target.read_bytes() == received.content[NAMES[0]]
    assert {path.name: path.read_bytes() for path in received.spool.iterdir()} == {
        name: received.content[name] for name in NAMES[1:]
    }
    none = received.ask(name_of("00000001", 258), target)
    assert none.returncode == 1
    assert received.ask("00000002.history", target).returncode == 1


@pytest.mark.parametrize("how", ["flipped", "cut", "exchanged", "key destroyed", "key lost"])
def test_what_does_not_open_is_not_taken_for_the_end_of_the_log(
    received: Received, tmp_path: Path, how: str
) -> None:
    Segments(received.ring, "g", received.wal).poll()
    path, other = (received.wal / f"{NAMES[number]}.sealed" for number in (1, 2))
    data = path.read_bytes()
    if how == "flipped":
        path.write_bytes(data[:70_000] + bytes([data[70_000] ^ 1]) + data[70_001:])
    elif how == "cut":
        path.write_bytes(data[: 56 + 65_552])
    elif how == "exchanged":
        shutil.copy(other, path)
    elif how == "key destroyed":
        received.ring.destroy(received.ring.periods()[0])
    else:
        received.ring.periods()[0].file.unlink()
    with pytest.raises(DevError, match=str(path)):
        received.log().fetch(NAMES[1], tmp_path / "x")
    assert not (tmp_path / "x").exists()
    if how in ("flipped", "key lost"):  # a process is dear
        asked = received.ask(NAMES[1], tmp_path / "x")
        assert asked.returncode == GIVE_UP
        assert f"{segments.UNOPENED}{path}" in asked.stderr


def test_a_segment_that_is_missing_is_told(received: Received) -> None:
    Segments(received.ring, "g", received.wal).poll()
    assert received.log().gap(NAMES[0]) == ""
    assert received.log().gap(name_of("00000001", 300)) == "", "none of it has come yet"
    (received.wal / f"{NAMES[1]}.sealed").unlink()
    assert received.log().gap(NAMES[0]) == NAMES[1]
    assert received.log().gap(NAMES[2]) == ""


def test_a_server_that_cannot_come_here_gets_all_of_it_before(received: Received, tmp_path: Path) -> None:
    Segments(received.ring, "g", received.wal).poll()
    (received.receiving / "00000002.history").write_text("1")
    received.log().fetch_all(tmp_path / "all")
    assert {path.name: path.read_bytes() for path in (tmp_path / "all").iterdir()} == {
        **received.content,
        "00000002.history": b"1",
    }


def test_who_is_killed_while_it_overwrites_a_segment_does_not_seal_what_is_left_of_it(
    received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(path: Path) -> None:
        path.write_bytes(bytes(path.stat().st_size))
        raise OSError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(sealed, "shred", dies)
        with pytest.raises(OSError, match="killed"):
            Segments(received.ring, "g", received.wal).poll()
    again = Segments(received.ring, "g", received.wal)
    again.start()
    again.stop()
    assert received.had() == received.content
    assert [path.name for path in received.receiving.iterdir()] == [f"{NAMES[3]}.partial"]


def test_a_sealer_begins_without_the_halves_of_one_that_was_killed(received: Received) -> None:
    half = received.wal / f".{NAMES[0]}.sealed.4711"
    half.write_bytes(b"half")
    segments = Segments(received.ring, "g", received.wal)
    segments.start()
    segments.stop()
    assert sorted(path.name for path in received.wal.iterdir()) == [f"{name}.sealed" for name in NAMES[:3]]


def test_a_vault_that_is_away_is_not_made_anew(received: Received) -> None:
    aside = received.wal.rename(received.wal.with_name("aside"))
    segments = Segments(received.ring, "g", received.wal)
    with pytest.raises(FileNotFoundError, match="is not there"):
        segments.poll()
    assert not received.wal.exists()
    aside.rename(received.wal)
    assert segments.poll() == 3


def test_numbers_of_segments() -> None:
    assert NAMES[1:3] == ["0000000100000000000000FF", "000000010000000100000000"]
    assert [number_of(name) for name in NAMES] == [254, 255, 256, 257]
