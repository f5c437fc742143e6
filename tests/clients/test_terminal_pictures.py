"""Pictures, sounds and names of others: decoded apart and bounded, drawn, and saved under names that do nothing."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tests.clients.test_terminal_files import voice
from whatsapp_terminal import completing, decoding, halfblocks, picture_worker, saving, sound
from whatsapp_terminal.attachment import File, size_words
from whatsapp_terminal.file_actions import split
from whatsapp_terminal.pixels import Pixels
from whatsapp_terminal.settings import Settings


def saved(tmp_path: Path, picture: Image.Image, form: str = "PNG", **options: object) -> Path:
    path = tmp_path / f"picture.{form}"
    picture.save(path, form, **options)
    return path


# -- decoding --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
async def test_a_picture_keeps_its_shape_in_the_box(tmp_path: Path, form: str) -> None:
    path = saved(tmp_path, Image.new("RGB", (800, 400), "#00ff00"), form)
    pixels = await decoding.decode(path, 40, 60)
    assert pixels is not None
    assert (pixels.width, pixels.height) == (40, 20)
    red, green, blue = pixels.data[:3]
    assert green > 240 > 20 > max(red, blue)


async def test_what_shines_through_has_a_ground_and_what_lies_stands_up(tmp_path: Path) -> None:
    pixels = await decoding.decode(saved(tmp_path, Image.new("RGBA", (10, 10), (255, 0, 0, 0))), 10, 10)
    assert pixels is not None
    assert pixels.data[:3] == b"\x80\x80\x80"
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = await decoding.decode(saved(tmp_path, Image.new("RGB", (40, 20)), "JPEG", exif=exif), 40, 40)
    assert pixels is not None
    assert (pixels.width, pixels.height) == (20, 40)


def bomb(width: int, height: int) -> bytes:
    """A PNG of some KB that says it has so many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + width // 8)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


async def test_a_bomb_is_not_decoded_and_its_smaller_sister_is(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(16_000, 16_000))
    assert path.stat().st_size < 100_000
    assert await decoding.decode(path, 40, 40) is None
    path.write_bytes(bomb(1_600, 1_600))
    assert await decoding.decode(path, 40, 40) is not None


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF-3.0\n", bytes(1_000)]
)  # fmt: skip
async def test_what_is_no_picture_gives_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    assert await decoding.decode(tmp_path / "file", 40, 40) is None


WORKERS = {
    "hangs": "import time; time.sleep(1000)",
    "answers too much": "import sys; sys.stdout.buffer.write(b'2 2\\n' + bytes(10_000_000))",
    "answers another size": "import sys; sys.stdout.buffer.write(b'3 3\\n' + bytes(12))",
    "answers a larger box": "import sys; sys.stdout.buffer.write(b'20 20\\n' + bytes(1200))",
    "answers words": "print('hello')",
    "dies": "import os; os.abort()",
    "refuses behind its answer": "import sys; sys.stdout.buffer.write(b'2 2\\n' + bytes(12)); sys.exit(1)",
}


@pytest.mark.parametrize("what", WORKERS)
async def test_a_decoder_that_a_file_has_taken_over_gives_none(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "worker.py").write_text(WORKERS[what])
    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setattr(picture_worker, "__file__", str(tmp_path / "worker.py"))
    if what == "hangs":
        monkeypatch.setattr(decoding, "DEADLINE", 0.2)
    assert await decoding.decode(tmp_path / "file", 4, 4) is None


async def test_a_decoder_has_nothing_of_ours_and_may_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is given is no environment and no other file; what it would write is refused by its limits."""
    monkeypatch.setenv("SECRET_OF_OURS", "x")
    (tmp_path / "worker.py").write_text(
        "import os, sys\n"
        "free = not any('SECRET' in name for name in os.environ) and os.getcwd() == '/'\n"
        "open_files = len(os.listdir('/proc/self/fd')) - 1\n"  # the list's own
        "sys.stdout.buffer.write(b'1 1\\n' + bytes([free, open_files, 0]))\n"
    )
    monkeypatch.setattr(picture_worker, "__file__", str(tmp_path / "worker.py"))
    (tmp_path / "file").write_bytes(b"x")
    pixels = await decoding.decode(tmp_path / "file", 1, 1)
    assert pixels is not None
    assert tuple(pixels.data) == (1, 3, 0)


# -- drawing ---------------------------------------------------------------------------------------------------------------
def test_two_pixels_are_a_cell() -> None:
    red, green, blue = b"\xff\0\0", b"\0\xff\0", b"\0\0\xff"
    rows = halfblocks.rows(Pixels(2, 3, red + red + green + blue + blue + blue))
    assert [[(span.text, span.ink) for span in row] for row in rows] == [
        [("▀", (0xFF0000, 0x00FF00)), ("▀", (0xFF0000, 0x0000FF))],
        [("▀▀", (0x0000FF, 0x0000FF))],
    ]
    for width, height, data in ((0, 1, b""), (1, 1, b"xx"), (2, 1, bytes(7)), (-1, -1, bytes(3))):
        with pytest.raises(ValueError, match="not so many"):
            Pixels(width, height, data)


# -- sound -----------------------------------------------------------------------------------------------------------------
def test_the_length_and_loudness_of_a_voice_note() -> None:
    found = sound.look(voice())
    assert found is not None
    assert found.duration_ms == 65_000
    assert len(found.bars) == sound.BARS
    assert max(found.bars[:16]) < 10
    assert min(found.bars[16:]) == 100
    assert sound.drawn(found) == "▁" * 16 + "█" * 16
    assert [sound.length_words(ms) for ms in (0, 65_000, 3_725_400)] == ["0:00", "1:05", "1:02:05"]


def test_a_sound_that_lies_is_bounded() -> None:
    good = voice()
    for cut in range(len(good)):
        found = sound.look(good[:cut])
        assert found is None or 0 <= found.duration_ms <= sound.MOST_MS
    page = good.rindex(b"OggS")
    late = good[: page + 6] + (2**62).to_bytes(8, "little") + good[page + 14 :]
    found = sound.look(late)
    assert found is not None
    assert found.duration_ms == sound.MOST_MS
    assert sound.look(b"") is None
    assert sound.look(b"RIFF....WAVE") is None


# -- names on the disk -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("beach.jpg", "beach.jpg"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("/etc/passwd", "_etc_passwd"),
        ("..", "photo.png"),
        ("", "photo.png"),
        ("   ", "photo.png"),
        (".bashrc", "bashrc"),
        ("a\x00b\nc\x1b[31m", "a_b c_[31m"),
        ("innocent\u202egpj.exe", "innocent_gpj.exe"),
        ("C:\\boot.ini", "C__boot.ini"),
        ("x" * 300 + ".png", "x" * 146 + ".png"),
        ("é" * 200 + ".jpeg", "é" * 72 + ".jpeg"),
        ("name." + "y" * 40, "name." + "y" * 40),
    ],
)
def test_a_name_is_a_name_and_nothing_else(given: str, safe: str) -> None:
    made = saving.safe_name(File("image", name=given, media_type="image/png"))
    assert made == safe
    assert len(made.encode()) <= saving.MAX_NAME
    assert os.path.basename(made) == made


def test_nothing_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine")
    (tmp_path / "a (1).txt").symlink_to(tmp_path / "elsewhere")
    arrived = tmp_path / ".arrived"
    arrived.write_text("theirs")
    kept = saving.keep(arrived, tmp_path, "a.txt")
    assert kept == tmp_path / "a (2).txt"
    assert (tmp_path / "a.txt").read_text() == "mine"
    assert kept.read_text() == "theirs"
    assert not arrived.exists()
    assert not (tmp_path / "elsewhere").exists()


def test_nothing_is_replaced_where_there_are_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*names: object, **options: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    test_nothing_is_replaced(tmp_path)


def test_programs_are_started_for_what_is_shown_or_played_only() -> None:
    good = ("a.png", "a.JPG", "a.mp4", "a.ogg", "a.txt", "a.pdf")
    bad = (
        "a.desktop",
        "a.sh",
        "a.html",
        "a.svg",
        "a.py",
        "a",
        "a.png.exe",
        "a.xhtml",
        "a.csv",
        "a.jar",
        "a.docm",
    )
    assert [name for name in good if not saving.may_open(Path(name))] == []
    assert [name for name in bad if saving.may_open(Path(name))] == []


def test_sizes_in_words() -> None:
    assert [size_words(size) for size in (-1, 0, 1, 999, 1_000, 9_940, 482_113, 2_000_000_000, 2**63)] == [
        "", "", "1 B", "999 B", "1.0 KB", "9.9 KB", "482 KB", "2.0 GB", "9223372037 GB",
    ]  # fmt: skip


# -- the command -----------------------------------------------------------------------------------------------------------
def test_a_command_is_a_path_and_a_caption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("it's here.txt").touch()
    assert split("it's here.txt") == ("it's here.txt", "")
    assert split("a.png  look, it's the sea") == ("a.png", "look, it's the sea")
    assert split('"a b.png" look') == ("a b.png", "look")
    assert split("'a b.png'") == ("a b.png", "")
    assert split(r"a\ b.png c d") == ("a b.png", "c d")
    for open_quote in ('"a b', "'a b"):
        with pytest.raises(ValueError, match="quote"):
            split(open_quote)


def test_paths_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Beach.png", "beta.txt", ".beard"):
        (tmp_path / name).touch()
    (tmp_path / "bells").mkdir()
    os.mkfifo(tmp_path / "bepipe")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert completing.completions(f"{tmp_path}/be") == [
        f"{tmp_path}/bells/", f"{tmp_path}/Beach.png", f"{tmp_path}/beta.txt",
    ]  # fmt: skip
    assert completing.completions("~/.b") == ["~/.beard"]
    assert "~/bells/" in completing.completions("")
    assert completing.completions(f"{tmp_path}/none/x") == []
    monkeypatch.chdir(tmp_path)
    assert completing.completions("bet") == ["beta.txt"]


def test_what_is_no_list_of_files_is_none(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    for sends in ('"x"', "[1, null]", "{}"):
        path.write_text(f'{{"sends": {sends}, "folder": 7}}')
        known = Settings.load(path)
        assert (known.sends, known.folder) == ([], "")
