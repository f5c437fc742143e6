"""Media in a folder of this machine, for one machine. Objects are files under their keys; beside them, in folders whose names
begin with a dot, is what the storage knows of them: ``.about/<key>`` (JSON), ``.uploads/<token>/``, ``.drafts/``.

What a call has stored is on disk when it returns.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from media.storage import names, signing
from media.storage.interface import (
    CHUNK,
    Bytes,
    Entry,
    NotStored,
    OpenUpload,
    Part,
    Storage,
    StorageUnavailable,
    Stored,
    WrongParts,
    check_numbers,
    check_part,
)
from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms

log = logging.getLogger(__name__)

_ABOUT, _UPLOADS, _DRAFTS = ".about", ".uploads", ".drafts"
_JSON = "about.json"


class Local(Storage):
    def __init__(self, folder: Path, *, file_mode: int = 0o600, folder_mode: int = 0o700) -> None:
        self.folder = folder
        self._file_mode, self._folder_mode = file_mode, folder_mode

    # -- uploads in parts

    def begin(
        self,
        key: str,
        media_type: str,
        metadata: Mapping[str, str] | None = None,
        cache_control: str = "",
        *,
        signed: bool = False,
    ) -> str:
        about = {"key": names.check(key), "begun_ms": now_ms(), **_about(media_type, metadata, cache_control)}
        token = uuid.uuid4().hex
        with _typed("begin"):
            folder = self._upload(token)
            self._make(folder)
            self._write(folder / _JSON, json.dumps(about).encode())
        return token

    def part(self, key: str, token: str, number: int, data: Bytes) -> Part:
        check_part(number, memoryview(data).nbytes)
        names.check(key)
        with _typed("part"), self._draft() as draft:
            self._begun(key, token)
            draft[0].write(data)
            return self._place_part(draft, token, number, hashlib.sha256(data))

    def signed_part(
        self, key: str, token: str, number: int, size: int, *, expires_s: int, now_ms: int
    ) -> str:
        """A path and its query, for :mod:`media.apis.parts`."""
        check_part(number, size)
        return signing.signed_part_path(key, token, number, size, expires_s=expires_s, now_ms=now_ms)

    def take_part(self, link: signing.PartLink, read: Callable[[int], bytes]) -> Part:
        """Store what ``read(size)`` gives, until it gives nothing, as the part that a good address names. Raises
        :class:`NotStored`, :class:`WrongParts` (not as many bytes as the address says), and what ``read`` raises."""
        digest, size = hashlib.sha256(), 0
        with _typed("part"):
            self._begun(link.key, link.token)
            with self._draft() as draft:
                while data := read(CHUNK):
                    size += len(data)
                    if size > link.size:
                        break
                    digest.update(data)
                    draft[0].write(data)
                if size != link.size:
                    raise WrongParts(f"part {link.number} has {link.size} bytes")
                return self._place_part(draft, link.token, link.number, digest)

    def _place_part(
        self, draft: tuple[BinaryIO, Path], token: str, number: int, digest: hashlib._Hash
    ) -> Part:
        """Make a draft the part of this number, instead of the ones that were stored before."""
        file, path = draft
        file.flush()
        os.fsync(file.fileno())
        size, now = file.tell(), time.time_ns()
        os.utime(path, ns=(now, now))  # finer than the kernel's own
        name = f"{number:05}-{digest.hexdigest()}"
        try:
            path.replace(self._upload(token) / name)
            _sync(self._upload(token))
        except FileNotFoundError:  # completed or aborted at this moment
            raise NotStored("there is no such upload any more") from None
        for other, state in self._stored(token):
            if other.startswith(f"{number:05}-") and state.st_mtime_ns < now:
                (self._upload(token) / other).unlink(missing_ok=True)
        return Part(number, f'"{digest.hexdigest()}"', size, base64.b64encode(digest.digest()).decode())

    def list_parts(self, key: str, token: str) -> list[Part]:
        names.check(key)
        with _typed("list_parts"):
            self._begun(key, token)
            newest = {name[:5]: (name, state.st_size) for name, state in self._stored(token)}
        return [
            Part(int(number), f'"{name[6:]}"', size, "") for number, (name, size) in sorted(newest.items())
        ]

    def _stored(self, token: str) -> list[tuple[str, os.stat_result]]:
        """File names of the parts, those that were stored last at the end."""
        folder, found = self._upload(token), []
        for name in _listed(folder):
            if name != _JSON:
                try:
                    found.append((name, (folder / name).stat()))
                except FileNotFoundError:
                    continue  # replaced at this moment
        return sorted(found, key=lambda one: one[1].st_mtime_ns)

    def complete(self, key: str, token: str, parts: Sequence[Part]) -> int:
        names.check(key)
        check_numbers(parts)
        with _typed("complete"):
            try:
                about = self._begun(key, token)
            except NotStored:
                if self._holds(key, parts):
                    return sum(part.size for part in parts)
                raise
            files = [self._part(token, part.number, part.etag.strip('"')) for part in parts]
            for part, path in zip(parts, files, strict=True):
                if not path.is_file() or path.stat().st_size != part.size:
                    raise WrongParts(f"part {part.number} is not there")
            made = {"parts": [part.etag for part in parts]}
            with self._draft() as draft:
                for path in files:
                    with path.open("rb") as source:
                        shutil.copyfileobj(source, draft[0], CHUNK)
                size = draft[0].tell()
                self._place(draft, key, about | made)
            self._end(token)
        return size

    def _holds(self, key: str, parts: Sequence[Part]) -> bool:
        return self._path(key).is_file() and self._read_about(key).get("parts") == [
            part.etag for part in parts
        ]

    def abort(self, key: str, token: str) -> None:
        names.check(key)
        with _typed("abort"):
            try:
                self._begun(key, token)
            except NotStored:
                return
            self._end(token)

    def _end(self, token: str) -> None:
        """The upload is gone at once: a part that is stored at this moment finds no folder. What is left of it by a process that
        is killed is a draft."""
        ended = self.folder / _DRAFTS / uuid.uuid4().hex
        self._make(ended.parent)
        try:
            self._upload(token).rename(ended)
        except FileNotFoundError:
            return  # somebody else has ended it
        shutil.rmtree(ended, ignore_errors=True)

    def open_uploads(self, begun_before_ms: int) -> Iterator[OpenUpload]:
        with _typed("open_uploads"):
            for token in sorted(_listed(self.folder / _UPLOADS)):
                try:
                    about = json.loads((self._upload(token) / _JSON).read_bytes())
                    begun_ms = int(about["begun_ms"])
                except (OSError, ValueError, KeyError):
                    continue  # it ends at this moment, or its beginning was cut off; then it holds no part
                if begun_ms < begun_before_ms:
                    yield OpenUpload(about["key"], token, begun_ms)

    def tidy(self, before_ms: int) -> int:
        found = 0
        with _typed("tidy"):
            for folder in (_DRAFTS, _UPLOADS):
                for name in _listed(self.folder / folder):
                    path = self.folder / folder / name
                    try:
                        if (path / _JSON).exists() or path.stat().st_mtime * 1000 >= before_ms:
                            continue
                        if path.is_dir():
                            shutil.rmtree(path)  # an upload that was not quite begun, or not quite ended
                        else:
                            path.unlink()
                    except FileNotFoundError:
                        continue
                    found += 1
        return found

    # -- whole objects

    def put(
        self,
        key: str,
        data: Bytes | Path,
        media_type: str,
        metadata: Mapping[str, str] | None = None,
        cache_control: str = "",
    ) -> int:
        names.check(key)
        about = _about(media_type, metadata, cache_control)
        with _typed("put"), self._draft() as draft:
            if isinstance(data, Path):
                with data.open("rb") as source:
                    shutil.copyfileobj(source, draft[0], CHUNK)
            else:
                draft[0].write(data)
            size = draft[0].tell()
            self._place(draft, key, about)
        return size

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        with _typed("read"), self.open(key) as file:
            file.seek(start)
            return file.read(-1 if length is None else length)

    def stream(self, key: str, chunk: int = CHUNK) -> Iterator[bytes]:
        with _typed("stream"), self.open(key) as file:
            while piece := file.read(chunk):
                yield piece

    def open(self, key: str) -> BinaryIO:
        """The object's file, to read; it stays whole while others write or delete the object. Raises :class:`NotStored`."""
        path = self._path(key)
        try:
            return path.open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotStored(key) from None

    def describe(self, key: str) -> Stored:
        with _typed("describe"), self.open(key) as file:
            state = os.fstat(file.fileno())
            about = self._read_about(key)
        return Stored(
            key,
            state.st_size,
            about.get("media_type", "application/octet-stream"),
            about.get("metadata", {}),
            about.get("cache_control", ""),
            tag(state),
            state.st_mtime_ns // 1_000_000,
        )

    def copy(
        self, source: str, target: str, metadata: Mapping[str, str] | None = None, *, etag: str = ""
    ) -> None:
        found = self.describe(source)
        given = found.metadata if metadata is None else metadata
        about = _about(found.media_type, given, found.cache_control)
        names.check(target)
        with _typed("copy"), self.open(source) as file, self._draft() as draft:
            if etag and tag(os.fstat(file.fileno())) != etag:
                raise NotStored(source)
            shutil.copyfileobj(file, draft[0], CHUNK)
            self._place(draft, target, about)

    def delete(self, keys: Iterable[str]) -> None:
        for key in [names.check(key) for key in keys]:
            with _typed("delete"):
                for path in (self._path(key), self.folder / _ABOUT / key):
                    if path.is_file():
                        path.unlink(missing_ok=True)

    def keys(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        with _typed("keys"):
            yield from self._walk("", prefix, after)

    def _walk(self, folder: str, prefix: str, after: str) -> Iterator[Entry]:
        found = []
        for name in _listed(self.folder / folder):
            if not name.startswith("."):
                key = f"{folder}{name}"
                found.append(f"{key}/" if (self.folder / key).is_dir() else key)
        for key in sorted(found):  # with its slash a folder is where its keys belong
            if key.endswith("/"):
                if (key.startswith(prefix) or prefix.startswith(key)) and not (
                    after > key and not after.startswith(key)
                ):
                    yield from self._walk(key, prefix, after)
            elif key.startswith(prefix) and key > after:
                try:
                    state = (self.folder / key).stat()
                except FileNotFoundError:
                    continue
                yield Entry(key, state.st_size, state.st_mtime_ns // 1_000_000)

    def signed_url(
        self, key: str, *, expires_s: int, media_type: str, filename: str | None = None, now_ms: int
    ) -> str:
        """A path and its query, for :mod:`media.storage.serving`."""
        return signing.signed_path(
            key, expires_s=expires_s, media_type=media_type, filename=filename, now_ms=now_ms
        )

    # -- files

    def _path(self, key: str) -> Path:
        return self.folder / names.check(key)

    def _upload(self, token: str) -> Path:
        if len(token) != 32 or not token.isalnum():
            raise NotStored("there is no such upload")
        return self.folder / _UPLOADS / token

    def _part(self, token: str, number: int, etag: str) -> Path:
        if len(etag) != 64 or not etag.isalnum():
            raise WrongParts(f"part {number} is not there")
        return self._upload(token) / f"{number:05}-{etag}"

    def _begun(self, key: str, token: str) -> dict[str, Any]:
        """What :meth:`begin` wrote. Raises :class:`NotStored`."""
        try:
            about: dict[str, Any] = json.loads((self._upload(token) / _JSON).read_bytes())
        except FileNotFoundError:
            raise NotStored("there is no such upload") from None
        if about.get("key") != key:
            raise NotStored("there is no such upload of this key")
        return about

    def _read_about(self, key: str) -> dict[str, Any]:
        try:
            about: dict[str, Any] = json.loads((self.folder / _ABOUT / key).read_bytes())
        except (OSError, ValueError):  # put there by somebody else
            return {}
        return about

    @contextmanager
    def _draft(self) -> Iterator[tuple[BinaryIO, Path]]:
        """A new file to write, and its path; it is gone at the end unless it was placed."""
        folder = self.folder / _DRAFTS
        self._make(folder)
        path = folder / uuid.uuid4().hex
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self._file_mode), "wb") as file:
                yield file, path
        finally:
            path.unlink(missing_ok=True)

    def _place(self, draft: tuple[BinaryIO, Path], key: str, about: Mapping[str, Any]) -> None:
        """Make a draft the object ``key``."""
        file, path = draft
        file.flush()
        os.fsync(file.fileno())
        beside = self.folder / _ABOUT / key
        self._make(beside.parent)
        self._write(beside, json.dumps(about).encode())
        target = self._path(key)
        self._make(target.parent)
        path.replace(target)
        _sync(target.parent)

    def _write(self, path: Path, data: Bytes) -> None:
        """A small file, whole or not at all. Raises ``FileNotFoundError`` if its folder is gone."""
        with self._draft() as (file, draft):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            draft.replace(path)
        _sync(path.parent)

    def _make(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make(folder.parent)
        folder.mkdir(mode=self._folder_mode, exist_ok=True)
        _sync(folder.parent)


def tag(state: os.stat_result) -> str:
    """The ETag of a file: another one after each write."""
    return f'"{state.st_ino:x}-{state.st_size:x}-{state.st_mtime_ns:x}"'


def _about(media_type: str, metadata: Mapping[str, str] | None, cache_control: str) -> dict[str, Any]:
    return {
        "media_type": names.check_media_type(media_type),
        "metadata": names.check_metadata(metadata),
        "cache_control": cache_control,
    }


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _sync(folder: Path) -> None:
    """What was put into a folder is on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _typed(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.warning("a media file could not be handled (%s): %s", what, error.strerror)
        metrics.count("media_storage", f"{what}_failed")
        raise StorageUnavailable(f"{what}: {error.strerror}") from error
