from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from media.tools import folders
from tests.media.tools.boxed import processes


@pytest.fixture
def parent() -> Iterator[Path]:
    """Where folders are made for one test; empty at its end, and no process is left that knew it."""
    with tempfile.TemporaryDirectory(prefix="tools-") as name:
        Path(name).chmod(0o711)
        yield Path(name)
        assert list(Path(name).iterdir()) == []
        assert processes(name) == []


@pytest.fixture
def folder(parent: Path) -> Iterator[folders.Folder]:
    with folders.folder(parent) as made:
        yield made
