"""Files of npm packages without npm and Node: each package is pinned by its SHA-256, so it does not matter which registry it came
from. Nothing of them is part of the product; tests hand them to a browser."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from devtools import maven
from devtools.errors import DevError

#: Where npm itself looks when nothing else is set.
REGISTRY = "https://registry.npmjs.org"
#: npm's own name for the address of another registry, or of a mirror.
VARIABLE = "npm_config_registry"
PINS = Path(__file__).with_name("npm.sha256")


def address(caller: Mapping[str, str] | None = None, settings: Path | None = None) -> str:
    """The registry: :data:`VARIABLE`, else ``registry`` in npm's settings, else npm's own. Raises :class:`DevError`."""
    env = os.environ if caller is None else caller
    found = env.get(VARIABLE) or env.get(VARIABLE.upper()) or _configured(settings or Path.home() / ".npmrc")
    found = found or REGISTRY
    if urlsplit(found).scheme not in ("https", "http", "file"):
        raise DevError(
            f"the address of the npm registry, {found!r}, is no http(s) or file URL (see {VARIABLE})"
        )
    return found.rstrip("/")


def _configured(settings: Path) -> str:
    try:
        lines = settings.read_text().splitlines()
    except OSError:
        return ""
    values = [
        value.strip()
        for name, _, value in (line.partition("=") for line in lines)
        if name.strip() == "registry"
    ]
    return values[-1].strip("\"'") if values else ""


def fetch(
    say: Callable[[str], None], *, pins: Path = PINS, folder: Path | None = None, base: str | None = None
) -> dict[str, Path]:
    """``{package: archive}`` of all that are pinned, fetched the first time. Raises :class:`DevError`."""
    folder = folder or maven.cache() / "npm"
    files = maven.fetch(
        pins, folder, say=say, base=base or address(), local=folder, what="archives",
        hint=f"{VARIABLE} names a mirror of the npm registry.",
    )  # fmt: skip
    return {path.partition("/-/")[0]: file for path, file in zip(maven.pinned(pins), files, strict=True)}


def ensure(say: Callable[[str], None]) -> None:
    """What is slow the first time, for who has a deadline later. Raises :class:`DevError`."""
    fetch(say)


def member(archive: Path, path: str) -> bytes:
    """One file of a package, by its path in there. Raises :class:`DevError`."""
    with tarfile.open(archive) as opened:
        try:
            file = opened.extractfile(f"package/{path}")
        except KeyError:
            file = None
        if file is None:
            raise DevError(f"{archive.name} has no file {path}")
        return file.read()
