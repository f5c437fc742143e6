"""A folder as the storage: a full disk, a process that is killed while it writes, an upload that ends meanwhile."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devtools.paths import REPO
from media.storage import NotStored, StorageUnavailable
from media.storage.local import Local

TYPE = "application/octet-stream"


def test_a_full_disk_is_said_and_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Local(tmp_path / "media")
    storage.put("media/a", b"old", TYPE)
    token = storage.begin("media/b", TYPE)
    part = storage.part("media/b", token, 1, b"part")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(os, "fsync", full)
        for store in (
            lambda: storage.put("media/a", b"new", TYPE),
            lambda: storage.begin("media/c", TYPE),
            lambda: storage.part("media/b", token, 2, b"part"),
            lambda: storage.complete("media/b", token, [part]),
        ):
            with pytest.raises(StorageUnavailable, match="No space"):
                store()
    assert storage.read("media/a") == b"old"
    assert not list((tmp_path / "media" / ".drafts").iterdir())
    assert storage.complete("media/b", token, [part]) == 4


_WRITER = """
import hashlib, sys
from pathlib import Path
from media.storage.local import Local

here = Local(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    data = hashlib.shake_128(str(number).encode()).digest(6 * 2**20)
    key = "media/" + hashlib.sha256(data).hexdigest()
    if number % 2:
        here.put(key, data, "image/webp")
    else:
        token = here.begin(key, "image/webp")
        parts = [here.part(key, token, 1, data[: 5 * 2**20]), here.part(key, token, 2, data[5 * 2**20 :])]
        here.complete(key, token, parts)
    print(key, flush=True)
"""


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_killed_while_it_writes_nothing_half_is_seen_and_nothing_stays(tmp_path: Path, after: int) -> None:
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path / "media")], env=env, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    said = [writer.stdout.readline().strip() for _ in range(after)]
    writer.kill()
    said += writer.stdout.read().split()
    writer.wait()
    storage = Local(tmp_path / "media")
    found = [entry.key for entry in storage.keys("")]
    assert set(said) <= set(found), "what it said is there"
    for key in found:
        assert key == f"media/{storage.sha256(key)[0]}"
    for upload in storage.open_uploads(2**50):
        storage.abort(upload.key, upload.token)
    assert storage.tidy(0) == 0, "others may be at work"
    storage.tidy(2**50)
    assert not list((tmp_path / "media" / ".drafts").iterdir())
    assert not list((tmp_path / "media" / ".uploads").glob("*"))
    assert set(found) == {entry.key for entry in storage.keys("")}


def test_no_folder_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "media").write_bytes(b"")
    storage = Local(tmp_path / "media")
    with pytest.raises(StorageUnavailable):
        storage.put("media/a", b"x", TYPE)
    assert not list(storage.keys())


def test_an_upload_that_ends_while_a_part_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either the part is refused or the upload is gone: nothing is left of both."""
    storage = Local(tmp_path / "media")
    token = storage.begin("media/a", TYPE)
    real = storage._begun

    def aborted_after(key: str, token: str) -> Any:
        found = real(key, token)
        monkeypatch.setattr(storage, "_begun", real)
        storage.abort(key, token)
        return found

    monkeypatch.setattr(storage, "_begun", aborted_after)
    with pytest.raises(NotStored):
        storage.part("media/a", token, 1, b"part")
    assert not list((tmp_path / "media" / ".uploads").iterdir())


@pytest.mark.parametrize("end", ["complete", "abort"])
def test_who_is_killed_while_an_upload_ends_leaves_nothing_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """What says whose parts they are is deleted, the parts are not; and a part comes at that moment."""
    storage = Local(tmp_path / "media")
    token = storage.begin("media/a", TYPE)
    part = storage.part("media/a", token, 1, b"part")

    class Killed(BaseException):
        pass

    def killed(folder: Path, **options: Any) -> None:
        (folder / "about.json").unlink()
        with monkeypatch.context() as patch:
            patch.setattr(storage, "_begun", lambda *args: {})  # who had looked just before
            with pytest.raises(NotStored):
                storage.part("media/a", token, 2, b"late")
        raise Killed

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(Killed):
        storage.complete("media/a", token, [part]) if end == "complete" else storage.abort("media/a", token)
    monkeypatch.undo()
    assert storage.tidy(2**50) == 1
    assert not list((tmp_path / "media" / ".uploads").iterdir())
    assert not list((tmp_path / "media" / ".drafts").iterdir())
    assert storage.exists("media/a") is (end == "complete")


def test_parts_of_nobody_do_not_stop_the_sweep(tmp_path: Path) -> None:
    storage = Local(tmp_path / "media")
    token = storage.begin("media/a", TYPE)
    storage.part("media/a", token, 1, b"part")
    (tmp_path / "media" / ".uploads" / token / "about.json").unlink()
    assert list(storage.open_uploads(2**50)) == []
    assert storage.tidy(0) == 0, "others may be at work"
    assert storage.tidy(2**50) == 1
    assert not list((tmp_path / "media" / ".uploads").iterdir())


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    storage = Local(tmp_path / "media")
    storage.put("media/2026/a", b"x", TYPE)
    storage.part("media/b", storage.begin("media/b", TYPE), 1, b"x")
    for path in [tmp_path / "media", *(tmp_path / "media").rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
