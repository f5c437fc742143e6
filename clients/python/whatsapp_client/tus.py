"""One upload by tus 1.0 (https://tus.io/protocols/resumable-upload): begun, sent in pieces, gone on with after every cut.

What the server says it has counts (HEAD), never what was sent. The request that begins an upload (POST) has a name, which is
in the database first, so an answer that was lost makes no second upload.
"""

from __future__ import annotations

import asyncio
import base64
import os
import threading
import urllib.parse
import uuid
from collections.abc import Callable
from typing import IO, BinaryIO, cast

from .errors import ClientError, RestError, Unreachable
from .rest import Rest
from .retry import Backoff
from .session import new_key
from .transfers import NAMED_MS, Told, Transfer, Transfers, now_ms, passes

VERSION = "1.0.0"
MIB = 2**20
#: Bytes of one request: whole parts of a store on S3. Smaller after a cut: somebody on the way may allow small requests only.
PIECE, LEAST, MOST = 5 * MIB, 256 * 1024, 20 * MIB
BEGINNINGS = 3  # an upload that the server does not know any more is begun anew so often
ANSWER = 60.0  # s. The last byte is answered when the storage has it


class Source:
    """Bytes that can be read anywhere: a file that is open, or memory."""

    def __init__(self, file: BinaryIO | None, data: bytes = b"") -> None:
        self._file, self._data = file, memoryview(data)

    def read(self, at: int, size: int) -> bytes:
        if self._file is None:
            return bytes(self._data[at : at + size])
        self._file.seek(at, os.SEEK_SET)
        return self._file.read(size)


class Piece:
    """What a request sends: read by the thread that sends it, as it goes. After :meth:`stop` nothing is read any more."""

    def __init__(self, source: Source, at: int, end: int, moved: Callable[[int], None], step: int) -> None:
        self._source, self._at, self._end = source, at, end
        self._moved, self._step, self._said = moved, step, at
        self._lock = threading.Lock()
        self._stopped = False
        #: Why the source cannot be read: no fault of the network's.
        self.failure: OSError | None = None

    def read(self, size: int = -1) -> bytes:
        with self._lock:
            if self._stopped:
                raise OSError("given up")
            wanted = self._end - self._at if size < 0 else min(size, self._end - self._at)
            try:
                data = self._source.read(self._at, wanted) if wanted else b""
                if len(data) < wanted:
                    raise OSError("the file has become shorter while it was sent")
            except OSError as error:
                self.failure = error
                raise
            if self._at - self._said >= self._step:  # what was read before is on its way
                self._said = self._at
                self._moved(self._at)
            self._at += len(data)
            return data

    def stop(self) -> None:
        with self._lock:
            self._stopped = True


class Upload:
    """Sends one file; :meth:`run` ends when the server has all of it."""

    def __init__(self, rest: Rest, transfers: Transfers, transfer: Transfer, backoff: Backoff) -> None:
        self._rest, self._transfers, self._transfer, self._backoff = rest, transfers, transfer, backoff
        self._piece = PIECE
        self._begun = 0

    async def run(self, source: Source, told: Told, place: asyncio.Semaphore) -> None:
        """Raises :class:`RestError` for a refusal that waiting does not change, OSError when the file cannot be read."""
        transfer = self._transfer
        offset: int | None = None  # not known
        while True:
            try:
                if not transfer.address:
                    offset = await self._begin()
                if offset is None:
                    offset = await self._asked()
                told.at(offset)
                if offset == transfer.size:
                    break
                async with place:
                    offset = await self._send(source, offset, told)
                self._backoff.reset()
                self._piece = min(MOST, 2 * self._piece)
            except Unreachable:
                if offset is not None:
                    self._piece = max(LEAST, self._piece // 2)
                offset = None
                await asyncio.sleep(self._backoff.next())
            except RestError as error:
                offset = None
                await asyncio.sleep(self._after(error))
        told.through()

    def _after(self, error: RestError) -> float:
        """Seconds until it goes on after a refusal; raises what it does not go on after."""
        transfer = self._transfer
        if passes(error):
            return self._backoff.next(at_least=error.retry_after or 0.0)
        if not transfer.address:
            if error.status != 409 or self._begun >= BEGINNINGS:
                raise error
            transfer.request = new_key()  # the name stands for something else there
        elif error.status in (404, 410):
            if self._begun >= BEGINNINGS:
                raise error
            transfer.request, transfer.address, transfer.offset, transfer.at = new_key(), "", 0, now_ms()
        elif error.status != 409:
            raise error
        self._transfers.save(transfer)
        return self._backoff.next()

    async def _begin(self) -> int | None:
        """Bytes that the server has already; None: that is to be asked."""
        transfer = self._transfer
        if now_ms() - transfer.at > NAMED_MS:
            transfer.request, transfer.at = new_key(), now_ms()
        self._transfers.save(transfer)
        self._begun += 1
        known = {
            "fileType": transfer.kind,
            "conversationId": transfer.conversation,
            "sha256": transfer.sha256,
        }
        # Of an encrypted file the server need not know what is in it.
        known |= {"encrypted": "true"} if transfer.key else {"filetype": transfer.media_type}
        answer = await self._rest.exchange("POST", "/media/tus", {
            "Tus-Resumable": VERSION,
            "Upload-Length": str(transfer.size),
            "Upload-Metadata": ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in known.items()),
            "X-Idempotency-Key": transfer.request,
            "Content-Length": "0",
        })  # fmt: skip
        path = urllib.parse.urlsplit(answer.get("Location") or "").path
        try:
            uuid.UUID(path.rpartition("/")[2])
        except ValueError:
            raise ClientError("the server gave no address to upload to") from None
        transfer.address = path
        self._transfers.save(transfer)
        return self._heard(answer.get("Upload-Offset")) if answer.get("Upload-Offset") else None

    async def _asked(self) -> int:
        answer = await self._rest.exchange("HEAD", self._transfer.address, {"Tus-Resumable": VERSION})
        return self._heard(answer.get("Upload-Offset"))

    async def _send(self, source: Source, offset: int, told: Told) -> int:
        transfer, loop = self._transfer, asyncio.get_running_loop()

        def moved(at: int) -> None:
            loop.call_soon_threadsafe(told.at, at)

        end = min(transfer.size, offset + self._piece)
        piece = Piece(source, offset, end, moved, max(65_536, transfer.size // 256))
        try:
            answer = await self._rest.exchange(
                "PATCH", transfer.address, {
                    "Tus-Resumable": VERSION, "Upload-Offset": str(offset), "Content-Length": str(end - offset),
                    "Content-Type": "application/offset+octet-stream",
                },
                cast(IO[bytes], piece), timeout=ANSWER,
            )  # fmt: skip
        except Unreachable:
            if piece.failure is not None:
                raise piece.failure from None
            raise
        finally:
            piece.stop()  # a thread outlives the task that waits for it
        return self._heard(answer.get("Upload-Offset"))

    def _heard(self, text: str | None) -> int:
        transfer = self._transfer
        offset = int(text) if text and text.isdecimal() else -1
        if not 0 <= offset <= transfer.size:
            raise ClientError("the server does not say how much it has")
        if offset != transfer.offset:
            transfer.offset = offset
            self._transfers.save(transfer)
        return offset


async def end(rest: Rest, address: str) -> None:
    """Give an upload up. Raises :class:`Unreachable`; what is not there any more is given up already."""
    try:
        await rest.exchange("DELETE", address, {"Tus-Resumable": VERSION})
    except RestError:
        pass
