"""The bench of media: its arithmetic, its samples, that what grew is told, and all of it once, small, on a whole system."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from bench import media, media_samples, media_tools, media_uploads, memory
from bench.generator import Generators, LoadError
from bench.phases import Bench
from bench.stack import System
from bench.uploads import Uploader
from media.tools import kinds

SAMPLES: list[memory.Sample] = [
    (0.0, {"gateway-1": 100 * 1024, "postgres": 1024}),
    (1.04, {"gateway-1": 130 * 1024, "postgres": 2048}),
    (2.0, {"gateway-1": 110 * 1024, "postgres": 2048}),
]


def test_memory_is_what_was_held_at_most_and_over_time() -> None:
    found = memory.figures(SAMPLES)
    assert found["gateway-1"] == {
        "first_mb": 100, "last_mb": 110, "most_mb": 130, "growth_mb": 30,
        "over_time": [[0.0, 100], [1.0, 130], [2.0, 110]],
    }  # fmt: skip
    assert found["postgres"]["growth_mb"] == 1
    assert memory.told(found).splitlines() == [
        "PSS in MB after s        0       1       2    most",
        "gateway-1            100.0   130.0   110.0   130.0",
        "postgres               1.0     2.0     2.0     2.0",
    ]


def test_what_a_process_takes_is_seen() -> None:
    code = "import sys; print(flush=True); sys.stdin.readline(); a = bytearray(40 << 20); print(flush=True); sys.stdin.readline()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdout.readline()
        with memory.Watch({"it": process.pid}, every_s=60) as watch:
            process.stdin.write(b"\n")
            process.stdin.flush()
            process.stdout.readline()
        assert 39 < memory.figures(watch.samples)["it"]["growth_mb"] < 50
    finally:
        process.communicate()


def test_cpu_of_children_counts() -> None:
    work = "import time\nwhile time.process_time() < 0.3: pass"
    used, wall = media_tools.used_by(lambda: subprocess.run([sys.executable, "-c", work], check=True))
    assert 0.3 <= used < 2
    assert wall > 0
    idle, _ = media_tools.used_by(lambda: None)
    assert idle < 0.1


def test_ours_and_the_bare_tool_make_the_same_of_a_photo_and_a_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photo,) = media_samples.photos(1, (640, 480), 60_000)
    for name, content in (("photo.jpg", photo), ("text.pdf", media_samples.document(2))):
        (tmp_path / name).write_bytes(content)
    here = Path(media_tools.__file__).parent
    found = [
        media_tools.Comparison(
            "photo", tmp_path / "photo.jpg", media_tools._picture,
            (str(here / "bare_picture.py"), str(tmp_path / "photo.jpg"), "full.webp", "thumb.jpg"),
        ),
        media_tools.Comparison(
            "page", tmp_path / "text.pdf", media_tools._document,
            (str(here / "bare_pdf.py"), str(tmp_path / "text.pdf"), "poster.jpg", "thumb.jpg"),
        ),
    ]  # fmt: skip
    sizes: list[tuple[int, ...]] = []

    def seen(one: Any) -> None:
        subprocess.run([sys.executable, *one.bare], cwd=tmp_path, check=True)
        sizes.append(Image.open(tmp_path / one.bare[-2]).size)
        with media_tools.folder() as place:
            made: Any = one.ours(place, one.source)
            sizes.append((made[0].width, made[0].height))

    monkeypatch.setattr(media_tools, "_bare", seen)
    figures = media_tools.measure(found, 1, lambda text: None)
    assert sizes[::2] == sizes[1::2]
    for name in ("photo", "page"):
        median = figures[name]["median"]
        assert median["ours"] > 0
        assert median["ratio"] == pytest.approx(median["ours"] / median["bare"], rel=0.01)


@pytest.mark.needs_packages
def test_the_bare_ffmpeg_gets_the_arguments_of_ours(tmp_path: Path) -> None:
    note = tmp_path / "note.m4a"
    media_samples.voice(note, 1)
    one = media_tools.Comparison("voice", note, media_tools._voice)
    media_tools._ours(one)
    assert media_tools._commands["voice"][0] == "ffmpeg"
    assert "libopus" in media_tools._commands["voice"]
    media_tools._bare(one)


def test_what_is_above_the_aim_is_told() -> None:
    def of(ratio: float) -> dict[str, Any]:
        return {
            "median": {"ours": ratio, "bare": 1.0, "ratio": ratio},
            "spread": {"ratio": [1.0, ratio]},
            "runs": [],
        }

    _, good, bad = media_tools.told({"voice": of(1.19), "stills": of(1.21)}).splitlines()
    assert "ABOVE" not in good
    assert bad.endswith("1.00 to 1.21  ABOVE")


def test_photos_and_noise_are_never_the_same_twice() -> None:
    files = media_samples.photos(3, (640, 480), 60_000)
    assert len(set(files)) == 3
    assert all(20_000 < len(file) < 70_000 for file in files)
    assert Image.open(io.BytesIO(files[0])).size == (640, 480)
    pieces = list(media_samples.noise(2 * media_samples.PIECE + 5, 1))
    assert list(map(len, pieces)) == [media_samples.PIECE, media_samples.PIECE, 5]
    assert pieces[0] != pieces[1]
    assert next(media_samples.noise(100, 1)) != next(media_samples.noise(100, 2))


def test_a_document_is_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(media_samples.document())
    assert kinds.identify(tmp_path / "a", "") is kinds.PDF


def test_cpu_is_told_for_a_gigabyte() -> None:
    found = media_uploads._per_gb({"gateways": 0.5, "workers": 0.25}, 2**28)
    assert found == {"gateways": 2.0, "workers": 1.0, "total": 3.0}


def test_a_refused_upload_ends_the_bench(stack: Any) -> None:
    with pytest.raises(LoadError, match="answered 401"):
        Uploader(stack.stack.port, "nobody", "0193c1f0-0000-8000-8000-000000000000").tus(5, [b"hello"])


@pytest.fixture
def bench(stack: Any) -> Bench:
    words = "--size 5 --photos 2 --at-once 2 --runs 1 --uploaders 2 --each 1 --upload-mib 1"
    args = media.options().parse_args(words.split())
    return Bench(args, System.around(stack.stack), Generators(0), lambda text: None)


def test_uploads(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    parts = tuple(part for part in media.PARTS if part != "tools")
    result = media.measure(bench, parts, {"date": "today"})
    assert not result["checks"]["problems"]
    assert result["large"]["memory"].keys() >= {"gateway-1", "worker-1", "postgres"}
    assert result["large"]["mb_per_second"] > 0
    for name in ("one_by_one", "at_once"):
        seconds = result["photos"][name]["median"]["seconds"]
        assert 0 < seconds["p50"] <= seconds["p99"]
    many = result["many"]["median"]
    assert many["completion_seconds"]["p99"] > 0
    assert many["cpu_seconds_per_gb"]["total"] > 0
    said = capsys.readouterr().out
    for words in ("one upload of 5 MB", "PSS in MB", "one by one", "many at once", "no process of ours grew"):
        assert words in said


@pytest.mark.parametrize(
    ("growth_mb", "stored", "blamed"),
    [(10.0, b"sent", {}), (100.0, b"sent", {"grew": 1}), (10.0, b"other", {"altered": 1})],
)
def test_who_grows_and_what_is_altered_is_blamed(
    growth_mb: float, stored: bytes, blamed: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system of which every process grows so much while an upload goes through it, and which stores this instead."""
    grown = iter((100.0, 100.0 + growth_mb))
    monkeypatch.setattr(memory, "pss_kb", lambda pids: 0)
    monkeypatch.setattr(
        memory.Watch, "sample",
        lambda watch: watch.samples.append((0.0, dict.fromkeys(watch.processes, int(next(grown) * 1024)))),
    )  # fmt: skip
    reading = SimpleNamespace(since=lambda earlier: {"gateways": 1.0})
    system = SimpleNamespace(
        pids={"gateway-1": os.getpid(), "postgres": os.getpid()},
        meter=lambda: SimpleNamespace(read=lambda: reading),
    )
    monkeypatch.setattr(media_uploads, "noise", lambda size, seed: [b"sent"])
    known = {"size": 2**20, "sha256": hashlib.sha256(stored).hexdigest()}
    person = SimpleNamespace(tus=lambda size, pieces: str(list(pieces)), ready=lambda media_id: known)
    found: Counter[str] = Counter()
    bench: Any = SimpleNamespace(system=system, blame=lambda problems, examples: found.update(problems))
    media_uploads.large(bench, person, 1)  # type: ignore[arg-type]
    assert found == blamed
