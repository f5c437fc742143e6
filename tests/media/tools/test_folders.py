from __future__ import annotations

import os
from pathlib import Path

import pytest

from media.tools import folders
from media.tools.reasons import Busy
from tests.media.tools.boxed import processes, until


def test_a_folder_is_gone_after_an_error(parent: Path) -> None:
    with pytest.raises(KeyError), folders.folder(parent) as folder:
        (folder.work / "deep").mkdir()
        (folder.work / "deep" / "file").write_text("x")
        (folder.work / "deep").chmod(0)
        raise KeyError
    assert list(parent.iterdir()) == []


def test_a_sweep_takes_what_nobody_holds(parent: Path) -> None:
    left = parent / "media-left"
    (left / "work").mkdir(parents=True)
    (left / "work" / "file").write_text("x")
    (left / "work").chmod(0)
    other = parent / "other"
    other.mkdir()
    with folders.folder(parent) as folder:
        assert folders.sweep(parent) == 1
        assert folder.work.is_dir()
        assert not left.exists()
        assert other.exists()
    other.rmdir()
    assert folders.sweep(parent) == 0


def test_nobody_is_misled_by_what_a_tool_left(parent: Path) -> None:
    with folders.folder(parent) as folder:
        (folder.work / "link").symlink_to("/etc/passwd")
        (folder.work / "folder").mkdir()
        (folder.work / "empty").write_text("")
        (folder.work / "good").write_text("x")
        os.link(folder.work / "good", folder.path / "second")
        names = ("link", "folder", "empty", "good", "none")
        assert [folder.made(name) for name in names] == [None] * 5
        (folder.path / "second").unlink()
        assert folder.made("good") == folder.work / "good"


def test_an_input_that_is_not_there(parent: Path) -> None:
    with folders.folder(parent) as folder:
        if os.geteuid() == 0:
            with pytest.raises(Busy):
                folder.take(parent / "none")


def test_no_process_is_left(parent: Path) -> None:
    with folders.folder(parent) as folder:
        until(lambda: processes(str(folder.path)), "its remover")
    until(lambda: not processes(str(folder.path)), "no remover")


def test_a_copy_does_not_follow_what_a_tool_left(parent: Path) -> None:
    source, other = parent / "source", parent / "other"
    source.write_text("new")
    other.write_text("old")
    with folders.folder(parent) as folder:
        (folder.work / "in").symlink_to(other)
        folder.put(source, "in")
        assert (folder.work / "in").read_text() == "new"
        assert other.read_text() == "old"
        with pytest.raises(Busy):
            folder.put(parent / "none", "in")
    source.unlink()
    other.unlink()
