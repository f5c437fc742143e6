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
import threading
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from . import sealing, tus
from .database import Database
from .errors import MediaDamaged, MediaRefused, RestError, Unreachable
from .fetching import Download, Part
from .rest import Rest
from .retry import Backoff
from .sealing import Sealed
from .spool import Spool
from .transfers import KEPT_MS, Progress, Told, Transfer, Transfers, now_ms, passes

T = TypeVar("T")
#: What the server calls a file that a message of this kind carries.
FILE_TYPES = {
    "image": "image", "sticker": "image", "video": "video", "audio": "audio", "voice": "audio", "document": "document",
}  # fmt: skip
AT_ONCE = 4  # transfers; others wait
LOOK, SELDOM = 0.2, 2.0  # s between two looks at a file that is worked on: the first, the last
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
class MediaState:
    """What became of an upload. ``state``: ``uploading``, ``stored``, ``processing`` (with ``percent``), ``ready`` or ``refused``
    (with ``reason``); ``expires_at`` (ms): when it is deleted unless somebody is sent it."""

    media_id: str
    state: str
    percent: int
    reason: str
    media_type: str
    size: int
    thumbnail: bool
    expires_at: int


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload that was begun, perhaps by an earlier process: the same call of :meth:`Media.upload` goes on with it."""

    name: str
    conversation_id: str
    kind: str
    done: int
    size: int
    encrypted: bool


class Media:
    """``client.media``. Waits for the network and for a busy server as long as it takes; ``asyncio.timeout`` bounds that."""

    def __init__(self, rest: Rest, database: Database, backoff: Callable[[], Backoff] = Backoff) -> None:
        self._rest, self._backoff = rest, backoff
        self._transfers = Transfers(database)
        self._place = asyncio.Semaphore(AT_ONCE)
        self._running: set[str] = set()
        self._spool = Spool(database.path)
        self._tidy = False

    # -- up ------------------------------------------------------------------------------------------------
    async def upload(
        self, conversation_id: str, file: str | os.PathLike[str] | bytes, *, kind: str = "document", media_type: str = "",
        encrypted: bool = False, thumbnail: bytes = b"", name: str = "", caption: str = "",
        progress: Progress | None = None,
    ) -> Uploaded:  # fmt: skip
        """Upload a file (a path, or its bytes) that is to be sent to this conversation. ``kind``: of the message
        (:data:`FILE_TYPES`); ``media_type``: guessed from the name without. ``encrypted``: with a key of its own; ``thumbnail``,
        ``name`` and ``caption`` go into :attr:`Uploaded.sealed` then. ``progress(done, all)``: bytes, ascending.

        The same call goes on after a cut, and in another process. Raises ValueError for what is none, OSError,
        :class:`NotFound` (the conversation), :class:`TooLarge`, :class:`RateLimited`, :class:`LimitExceeded`, other
        :class:`RestError`."""
        about = (thumbnail, name, caption)
        async with self.uploading(
            conversation_id, file, kind, media_type, encrypted, about, progress
        ) as uploaded:
            return uploaded

    @contextlib.asynccontextmanager
    async def uploading(
        self, conversation_id: str, file: str | os.PathLike[str] | bytes, kind: str, media_type: str, encrypted: bool,
        about: tuple[bytes, str, str] = (b"", "", ""), progress: Progress | None = None,
    ) -> AsyncIterator[Uploaded]:  # fmt: skip
        """What is queued in the last turn of the block is one transaction with the end of the upload; a block that is left by an
        error of the network or of this process leaves it to be gone on with."""
        if kind not in FILE_TYPES:
            raise ValueError(f"kind is one of {', '.join(FILE_TYPES)}")
        media_type = media_type or _guessed(file)
        if encrypted:  # what does not fit must fail before it is uploaded
            Sealed(str(uuid.UUID(int=0)), bytes(32), bytes(32), 0, media_type, *about).to_bytes()
        self._tidy_up()
        with _opened(file) as (source, identity):
            wish = [conversation_id, kind, media_type, encrypted, identity]
            name = hashlib.sha256(json.dumps(wish).encode()).hexdigest()
            if name in self._running:
                name += uuid.uuid4().hex  # two at once are meant to be two
            self._running.add(name)
            try:
                transfer = self._known(name) or await self._new(name, wish, source)
                yield await self._sent(transfer, kind, source, about, progress)
                self._forget(transfer)
            except (RestError, MediaRefused) as error:
                if not isinstance(error, RestError) or not (passes(error) or error.status in (401, 429)):
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
        about: tuple[bytes, str, str],
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
            sealed = Sealed(
                transfer.media_id, transfer.key, digest, transfer.plain_size, transfer.media_type, *about
            )
        return Uploaded(transfer.media_id, kind, transfer.media_type, transfer.size, transfer.sha256, sealed)

    def unfinished(self) -> list[Unfinished]:
        """Uploads that were begun and are not through, oldest first."""
        return [
            Unfinished(t.name, t.conversation, t.kind, t.offset, t.size, bool(t.key))
            for t in self._transfers.all()
        ]

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

    # -- what becomes of it --------------------------------------------------------------------------------
    async def status(self, media_id: str) -> MediaState:
        """Of an own upload. Raises :class:`NotFound`, :class:`Gone`, other :class:`RestError`, :class:`Unreachable`."""
        found = await self._rest.call("GET", f"/media/{uuid.UUID(media_id)}")
        return MediaState(
            media_id, str(found["state"]), int(found["percent"]), str(found.get("reason") or ""), str(found["mediaType"]),
            int(found["size"]), bool(found.get("thumbnailUrl")), int(found["expiresAt"]),
        )  # fmt: skip

    async def ready(self, media_id: str, progress: Callable[[int], None] | None = None) -> MediaState:
        """Wait until the server has looked into a file and made of it what is shown. ``progress(percent)``, ascending. Raises
        :class:`MediaRefused`, :class:`RestError`."""
        backoff, pause, best = self._backoff(), LOOK, -1
        while True:
            wait = pause
            try:
                state = await self.status(media_id)
                backoff.reset()
                if state.state == "refused":
                    raise MediaRefused(state.reason)
                percent = 100 if state.state == "ready" else min(99, state.percent)
                if progress is not None and percent > best:
                    best = percent
                    progress(percent)
                if state.state == "ready":
                    return state
                pause = min(SELDOM, 1.5 * pause)
            except Unreachable:
                wait = backoff.next()
            except RestError as error:
                if not passes(error):
                    raise
                wait = backoff.next(at_least=error.retry_after or 0.0)
            await asyncio.sleep(wait)

    # -- down ----------------------------------------------------------------------------------------------
    async def download(
        self, media_url: str, to: str | os.PathLike[str], *, conversation_id: str = "", rendition: str = "",
        key: Sealed | None = None, sha256: str = "", progress: Progress | None = None,
    ) -> int:  # fmt: skip
        """Fetch the file of a message into the file ``to``, which is written as a whole or not at all; its size. ``rendition``:
        ``thumb`` for the small picture, and others (``poster``, ``720p``…); without, the whole. ``key``: of an encrypted file,
        what the message says of it. ``sha256`` (hexadecimal): of what comes, if somebody knows it. ``progress(done, all)``:
        bytes, ascending.

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
            download = Download(self._rest, path, part, self._backoff(), size, progress)
            received = await download.run(self._place)
            if key is not None:
                await threaded(_unseal, part, target, key)
                return key.size
            await threaded(_keep, part, target, sha256)
            return received
        finally:
            self._running.discard(str(part.path))

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
