"""Videos: what comes out, and what strangers put in."""

from __future__ import annotations

import contextlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from media.tools import ffmpeg, kinds, video
from media.tools.folders import Folder
from media.tools.reasons import Late, Reason, Refused
from media.tools.renditions import Name, Rendition
from media.tools.video import Limits
from tests.media.tools import clips
from tests.media.tools.films import FAST, refused

pytestmark = pytest.mark.needs_packages


def facts(folder: Folder, path: Path, declared: str = "", limits: Limits = FAST) -> video.Facts:
    return video.probe(folder, path, kinds.identify(path, declared), limits=limits)


def made(
    folder: Folder, path: Path, size: Name = Name.P720, limits: Limits = FAST
) -> tuple[Rendition, list[int]]:
    kind = kinds.identify(path, "")
    told: list[int] = []
    found = video.probe(folder, path, kind, limits=limits)
    return video.transcode(folder, path, kind, found, size, progress=told.append, limits=limits), told


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.video(tmp_path_factory.mktemp("clips") / "clip.mp4")


def test_an_mp4_of_h264_becomes_h265(folder: Folder, tmp_path: Path) -> None:
    secret = (
        "-metadata",
        "title=SecretTitle",
        "-metadata",
        "location=+52.5+013.4/",
        "-metadata:s:v",
        "handler_name=SecretHandler",
    )
    given = clips.video(
        tmp_path / "a.mp4", "640x360", *secret, "-metadata", "creation_time=2026-01-02T03:04:05Z", seconds=2
    )
    assert b"Secret" in given.read_bytes()
    kind = kinds.identify(given, "video/mp4")
    found = video.probe(folder, given, kind)
    assert found == video.Facts(640, 360, 0, found.duration_ms, "h264", True, 10.0)
    assert found.duration_ms is not None
    assert abs(found.duration_ms - 2_000) < 100
    rendition, told = made(folder, given)
    content = rendition.path.read_bytes()
    assert (rendition.name, rendition.media_type, rendition.size) == (Name.P720, "video/mp4", len(content))
    assert (rendition.width, rendition.height) == (640, 360), "not blown up"
    assert rendition.duration_ms is not None
    assert abs(rendition.duration_ms - 2_000) < 100
    for word in (b"Secret", b"+52.5", b"2026", b"x264", b"Lavf"):
        assert word not in content
    assert content.index(b"moov") < content.index(b"mdat"), "plays before it is all there"
    shown = clips.ffprobe(rendition.path)
    picture, sound = shown["streams"]
    assert (picture["codec_name"], picture["codec_tag_string"], picture["pix_fmt"]) == (
        "hevc",
        "hvc1",
        "yuv420p",
    )
    assert (sound["codec_name"], sound["channels"]) == ("aac", 2)
    assert not {"title", "location", "creation_time"} & set(shown["format"]["tags"])
    assert told == sorted(set(told))
    assert told[-1] == 100
    assert given.read_bytes().count(b"Secret") > 0, "the upload is as it was"


def test_two_sizes_of_a_large_one(folder: Folder, tmp_path: Path) -> None:
    given = clips.video(tmp_path / "a.mp4", "2560x1440", seconds=0.3, sound=False)
    found = facts(folder, given)
    assert video.sizes(found) == [Name.P720, Name.P1080]
    assert not found.sound
    sizes = {(one.width, one.height) for one in (made(folder, given, size)[0] for size in video.sizes(found))}
    assert sizes == {(1_280, 720), (1_920, 1_080)}


def test_upright_and_on_its_side(folder: Folder, tmp_path: Path) -> None:
    """A phone held upright writes a film on its side and a note that says so."""
    flat = clips.video(tmp_path / "flat.mp4", "1600x900", seconds=0.3, source="testsrc", sound=False)
    turned = tmp_path / "turned.mp4"
    clips.ffmpeg("-i", str(flat), "-c", "copy", "-metadata:s:v", "rotate=270", str(turned))
    found = facts(folder, turned)
    assert (found.width, found.height, found.rotation) == (900, 1_600, 90)
    assert video.sizes(found) == [Name.P720, Name.P1080]
    rendition, _ = made(folder, turned)
    assert (rendition.width, rendition.height) == (720, 1_280), "the shorter side counts"
    assert facts(folder, rendition.path).rotation == 0
    poster, thumb = video.stills(folder, turned, kinds.MP4, found)
    assert (poster.width, poster.height) == (720, 1_280)
    with Image.open(poster.path) as image:
        assert image.size == (720, 1_280)
    with Image.open(thumb.path) as image:
        assert image.size == (150, 150)


def test_pixels_that_are_not_square(folder: Folder, tmp_path: Path) -> None:
    given = clips.video(tmp_path / "a.mp4", "240x240", "-vf", "setsar=2", sound=False)
    found = facts(folder, given)
    assert (found.width, found.height) == (480, 240)
    rendition, _ = made(folder, given)
    assert (rendition.width, rendition.height) == (480, 240)


def test_stills_are_the_first_frame_and_nothing_else(folder: Folder, tmp_path: Path) -> None:
    given = clips.video(
        tmp_path / "a.mp4", "1600x900", "-metadata", "title=Secret", source="color=c=red", seconds=0.5
    )
    renditions = video.stills(folder, given, kinds.MP4, facts(folder, given))
    assert [(one.name, one.media_type, one.width, one.height) for one in renditions] == [
        (Name.POSTER, "image/jpeg", 1_280, 720),
        (Name.THUMB, "image/jpeg", 150, 150),
    ]
    for one in renditions:
        content = one.path.read_bytes()
        assert one.size == len(content)
        assert b"Secret" not in content
        assert b"Lav" not in content
        with Image.open(one.path) as image:
            assert (image.format, image.size) == ("JPEG", (one.width, one.height))
            red, green, blue = image.convert("RGB").getpixel((75, 75))
            assert (red > 230, green < 25, blue < 25) == (True, True, True)


VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8")


@pytest.mark.parametrize(
    ("name", "codec", "declared"),
    [
        ("a.mov", ("-c:v", "libx264", "-preset", "ultrafast"), "video/quicktime"),
        ("a.webm", (*VP8, "-c:a", "libopus"), "video/webm"),
        ("a.mkv", ("-c:v", "mpeg4", "-c:a", "libmp3lame"), "video/x-matroska"),
    ],
)
def test_every_container(
    folder: Folder, tmp_path: Path, name: str, codec: tuple[str, ...], declared: str
) -> None:
    given = clips.video(tmp_path / name, codec=codec)
    assert kinds.identify(given, declared).media_type == declared
    rendition, told = made(folder, given)
    assert (rendition.width, rendition.height) == (320, 240)
    assert told[-1] == 100


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "subrip"), ("a.mkv", "ass"), ("a.mp4", "mov_text")])
def test_subtitles_and_chapters_are_left_out(folder: Folder, tmp_path: Path, name: str, codec: str) -> None:
    words = tmp_path / "a.srt"
    words.write_text("1\n00:00:00,000 --> 00:00:01,000\nSecret\n")
    chapters = tmp_path / "chapters.txt"
    chapters.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=500\ntitle=SecretChapter\n")
    film = clips.video(tmp_path / "film.mkv")
    given = tmp_path / name
    inputs = (
        "-i",
        str(film),
        "-i",
        str(words),
        "-i",
        str(chapters),
        "-map",
        "0",
        "-map",
        "1",
        "-map_chapters",
        "2",
    )
    clips.ffmpeg(*inputs, "-c", "copy", "-c:s", codec, str(given))
    assert b"SecretChapter" in given.read_bytes()
    rendition, _ = made(folder, given)
    assert b"Secret" not in rendition.path.read_bytes()
    assert {one["codec_type"] for one in clips.ffprobe(rendition.path)["streams"]} == {"video", "audio"}


def test_a_recording_that_does_not_know_its_length(folder: Folder, tmp_path: Path) -> None:
    """As browsers make them: written to a pipe."""
    given = tmp_path / "live.webm"
    with given.open("wb") as file:
        source = ("-f", "lavfi", "-i", "testsrc2=s=320x240:r=10:d=1")
        subprocess.run(
            ["ffmpeg", "-v", "error", *source, *VP8, "-f", "webm", "pipe:1"], stdout=file, check=True
        )
    found = facts(folder, given)
    assert found.duration_ms is None
    rendition, told = made(folder, given)
    assert told == [100]
    assert rendition.duration_ms is not None
    assert abs(rendition.duration_ms - 1_000) < 150
    with pytest.raises(Refused) as caught:
        made(folder, given, limits=replace(FAST, duration_ms=300))
    assert caught.value.reason is Reason.TOO_LONG


def test_sound_that_calls_itself_video(folder: Folder, tmp_path: Path) -> None:
    given = clips.tone(tmp_path / "a.webm", "-c:a", "libopus")
    assert refused(folder, given, kinds.WEBM).reason is Reason.MISMATCH


def test_too_large_too_long_and_not_on_the_list(folder: Folder, tmp_path: Path, clip: Path) -> None:
    assert refused(folder, clip, limits=replace(FAST, pixels=320 * 239)).reason is Reason.PIXELS
    assert refused(folder, clip, limits=replace(FAST, duration_ms=900)).reason is Reason.TOO_LONG
    huge = bytearray(clip.read_bytes())
    at = (
        huge.index(b"avc1", huge.index(b"stsd")) + 28
    )  # what the container says; the stream says it otherwise
    huge[at : at + 4] = b"\xff\xff\xff\xff"
    path = tmp_path / "huge.mp4"
    path.write_bytes(huge)
    with contextlib.suppress(Refused):
        assert facts(folder, path).width <= 320
    odd = clips.video(tmp_path / "odd.mkv", codec=("-c:v", "ffv1"), sound=False)
    assert refused(folder, odd, kinds.MKV).reason is Reason.NOT_ALLOWED


def test_huge_frames(folder: Folder, tmp_path: Path) -> None:
    """A frame above 8K, small as a file."""
    given = clips.video(
        tmp_path / "a.mkv",
        "8192x4608",
        seconds=0.1,
        source="color=c=black",
        sound=False,
        codec=("-c:v", "mjpeg"),
    )
    assert given.stat().st_size < 2**20
    assert refused(folder, given, kinds.MKV).reason is Reason.PIXELS


def test_a_film_that_grows_in_the_middle(folder: Folder, tmp_path: Path) -> None:
    """The header tells of a small one; what comes later is refused by its own size."""
    small = clips.video(tmp_path / "a.h264", "320x240", "-bsf:v", "h264_mp4toannexb", sound=False)
    large = clips.video(tmp_path / "b.h264", "1920x1080", "-bsf:v", "h264_mp4toannexb", sound=False)
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    given = tmp_path / "both.mkv"
    clips.ffmpeg("-r", "10", "-f", "h264", "-i", str(both), "-c", "copy", str(given))
    limits = replace(FAST, pixels=640 * 480)
    assert facts(folder, given, limits=limits).width == 320
    assert refused(folder, given, kinds.MKV, limits).reason in (Reason.PIXELS, Reason.UNREADABLE)


@pytest.mark.parametrize("name", ["a.mp4", "fast.mp4", "a.mkv", "a.webm"])
def test_cut_off(folder: Folder, tmp_path: Path, name: str) -> None:
    options = ("-movflags", "+faststart") if name == "fast.mp4" else ()
    codec = (*VP8, "-c:a", "libopus") if name == "a.webm" else ("-c:v", "libx264", "-preset", "ultrafast")
    whole = clips.video(tmp_path / name, "320x240", *options, codec=codec).read_bytes()
    path = tmp_path / "cut"
    for length in (50, len(whole) // 4, len(whole) // 2, len(whole) * 9 // 10, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(Refused) as caught:
            kinds.identify(path, "")
        assert caught.value.reason in (Reason.UNREADABLE, Reason.NOT_ALLOWED)
        for kind in (kinds.MP4, kinds.MKV) if length == 50 else ():
            assert refused(folder, path, kind).reason is Reason.UNREADABLE


def test_noise_inside(folder: Folder, tmp_path: Path, clip: Path) -> None:
    noise = bytearray(clip.read_bytes())
    start = noise.index(b"mdat") + 8
    noise[start : noise.index(b"moov")] = bytes(255 for _ in range(noise.index(b"moov") - start))
    path = tmp_path / "a.mp4"
    path.write_bytes(noise)
    assert refused(folder, path).reason is Reason.UNREADABLE


def test_bounds_of_the_process_hold(
    folder: Folder, tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = clips.video(tmp_path / "a.mp4", "640x480", seconds=20, rate=30)
    kind, found = kinds.MP4, facts(folder, long)
    bounds = video._bounds(found, long, FAST)
    for less, error in (
        ({"cpu_s": 1}, Reason.RESOURCES),
        ({"memory_bytes": 330 * 2**20, "idle_s": 2}, Reason.RESOURCES),
        ({"output_bytes": 2**15}, Reason.RESOURCES),
    ):
        monkeypatch.setattr(video, "_bounds", lambda *_, less=less: replace(bounds, **less))
        with pytest.raises(Refused) as caught:
            video.transcode(folder, long, kind, found, Name.P720, limits=FAST)
        assert caught.value.reason is error, caught.value.said
        (folder.work / "720p.mp4").unlink(missing_ok=True)
    monkeypatch.setattr(video, "_bounds", lambda *_: replace(bounds, deadline_s=0.3))
    with pytest.raises(Late):
        video.transcode(folder, long, kind, found, Name.P720, limits=FAST)


def test_a_lie_about_its_length_ends(folder: Folder, tmp_path: Path) -> None:
    given = clips.video(tmp_path / "a.mp4", "640x480", seconds=20, rate=30)
    lying = replace(facts(folder, given), duration_ms=10)
    bounds = video._bounds(lying, given, replace(FAST, cpu_per_s=1))
    assert bounds.cpu_s == 60
    assert video._bounds(facts(folder, given), given, FAST).cpu_s > 800


def test_who_is_told_may_end_it(folder: Folder, tmp_path: Path) -> None:
    given = clips.video(tmp_path / "a.mp4", "640x480", seconds=20, rate=30)

    def enough(percent: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        video.transcode(
            folder, given, kinds.MP4, facts(folder, given), Name.P720, progress=enough, limits=FAST
        )


def test_names_of_formats_are_ffmpegs() -> None:
    for kind in kinds.ALL:
        if kind.family in (kinds.Family.VIDEO, kinds.Family.AUDIO):
            said = subprocess.run(
                ["ffmpeg", "-hide_banner", "-h", f"demuxer={kind.decoder}"], capture_output=True, check=True
            )
            assert b"Demuxer " + ffmpeg._FAMILY.get(kind.decoder, kind.decoder).encode() in said.stdout
