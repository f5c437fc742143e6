"""Jars from Maven Central without Maven: each is pinned by its SHA-256, so it does not matter which mirror it came from."""

from __future__ import annotations

import fcntl
import hashlib
import os
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from devtools.errors import DevError

#: Where Maven itself looks when nothing else is set.
CENTRAL = "https://repo.maven.apache.org/maven2"
#: The address of a mirror with Central's layout; goes over Maven's own settings.
VARIABLE = "MAVEN_CENTRAL_URL"
HINT = f"{VARIABLE} names a mirror with Maven Central's layout."
_AT_A_TIME = 6
_TRIES = 3
_TIMEOUT = 60


def cache(caller: Mapping[str, str] | None = None) -> Path:
    """The user's folder of downloads, which all checkouts share: XDG_CACHE_HOME/whatsapp-dev, by default in ~/.cache."""
    env = os.environ if caller is None else caller
    return Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whatsapp-dev"


def address(caller: Mapping[str, str] | None = None, settings: Path | None = None) -> str:
    """The base address: :data:`VARIABLE`, else the mirror of ``central`` in Maven's ``settings.xml``, else Central itself."""
    env = os.environ if caller is None else caller
    found = env.get(VARIABLE) or _mirror(settings or Path.home() / ".m2" / "settings.xml") or CENTRAL
    if urlsplit(found).scheme not in ("https", "http", "file"):
        raise DevError(f"the address of Maven Central, {found!r}, is no http(s) or file URL (see {VARIABLE})")
    return found.rstrip("/")


def _mirror(settings: Path) -> str | None:
    """The address of a mirror in Maven's settings that stands for Central (``mirrorOf``: central, ``*`` or ``external:*``)."""
    try:
        root = ElementTree.parse(settings).getroot()  # noqa: S314 - the user's own file
    except (OSError, ElementTree.ParseError):
        return None
    for mirror in root.iterfind(".//{*}mirrors/{*}mirror"):
        texts = {str(part.tag).rpartition("}")[2]: (part.text or "").strip() for part in mirror}
        of = {word.strip() for word in texts.get("mirrorOf", "").split(",")}
        if texts.get("blocked") != "true" and of & {"central", "*", "external:*"} and "!central" not in of:
            return texts.get("url") or None
    return None


def pinned(file: Path) -> dict[str, str]:
    """``{path below the repository: SHA-256}`` from a list as ``sha256sum`` writes it."""
    lines = [line.split(maxsplit=1) for line in file.read_text().splitlines() if line.strip()]
    return {path: digest for digest, path in lines}


def fetch(
    pins: Path,
    folder: Path,
    *,
    say: Callable[[str], None] = lambda text: None,
    base: str | None = None,
    local: Path | None = None,
    what: str = "jars",
    hint: str = HINT,
) -> list[Path]:
    """Make sure that every jar of the list ``pins`` is in ``folder``; their paths, in the list's order.

    One that Maven has in its own repository (``local``) already is copied from there. Raises :class:`DevError` that names the
    first jar that could not be had, or whose content is not the pinned one; what is in ``folder`` is always right. ``what`` and
    ``hint`` are for people: what is fetched, and what helps when it cannot be had.
    """
    wanted = pinned(pins)
    files = {path: folder / path.rpartition("/")[2] for path in wanted}
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [path for path, file in files.items() if not file.exists()]
        if missing:
            where = base or address()
            say(f"getting {len(missing)} {what} of {folder.name}, each checked against its hash")
            repository = local or Path.home() / ".m2" / "repository"

            def get(path: str) -> None:
                _get(path, wanted[path], files[path], where, repository, hint)

            with ThreadPoolExecutor(_AT_A_TIME) as pool:
                list(pool.map(get, missing))
    return list(files.values())


def _get(path: str, digest: str, target: Path, base: str, local: Path, hint: str) -> None:
    try:
        content = (local / path).read_bytes()
    except OSError:
        content = b""
    if hashlib.sha256(content).hexdigest() != digest:
        content = _download(f"{base}/{path}", hint)
        found = hashlib.sha256(content).hexdigest()
        if found != digest:
            raise DevError(
                f"{path.rpartition('/')[2]} from {_shown(base)} is not the pinned file: its SHA-256 is {found}"
            )
    draft = target.with_name(f".{target.name}-{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(target)


def _download(url: str, hint: str) -> bytes:
    reason = ""
    for _ in range(_TRIES):
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
                return bytes(answer.read())
        except (OSError, urllib.error.URLError) as error:
            reason = str(error)
            if isinstance(error, urllib.error.HTTPError) and error.code in (401, 403, 404, 410):
                break
    raise DevError(f"{_shown(url)} could not be downloaded: {reason}. {hint}")


def _shown(url: str) -> str:
    """Without a user and password, for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
