"""Files of a library without a server: what is sent stands still where the test wants."""

from __future__ import annotations

import asyncio
import os
import pathlib
import uuid
from typing import Any

from whatsapp_client import ClientError, NotFound, Outgoing, Sealed, Shown, Unfinished


class FakeMedia:
    """``files``: what the server has, by (address, rendition)."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, str], bytes] = {}
        self.thumbnails: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.begun: dict[str, Unfinished] = {}  # by path
        self.given_up: list[str] = []
        self.error: ClientError | None = None

    async def thumbnail(self, sealed: Sealed, *, conversation_id: str = "") -> bytes:
        self.asked.append((sealed.media_url, "thumbnail"))
        return self.thumbnails.get(sealed.media_url, b"")

    async def download(
        self, media_url: str, to: Any, *, conversation_id: str = "", rendition: str = "", key: Any = None, progress: Any = None,
        most: int = 2**31,
    ) -> int:  # fmt: skip
        self.asked.append((media_url, rendition))
        if self.error is not None:
            raise self.error
        data = self.files.get((media_url, rendition))
        if data is None:
            raise NotFound(404, "not_found", "There is nothing here.")
        if progress is not None:
            progress(len(data), len(data))
        await asyncio.to_thread(pathlib.Path(to).write_bytes, data)
        return len(data)

    def unfinished_of(
        self, conversation_id: str, file: str, *, kind: str = "", encrypted: bool = False
    ) -> Unfinished | None:
        return self.begun.get(os.fspath(file))

    async def give_up(self, unfinished: Unfinished) -> None:
        self.given_up.append(unfinished.name)


class FakeFiles:
    """The part of the fake library that sends files. ``ways``: what is being sent, by path: :class:`Way`."""

    def __init__(self) -> None:
        self.media = FakeMedia()
        self.ways: dict[str, Way] = {}

    async def send_file(
        self, conversation_id: str, file: str, *, kind: str, message_id: str, progress: Any, processing: Any, seal: Any = None,
        content: str = "", name: str = "", caption: str = "", **fields: Any,
    ) -> Outgoing:  # fmt: skip
        way = self.ways[file] = Way(progress, processing)
        size = os.stat(file).st_size
        self.media.begun[file] = Unfinished(file, conversation_id, kind, 0, size, seal is not None)
        await way.end.wait()
        if way.error is not None:
            raise way.error
        media = str(uuid.uuid4())
        url = f"/media/{media}/content"
        raw: Any = content
        if seal is not None:
            raw = seal(Sealed(media, bytes(32), bytes(32), size, "image/png", b"", name, caption))
        return self.send(conversation_id, raw, kind=kind, message_id=message_id, mediaUrl=url, **fields)  # type: ignore[attr-defined]

    def shown(self, conversation_id: str, message_id: str) -> Shown | None:
        found = [one for one in self.view(conversation_id, limit=100) if one.message_id == message_id]  # type: ignore[attr-defined]
        return found[0] if found else None


class Way:
    def __init__(self, progress: Any, processing: Any) -> None:
        self.progress, self.processing = progress, processing
        self.end = asyncio.Event()
        self.error: Exception | None = None
