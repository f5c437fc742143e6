"""Voice notes and other sound."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from media.tools import kinds, voice
from media.tools.folders import Folder
from media.tools.reasons import Reason, Refused
from media.tools.renditions import Name
from media.tools.voice import Limits, bars
from tests.media.tools import clips

needs_packages = pytest.mark.needs_packages


def refused(folder: Folder, path: Path, kind: kinds.Kind, limits: Limits | None = None) -> Reason:
    with pytest.raises(Refused) as caught:
        voice.renditions(folder, path, kind, limits=limits)
    return caught.value.reason


@needs_packages
@pytest.mark.parametrize(
    ("name", "options", "declared"),
    [
        ("a.ogg", ("-c:a", "libopus"), "audio/ogg; codecs=opus"),
        ("a.ogg", ("-c:a", "libvorbis"), "audio/ogg"),
        ("a.m4a", ("-c:a", "aac"), "audio/mp4"),
        ("a.mp3", ("-c:a", "libmp3lame"), "audio/mpeg"),
        ("a.mp3", ("-c:a", "libmp3lame", "-id3v2_version", "0", "-write_xing", "0"), "audio/mpeg"),
        ("a.wav", ("-c:a", "pcm_s16le"), "audio/wav"),
        ("a.webm", ("-c:a", "libopus"), "audio/webm"),
    ],
)
def test_every_sound_becomes_opus(
    folder: Folder, tmp_path: Path, name: str, options: tuple[str, ...], declared: str
) -> None:
    given = clips.tone(
        tmp_path / name, *options, "-metadata", "title=Secret", "-metadata", "artist=SecretToo"
    )
    kind = kinds.identify(given, declared)
    assert kind.media_type == declared.partition(";")[0]
    told: list[int] = []
    sound, waveform = voice.renditions(folder, given, kind, progress=told.append)
    content = sound.path.read_bytes()
    assert (sound.name, sound.media_type, sound.size) == (Name.VOICE, "audio/ogg", len(content))
    assert sound.duration_ms is not None
    assert abs(sound.duration_ms - 2_000) < 120
    for word in (b"Secret", b"Lavf"):
        assert word not in content
    shown = clips.ffprobe(sound.path)
    (stream,) = shown["streams"]
    assert (stream["codec_name"], stream["channels"], shown["format"]["format_name"]) == ("opus", 1, "ogg")
    assert waveform.name is Name.WAVEFORM
    heights = waveform.path.read_bytes()
    assert len(heights) == waveform.size == 64
    assert min(heights[3:-6]) > 80, "a tone is as loud everywhere"
    assert told == sorted(set(told))
    assert told[-1] == 100


@needs_packages
def test_a_waveform_follows_loudness(folder: Folder, tmp_path: Path) -> None:
    given = clips.tone(
        tmp_path / "a.wav",
        source="aevalsrc='sin(440*2*PI*t)*if(lt(t,2),0,if(lt(t,4),0.25,0.5))':d={}",
        seconds=6,
    )
    _, waveform = voice.renditions(folder, given, kinds.WAV)
    heights = waveform.path.read_bytes()
    assert max(heights[:20]) == 0
    assert all(45 <= height <= 55 for height in heights[24:41])
    assert all(height > 95 for height in heights[45:63])


@needs_packages
def test_silence_and_almost_nothing(folder: Folder, tmp_path: Path) -> None:
    silent = clips.tone(tmp_path / "a.wav", source="anullsrc=d={}")
    assert voice.renditions(folder, silent, kinds.WAV)[1].path.read_bytes() == bytes(64)
    short = clips.tone(tmp_path / "b.wav", seconds=0.05)  # type: ignore[arg-type]
    sound, waveform = voice.renditions(folder, short, kinds.WAV)
    assert sound.duration_ms is not None
    assert 0 < sound.duration_ms < 150
    assert len(waveform.path.read_bytes()) == 64


@needs_packages
def test_music_keeps_two_channels(folder: Folder, tmp_path: Path) -> None:
    given = clips.tone(tmp_path / "a.m4a", "-ac", "2")
    sound, _ = voice.renditions(folder, given, kinds.M4A, music=True)
    assert clips.ffprobe(sound.path)["streams"][0]["channels"] == 2


@needs_packages
def test_a_cover_is_left_out(folder: Folder, tmp_path: Path) -> None:
    cover = tmp_path / "cover.png"
    clips.ffmpeg("-f", "lavfi", "-i", "color=c=red:s=64x64:d=0.1", "-frames:v", "1", str(cover))
    given = clips.tone(
        tmp_path / "a.mp3",
        "-i",
        str(cover),
        "-map",
        "0:a",
        "-map",
        "1:v",
        "-c:v",
        "png",
        "-disposition:v",
        "attached_pic",
    )
    sound, _ = voice.renditions(folder, given, kinds.identify(given, "audio/mpeg"))
    assert [one["codec_type"] for one in clips.ffprobe(sound.path)["streams"]] == ["audio"]


@needs_packages
def test_too_long(folder: Folder, tmp_path: Path) -> None:
    given = clips.tone(tmp_path / "a.mp3")
    assert refused(folder, given, kinds.MP3, Limits(duration_ms=1_500)) is Reason.TOO_LONG
    live = tmp_path / "live.webm"
    with live.open("wb") as file:
        source = ("-f", "lavfi", "-i", "sine=440:d=4")
        subprocess.run(
            ["ffmpeg", "-v", "error", *source, "-c:a", "libopus", "-f", "webm", "pipe:1"],
            stdout=file,
            check=True,
        )
    assert refused(folder, live, kinds.WEBM_AUDIO, Limits(duration_ms=500)) is Reason.TOO_LONG


@needs_packages
def test_what_is_not_sound(folder: Folder, tmp_path: Path) -> None:
    film = clips.video(
        tmp_path / "a.webm", codec=("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus")
    )
    kind = kinds.identify(film, "audio/webm")
    assert kind is kinds.WEBM_AUDIO
    assert refused(folder, film, kind) is Reason.MISMATCH
    for kind in (kinds.WAV, kinds.MP3, kinds.OGG, kinds.M4A, kinds.WEBM_AUDIO):
        path = tmp_path / "list"
        path.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n" * 50)
        assert refused(folder, path, kind) in (Reason.UNREADABLE, Reason.MISMATCH)
    with pytest.raises(ValueError, match="video/mp4"):
        voice.renditions(folder, film, kinds.MP4)


@needs_packages
def test_cut_off_it_is_refused_or_shorter(folder: Folder, tmp_path: Path) -> None:
    """Sound is written as it is spoken: what was there before the cut is heard."""
    for name, kind in (
        ("a.ogg", kinds.OGG),
        ("a.mp3", kinds.MP3),
        ("a.wav", kinds.WAV),
        ("a.m4a", kinds.M4A),
    ):
        whole = clips.tone(tmp_path / name).read_bytes()
        path = tmp_path / "cut"
        for length in (12, 60, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            try:
                sound, _ = voice.renditions(folder, path, kind)
            except Refused as error:
                assert error.reason in (Reason.UNREADABLE, Reason.MISMATCH), (name, length)  # noqa: PT017
            else:
                assert (sound.duration_ms or 0) < 2_200


@needs_packages
def test_bounds_hold(folder: Folder, tmp_path: Path) -> None:
    given = clips.tone(tmp_path / "a.wav", seconds=600)
    limits = Limits(cpu_per_minute=0)
    with pytest.MonkeyPatch.context() as patch:
        real = voice._bounds
        patch.setattr(voice, "_bounds", lambda *given: replace(real(*given), cpu_s=1))
        assert refused(folder, given, kinds.WAV, limits) is Reason.RESOURCES
        patch.setattr(voice, "_bounds", lambda *given: replace(real(*given), output_bytes=2**12))
        assert refused(folder, given, kinds.WAV) is Reason.RESOURCES


def test_bars() -> None:
    assert bars([]) == bytes(64)
    assert bars([0.0] * 100) == bytes(64)
    assert bars([0.5]) == bytes([100] * 64)
    assert bars([0.25, 0.5], 4) == bytes([50, 50, 100, 100])
    assert bars([0.1, 0.3, 0.4, 0.4], 2) == bytes([50, 100])
    assert bars([0.2] * 36_000) == bytes([100] * 64)
