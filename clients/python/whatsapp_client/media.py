"""Files: sent and fetched in pieces, so that a cut costs what was on its way, whatever their size."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import mimetypes
import os
import pathlib
import re
import tempfile
import threading
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from . import sealing, thumbnails, tus
from .database import Database
from .errors import MediaDamaged, MediaRefused, RestError, Unreachable
from .fetching import MOST, Download, Part
from .media_states import States
from .rest import Rest
from .retry import Backoff
from .sealing import Sealed
from .spool import Spool
from .transfers import KEPT_MS, Progress, Told, Transfer, Transfers, now_ms, passes

T = TypeVar("T")
#: What is said of an encrypted file in the message: thumbnail, name, caption; and the small picture that the server keeps.
About = tuple[bytes, str, str, bytes | None]
NOTHING: About = (b"", "", "", None)
#: What the server calls a file that a message of this kind carries.
FILE_TYPES = {
    "image": "image", "sticker": "image", "video": "video", "audio": "audio", "voice": "audio", "document": "document",
}  # fmt: skip
AT_ONCE = 4  # transfers; others wait
PICTURES = ("image", "sticker")
_CONTENT = re.compile(r"/media/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/content")
UNKNOWN = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What the server has. ``sealed``: of an encrypted file, what its receivers must know; otherwise None."""

    media_id: str
    kind: str
    media_type: str
    size: int
    sha256: str
    sealed: Sealed | None = None

    @property
    def media_url(self) -> str:
        """What a message carries: ``client.send(…, kind=…, mediaUrl=uploaded.media_url)``."""
        return f"/media/{self.media_id}/content"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload that was begun, perhaps by an earlier process: the same call of :meth:`Media.upload` goes on with it."""

    name: str
    conversation_id: str
    kind: str
    done: int
    size: int
    encrypted: bool


class Media(States):
    """``client.media``. Waits for the network and for a busy server as long as it takes; ``asyncio.timeout`` bounds that."""

    def __init__(
        self, rest: Rest, database: Database, backoff: Callable[[], Backoff] = Backoff, online: Callable[[], bool] = lambda: False
    ) -> None:  # fmt: skip
        super().__init__(rest, backoff, online)
        self._transfers = Transfers(database)
        self._place = asyncio.Semaphore(AT_ONCE)
        self._running: set[str] = set()
        self._spool = Spool(database.path)
        self._tidy = False

    # -- up ------------------------------------------------------------------------------------------------
    async def upload(
        self, conversation_id: str, file: str | os.PathLike[str] | bytes, *, kind: str = "document", media_type: str = "",
        encrypted: bool = False, thumbnail: bytes = b"", name: str = "", caption: str = "", kept_thumbnail: bytes | None = None,
        progress: Progress | None = None,
    ) -> Uploaded:  # fmt: skip
        """Upload a file (a path, or its bytes) that is to be sent to this conversation. ``kind``: of the message
        (:data:`FILE_TYPES`); ``media_type``: guessed from the name without. ``encrypted``: with a key of its own; ``thumbnail``,
        ``name`` and ``caption`` go into :attr:`Uploaded.sealed` then. ``kept_thumbnail``: a small picture that the server keeps,
        encrypted too (None: made of a picture if Pillow is here; empty: none). ``progress(done, all)``: bytes, ascending.

        The same call goes on after a cut, and in another process. Raises ValueError for what is none, OSError,
        :class:`NotFound` (the conversation), :class:`TooLarge`, :class:`RateLimited`, :class:`LimitExceeded`, other
        :class:`RestError` (``feature_disabled``: the server takes no files for now)."""
        about = (thumbnail, name, caption, kept_thumbnail)
        async with self.uploading(
            conversation_id, file, kind, media_type, encrypted, about, progress
        ) as uploaded:
            return uploaded

    @contextlib.asynccontextmanager
    async def uploading(
        self, conversation_id: str, file: str | os.PathLike[str] | bytes, kind: str, media_type: str, encrypted: bool,
        about: About = NOTHING, progress: Progress | None = None,
    ) -> AsyncIterator[Uploaded]:  # fmt: skip
        """What is queued in the last turn of the block is one transaction with the end of the upload; a block that is left by an
        error of the network or of this process leaves it to be gone on with."""
        if kind not in FILE_TYPES:
            raise ValueError(f"kind is one of {', '.join(FILE_TYPES)}")
        media_type = media_type or _guessed(file)
        if encrypted:  # what does not fit must fail before it is uploaded
            Sealed(str(uuid.UUID(int=0)), bytes(32), bytes(32), 0, media_type, *about[:3]).to_bytes()
            thumbnails.seal(bytes(32), about[3] or b"")
        self._tidy_up()
        with _opened(file) as (source, identity):
            wish = [conversation_id, kind, media_type, encrypted, identity]
            name = _name(wish)
            if name in self._running:
                name += uuid.uuid4().hex  # two at once are meant to be two
            self._running.add(name)
            try:
                transfer = self._known(name) or await self._new(name, wish, source)
                if encrypted and about[3] is None and kind in PICTURES:
                    about = (*about[:3], await threaded(thumbnails.made_of, file))
                yield await self._sent(transfer, kind, source, about, progress)
                self._forget(transfer)
            except (RestError, MediaRefused) as error:
                if not isinstance(error, RestError) or not (passes(error) or error.status in (401, 429, 501)):
                    self._forget_named(name)
                raise
            finally:
                self._running.discard(name)

    async def _new(self, name: str, wish: list[Any], source: BinaryIO) -> Transfer:
        conversation_id, kind, media_type, encrypted, _ = wish
        if encrypted:
            key = sealing.new_key()
            spool, plain, sha256 = await threaded(self._spool.seal, source, key)
            size = sealing.sealed_size(plain)
            transfer = Transfer(
                name, conversation_id, FILE_TYPES[kind], media_type, size, sha256, key, plain, spool
            )
        else:
            size, sha256 = await threaded(sealing.file_digest, source)
            if not size:
                raise ValueError("a file has at least one byte")
            transfer = Transfer(name, conversation_id, FILE_TYPES[kind], media_type, size, sha256)
        self._transfers.save(transfer)
        return transfer

    async def _sent(
        self,
        transfer: Transfer,
        kind: str,
        source: BinaryIO,
        about: About,
        progress: Progress | None,
    ) -> Uploaded:
        with contextlib.ExitStack() as stack:
            if transfer.key:
                source = stack.enter_context(self._spool.path(transfer.spool).open("rb"))
            upload = tus.Upload(self._rest, self._transfers, transfer, self._backoff())
            await upload.run(tus.Source(source), Told(transfer.size, progress), self._place)
        sealed = None
        if transfer.key:
            digest = bytes.fromhex(transfer.sha256)
            kept = await self._keep_thumbnail(transfer, about[3]) if about[3] else b""
            sealed = Sealed(
                transfer.media_id, transfer.key, digest, transfer.plain_size, transfer.media_type, *about[:3], kept
            )  # fmt: skip
        return Uploaded(transfer.media_id, kind, transfer.media_type, transfer.size, transfer.sha256, sealed)

    async def _keep_thumbnail(self, transfer: Transfer, thumbnail: bytes) -> bytes:
        """Give the server the encrypted small picture; the digest of that. Empty where it takes none: the file goes without."""
        data, digest = thumbnails.seal(transfer.key, thumbnail)
        backoff, headers = self._backoff(), {"Content-Type": UNKNOWN, "Content-Length": str(len(data))}
        while True:
            try:
                path = f"/media/{transfer.media_id}/thumbnail"
                await self._rest.exchange("PUT", path, headers, io.BytesIO(data))
                return digest
            except Unreachable:
                await asyncio.sleep(backoff.next())
            except RestError as error:
                if not passes(error):  # none is taken, by an older server or for now
                    return b""
                await asyncio.sleep(backoff.next(at_least=error.retry_after or 0.0))

    def unfinished(self) -> list[Unfinished]:
        """Uploads that were begun and are not through, oldest first."""
        return [
            Unfinished(t.name, t.conversation, t.kind, t.offset, t.size, bool(t.key))
            for t in self._transfers.all()
        ]

    def unfinished_of(
        self, conversation_id: str, file: str | os.PathLike[str] | bytes, *, kind: str = "document", media_type: str = "",
        encrypted: bool = False,
    ) -> Unfinished | None:  # fmt: skip
        """What such a call of :meth:`upload` would go on with; None: it would begin anew. Raises OSError."""
        with _opened(file) as (_, identity):
            name = _name([conversation_id, kind, media_type or _guessed(file), encrypted, identity])
        return next((each for each in self.unfinished() if each.name == name), None)

    async def give_up(self, unfinished: Unfinished) -> None:
        """Forget an upload, here and at the server. Raises ValueError while it is running (cancel that first),
        :class:`Unreachable`."""
        if unfinished.name in self._running:
            raise ValueError("this upload is running")
        transfer = self._transfers.find(unfinished.name)
        if transfer is not None:
            if transfer.address:
                await tus.end(self._rest, transfer.address)
            self._forget(transfer)

    # -- down ----------------------------------------------------------------------------------------------
    async def download(
        self, media_url: str, to: str | os.PathLike[str], *, conversation_id: str = "", rendition: str = "",
        key: Sealed | None = None, sha256: str = "", progress: Progress | None = None, most: int = MOST,
    ) -> int:  # fmt: skip
        """Fetch the file of a message into the file ``to``, which is written as a whole or not at all; its size. ``rendition``:
        ``thumb`` for the small picture, and others (``poster``, ``720p``…); without, the whole. ``key``: of an encrypted file,
        what the message says of it. ``sha256`` (hexadecimal): of what comes, if somebody knows it. ``progress(done, all)``:
        bytes, ascending. ``most``: bytes; more are :class:`MediaDamaged` before any is fetched.

        What came before a cut is not fetched again, also by another process. A file that is not ready yet is waited for. Raises
        ValueError for an address that is not our server's, :class:`NotFound` (there is none, or none for this user, or no such
        form of it), :class:`Gone`, :class:`MediaRefused`, :class:`MediaDamaged`, OSError."""
        found = _CONTENT.fullmatch(media_url)
        if found is None:
            raise ValueError("this is no file of the server's")
        query = {"rendition": rendition, "conversationId": conversation_id}
        path = media_url
        if any(query.values()):
            path += "?" + urllib.parse.urlencode({name: value for name, value in query.items() if value})
        target = pathlib.Path(to)
        mark = hashlib.sha256(f"{media_url}?{rendition}".encode()).hexdigest()[:16]
        part = Part(target.with_name(f".{target.name[:80]}.{mark}.part"))
        if str(part.path) in self._running:
            raise ValueError("this file is on its way already")
        self._running.add(str(part.path))
        try:
            size = sealing.sealed_size(key.size) if key is not None else None
            download = Download(self._rest, path, part, self._backoff(), size, progress, most)
            received = await download.run(self._place)
            if key is not None:
                await threaded(_unseal, part, target, key)
                return key.size
            await threaded(_keep, part, target, sha256)
            return received
        finally:
            self._running.discard(str(part.path))

    async def thumbnail(self, sealed: Sealed, *, conversation_id: str = "") -> bytes:
        """The small picture of an encrypted file that the server keeps; empty if there is none. Raises as :meth:`download`."""
        if not sealed.thumbnail_digest:
            return b""
        with tempfile.TemporaryDirectory(prefix="whatsapp-client-") as folder:
            data = pathlib.Path(folder, "thumbnail")
            await self.download(
                sealed.media_url, data, conversation_id=conversation_id, rendition="thumb", most=thumbnails.MOST
            )  # fmt: skip
            return thumbnails.unseal(
                sealed.key, sealed.thumbnail_digest, await asyncio.to_thread(data.read_bytes)
            )

    # -- what is kept -------------------------------------------------------------------------------------
    def _known(self, name: str) -> Transfer | None:
        transfer = self._transfers.find(name)
        if transfer is None:
            return None
        if not transfer.key:
            return transfer
        if self._spool.holds(transfer.spool, transfer.size):
            return transfer
        self._forget(transfer)
        return None

    def _forget(self, transfer: Transfer) -> None:
        self._transfers.forget(transfer.name)
        if transfer.spool:
            # A file without its row is deleted by the next process; a row without its file is forgotten, too.
            asyncio.get_running_loop().call_soon(self._spool.remove, transfer.spool)

    def _forget_named(self, name: str) -> None:
        transfer = self._transfers.find(name)
        if transfer is not None:
            self._forget(transfer)

    def _tidy_up(self) -> None:
        """Once a process, before anything runs."""
        if self._tidy:
            return
        self._tidy = True
        kept = set()
        for transfer in self._transfers.all():
            if now_ms() - transfer.at > KEPT_MS:
                self._transfers.forget(transfer.name)
            else:
                kept.add(transfer.spool)
        self._spool.keep_only(kept)


async def threaded(work: Callable[..., T], *arguments: Any) -> T:
    """``work(*arguments, check)`` in a thread, which ends soon when the task is cancelled; it is waited for, for it has files
    open."""
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise OSError("given up")

    running = asyncio.get_running_loop().run_in_executor(None, lambda: work(*arguments, check))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([running])
        raise


def _name(wish: list[Any]) -> str:
    return hashlib.sha256(json.dumps(wish).encode()).hexdigest()


def _guessed(file: str | os.PathLike[str] | bytes) -> str:
    return UNKNOWN if isinstance(file, bytes) else mimetypes.guess_type(os.fspath(file))[0] or UNKNOWN


@contextlib.contextmanager
def _opened(file: str | os.PathLike[str] | bytes) -> Any:
    """The file, and what it is known by in another process."""
    if isinstance(file, bytes):
        yield io.BytesIO(file), hashlib.sha256(file).hexdigest()
        return
    with open(file, "rb") as source:
        state = os.fstat(source.fileno())
        yield source, [os.path.realpath(file), state.st_size, state.st_mtime_ns, state.st_ino]


def _unseal(part: Part, target: pathlib.Path, sealed: Sealed, check: Callable[[], None]) -> None:
    opened = part.path.with_name(part.path.name + ".open")
    opened.unlink(missing_ok=True)
    descriptor = os.open(opened, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with part.path.open("rb") as source, os.fdopen(descriptor, "wb") as file:
            sealing.unseal(source, file, sealed, check)
            sealing.sync(file)
        os.replace(opened, target)
    except MediaDamaged:
        part.remove()
        raise
    finally:
        opened.unlink(missing_ok=True)
    part.remove()


def _keep(part: Part, target: pathlib.Path, sha256: str, check: Callable[[], None]) -> None:
    if sha256:
        with part.path.open("rb") as source:
            if sealing.file_digest(source, check)[1] != sha256.lower():
                part.remove()
                raise MediaDamaged("these are not the bytes that were expected")
    part.keep_as(target)
