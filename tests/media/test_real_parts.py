"""The whole way of files with the real parts: an S3 server, a ClamAV daemon, ffmpeg."""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from media.models import Media, State
from media.pipeline.process import process
from media.storage import Storage
from tests.media.conftest import Tus, direct, kept, sign_in
from tests.media.incoming import MIB, some_bytes
from tests.media.test_process import made, photo, sent
from tests.support.buckets import bucket
from tests.support.clamd import Clamd
from tests.support.s3 import S3

pytestmark = [pytest.mark.django_db, pytest.mark.needs_packages]

#: What every scanner knows, in two halves: a scanner of this machine is to find it elsewhere.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR" + rb"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


@pytest.fixture
def scanned(clamd_server: Clamd, settings: Any) -> None:
    settings.CLAMD_URL = clamd_server.url


def clip(path: Path) -> bytes:
    """A second of a picture that moves, with a tone."""
    subprocess.run(
        [
            *("ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=10:duration=1"),
            *("-f", "lavfi", "-i", "sine=frequency=440:duration=1", "-c:v", "libx264", "-c:a", "aac"),
            *("-metadata", "location=+48.1+011.6/", str(path)),
        ],
        check=True,
    )
    return path.read_bytes()


def test_a_photo_a_video_and_a_harmful_document(folder: Storage, scanned: None, tmp_path: Path) -> None:
    ann = sign_in()
    chat = direct(ann, sign_in())
    assert process(sent(ann, chat, photo())) == State.READY
    video = sent(ann, chat, clip(tmp_path / "clip.mp4"), "video", "video/mp4")
    assert process(video) == State.READY
    found = made(video)
    assert sorted(found) == ["720p", "poster", "thumb"]
    assert (found["720p"].width, found["720p"].height) == (320, 240), "it is not blown up"
    assert found["720p"].duration_ms == pytest.approx(1000, abs=200)
    assert b"+48.1" not in folder.read(found["720p"].key)
    before = kept(folder)
    harmful = sent(ann, chat, b"%PDF-1.4\n" + EICAR, "document", "application/pdf")
    bare = sent(ann, chat, EICAR, "document", "application/pdf")
    assert process(bare) == State.REFUSED
    assert Media.objects.get(pk=bare).reason == "infected"
    process(harmful)
    assert Media.objects.get(pk=harmful).state in (State.READY, State.REFUSED)
    assert set(before) <= set(kept(folder))


@pytest.fixture
def in_bucket(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """The storage of this test is a bucket."""
    made_of = bucket({**s3_server.variables(), "S3_PREFIX": s3_server.new_prefix()})
    for module in (
        "apis.tus",
        "apis.form",
        "apis.objects",
        "uploads.ending",
        "pipeline.process",
        "pipeline.keeping",
    ):
        monkeypatch.setattr(f"media.{module}.storage", lambda: made_of)
    return made_of


def test_pieces_into_a_bucket(in_bucket: Storage) -> None:
    """Of sizes around a part; and a photo in one piece, made anew there."""
    ann = sign_in()
    chat = direct(ann, sign_in())
    tus, data = Tus(ann), some_bytes(13 * MIB + 5)
    path = tus.begin(chat, len(data), metadata={"encrypted": "true"}).headers["Location"]
    for start, end in (
        (0, 100),
        (100, 6 * MIB),
        (6 * MIB, 6 * MIB),
        (6 * MIB, 13 * MIB),
        (13 * MIB, len(data)),
    ):
        answer = tus.send(path, start, data[start:end])
        assert answer.status_code == 204, answer.content
    media = uuid.UUID(path.rpartition("/")[2])
    assert process(media) == State.READY
    assert in_bucket.read(made(media)["full"].key) == data
    picture = sent(ann, chat, photo())
    assert process(picture) == State.READY
    assert sorted(kept(in_bucket)) == sorted(
        [made(media)["full"].key, *(each.key for each in made(picture).values())]
    )
    assert list(in_bucket.open_uploads(2**53)) == []
