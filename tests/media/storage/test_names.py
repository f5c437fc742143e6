"""Keys, what stands beside an object, and how the settings choose a storage."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

import media.storage
from devtools.paths import REPO
from media.storage import names
from media.storage.local import Local
from media.storage.s3 import S3
from tests.support import buckets
from whatsapp.settings import storage as settings_storage

NOON_MS = 1_795_780_800_000  # 2026-11-27 12:00 UTC
SHA256 = "0123456789abcdef" * 4


def test_objects_are_named_by_day_and_content() -> None:
    assert names.media(SHA256, "full", "webp", NOON_MS) == f"media/2026/11/27/{SHA256}_full.webp"
    assert names.media(SHA256, "720p", "mp4", NOON_MS + 43_200_000) == f"media/2026/11/28/{SHA256}_720p.mp4"
    assert names.check(names.media(SHA256, "thumb", "jpg", 0)).startswith("media/1970/01/01/")
    media_id = uuid.uuid4()
    assert names.check(names.incoming(media_id)) == f"incoming/{media_id}"


@pytest.mark.parametrize(
    ("sha256", "kind", "extension"),
    [
        ("A" * 64, "full", "webp"),
        ("a" * 63, "full", "webp"),
        (SHA256, "other", "webp"),
        (SHA256, "full", "../x"),
        (SHA256, "full", ""),
    ],
)
def test_what_makes_no_name_is_refused(sha256: str, kind: str, extension: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        names.media(sha256, kind, extension, NOON_MS)


def test_what_stands_beside_an_object() -> None:
    assert names.metadata(uploader="u1", conversation="c1", at_ms=NOON_MS) == {
        "user-id": "u1",
        "conversation-id": "c1",
        "upload-time": "2026-11-27T12:00:00.000Z",
    }
    assert "conversation-id" not in names.metadata(uploader="u1", at_ms=NOON_MS)


def folder(path: Path) -> dict[str, Any]:
    return {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": path}}


def test_a_process_has_one_and_a_child_its_own(settings: Any, tmp_path: Path) -> None:
    settings.STORAGES = {**settings.STORAGES, "default": folder(tmp_path / "one")}
    one = media.storage.storage()
    assert isinstance(one, Local)
    assert media.storage.storage() is one
    child = os.fork()
    if not child:
        os._exit(0 if media.storage.storage() is not one else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    settings.STORAGES = {**settings.STORAGES, "default": folder(tmp_path / "two")}
    two = media.storage.storage()
    assert isinstance(two, Local)
    assert two.folder == tmp_path / "two"


def test_a_bucket_is_chosen_by_the_environment() -> None:
    made = buckets.bucket({"S3_BUCKET": "chat", "S3_REGION": "eu-north-1", "S3_PREFIX": "files"})
    assert isinstance(made, S3)
    assert made.location == "files/"


@pytest.mark.parametrize(
    "wrong",
    [
        {"S3_CHECKSUM": "crc"},
        {"CLAMD_URL": "http://127.0.0.1:3310"},
        {"CLAMD_URL": "127.0.0.1:3310"},
        {"CLAMD_URL": "unix://run/clamd"},
        {"S3_TIMEOUT_MS": "soon"},
    ],
)
def test_wrong_settings_are_one_sentence(wrong: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import whatsapp.settings"],
        env={**os.environ, **wrong}, cwd=REPO, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode
    (name,) = wrong
    assert name in done.stderr.splitlines()[-1]
    assert "ImproperlyConfigured" in done.stderr.splitlines()[-1]


def test_a_key_of_encryption_needs_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_SSE_KEY_ID", "key-2026")
    with pytest.raises(ImproperlyConfigured, match="S3_SSE=aws:kms"):
        settings_storage._encryption()
    monkeypatch.setenv("S3_SSE", "aws:kms")
    assert settings_storage._encryption() == {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-2026"}
