"""Packages of npm are pinned: where they come from is the user's choice, what they are is not."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from devtools import npm
from devtools.errors import DevError

PATH = "thing/-/thing-1.0.0.tgz"


def packed() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        info = tarfile.TarInfo("package/dist/thing.js")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"thing"))
    return made.getvalue()


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A registry with the package; ``pins`` beside it names what it is."""
    (tmp_path / "registry" / PATH).parent.mkdir(parents=True)
    (tmp_path / "registry" / PATH).write_bytes(content := packed())
    (tmp_path / "pins").write_text(f"{hashlib.sha256(content).hexdigest()}  {PATH}\n")
    return tmp_path / "registry"


def fetch(registry: Path, said: list[str] | None = None) -> Path:
    beside = registry.parent
    said = [] if said is None else said
    found = npm.fetch(said.append, pins=beside / "pins", folder=beside / "kept", base=registry.as_uri())
    return found["thing"]


def test_a_package_is_fetched_once_and_read_without_npm(registry: Path) -> None:
    said: list[str] = []
    archive = fetch(registry, said)
    assert npm.member(archive, "dist/thing.js") == b"thing"
    (registry / PATH).unlink()
    assert fetch(registry, said) == archive
    assert len(said) == 1
    with pytest.raises(DevError, match="has no file dist/other"):
        npm.member(archive, "dist/other")


def test_another_content_is_refused(registry: Path) -> None:
    (registry / PATH).write_bytes(b"something else")
    with pytest.raises(DevError, match="is not the pinned file"):
        fetch(registry)
    assert not list((registry.parent / "kept").glob("*.tgz"))


def test_what_cannot_be_had_is_said_with_the_way_out(registry: Path) -> None:
    (registry / PATH).unlink()
    with pytest.raises(DevError, match="npm_config_registry names a mirror"):
        fetch(registry)


def test_npms_own_settings_say_where(tmp_path: Path) -> None:
    settings = tmp_path / ".npmrc"
    assert npm.address({}, settings) == npm.REGISTRY
    settings.write_text("; ours\nfund = false\nregistry = https://mirror.example/npm/\n")
    assert npm.address({}, settings) == "https://mirror.example/npm"
    assert npm.address({"npm_config_registry": "https://own.example/"}, settings) == "https://own.example"
    with pytest.raises(DevError, match="no http"):
        npm.address({"npm_config_registry": "ftp://own.example"}, settings)
