"""Messages that carry a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .media import Media
from .outgoing import Outgoing
from .sealing import Sealed
from .signals import Signals
from .transfers import Progress


class Files(Signals):
    """The part of a :class:`Client` that sends files."""

    media: Media

    def send(
        self, conversation_id: str, content: str | bytes, *, kind: str = "text", **fields: Any
    ) -> Outgoing:
        raise NotImplementedError

    async def send_file(
        self, conversation_id: str, file: str | os.PathLike[str] | bytes, *, kind: str = "document", content: str | bytes = "",
        seal: Callable[[Sealed], str | bytes] | None = None, media_type: str = "", thumbnail: bytes = b"", name: str = "",
        caption: str = "", kept_thumbnail: bytes | None = None, progress: Progress | None = None,
        processing: Callable[[int], None] | None = None, **fields: Any,
    ) -> Outgoing:  # fmt: skip
        """Upload a file and queue the message that carries it. The same call goes on after a cut, and in another process that
        was killed before the message was queued; it is queued once.

        Without ``seal`` the server looks into the file: the message is queued when it is ``ready``, with ``content``;
        ``processing(percent)`` tells how far that is. With it the file is end-to-end encrypted, and the message is queued as soon
        as it is uploaded; its content is what ``seal`` makes of :class:`Sealed`, whose ``to_bytes`` holds the key and must itself
        be encrypted for the receivers. ``kept_thumbnail``: as in :meth:`Media.upload`; ``fields``: as in :meth:`Client.send`.
        Raises what :meth:`Media.upload` raises, and :class:`MediaRefused`."""
        if seal is not None and content:
            raise ValueError("the content of a message with an encrypted file is what `seal` makes")
        encrypted, about = seal is not None, (thumbnail, name, caption, kept_thumbnail)
        async with self.media.uploading(
            conversation_id, file, kind, media_type, encrypted, about, progress
        ) as uploaded:
            if seal is not None:
                assert uploaded.sealed is not None
                content = seal(uploaded.sealed)
            else:
                await self.media.ready(uploaded.media_id, processing)
            return self.send(conversation_id, content, kind=kind, mediaUrl=uploaded.media_url, **fields)
