"""Lists of files and addresses that are called video."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from media.tools import kinds, sandbox
from media.tools.folders import Folder
from media.tools.reasons import Reason, Refused
from tests.media.tools import clips
from tests.media.tools.boxed import server, until
from tests.media.tools.films import refused

pytestmark = pytest.mark.needs_packages

PLAYLIST = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10.0,\n{}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "words",
    [
        PLAYLIST.format("http://127.0.0.1:{port}/a.ts"),
        PLAYLIST.format("file:///etc/passwd"),
        PLAYLIST.format("concat:http://127.0.0.1:{port}/head|file:///etc/passwd"),
        "ffconcat version 1.0\nfile http://127.0.0.1:{port}/a.mp4\n",
        "ffconcat version 1.0\nfile /etc/passwd\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>http://127.0.0.1:{port}/</BaseURL></MPD>',
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n",
    ],
    ids=[
        "HLS to a server",
        "HLS to a file",
        "HLS to both",
        "concat to a server",
        "concat to a file",
        "DASH",
        "SDP",
    ],
)
@pytest.mark.parametrize("kind", [kinds.MP4, kinds.MKV], ids=["as MP4", "as MKV"])
def test_lists_that_are_called_video(folder: Folder, tmp_path: Path, words: str, kind: kinds.Kind) -> None:
    path = tmp_path / "a.mp4"
    with server() as (port, came):
        path.write_text(words.replace("{port}", str(port)))
        with pytest.raises(Refused) as caught:
            kinds.identify(path, "video/mp4")
        assert caught.value.reason is Reason.NOT_ALLOWED
        # Also if it came past that.
        error = refused(folder, path, kind)
        assert error.reason is Reason.UNREADABLE
        assert "root:" not in error.said
        assert came == []


def test_ffmpeg_alone_follows_such_a_list(tmp_path: Path) -> None:
    path = tmp_path / "a.m3u8"
    with server() as (port, came):
        path.write_text(PLAYLIST.format(f"http://127.0.0.1:{port}/a.ts"))
        subprocess.run(
            ["ffprobe", "-v", "quiet", "-protocol_whitelist", "file,http,tcp", str(path)],
            check=False,
            timeout=100,
        )
        until(lambda: came, "a connection")
    assert b"GET /a.ts" in came[0]


def test_the_sandbox_alone_stops_it(folder: Folder, tmp_path: Path) -> None:
    """Without our arguments: a hole in a demuxer is as good as that."""
    path = tmp_path / "a.m3u8"
    with server() as (port, came):
        path.write_text(PLAYLIST.format(f"http://127.0.0.1:{port}/a.ts"))
        name = folder.take(path, ".m3u8")
        with pytest.raises(Refused):
            sandbox.run(
                folder,
                sandbox.Tool(program="ffprobe"),
                ["-v", "error", "-protocol_whitelist", "file,http,tcp", name],
                bounds=sandbox.Bounds(),
                inputs=[name],
            )
        assert came == []


def test_samples_in_another_file(folder: Folder, tmp_path: Path) -> None:
    elsewhere = (
        clips.video(tmp_path / "a.mp4").read_bytes().replace(b"url \x00\x00\x00\x01", b"url \x00\x00\x00\x00")
    )
    path = tmp_path / "a.mov"
    path.write_bytes(elsewhere)
    with pytest.raises(Refused) as caught:
        kinds.identify(path, "")
    assert caught.value.reason is Reason.REFERENCES
