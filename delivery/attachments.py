"""Messages that carry a file of ours: whether their sender may send it, and that their members are sent it.

Asked for these messages alone, those of a batch together, before they are appended: so whoever is sent a message finds its file.
What is noted for a message that is not stored after all lets nobody in, for who wants the file is asked for the message.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from typing import Final

from delivery.ports import Attach, Attached, Detach, nothing_to_detach
from delivery.sending import Sending
from delivery.store.interface import Unavailable
from whatsapp.infra.batcher import Batcher
from whatsapp.wire.errors import Code

log = logging.getLogger(__name__)

#: Other messages of the batch wait for the answer too.
WAIT_S: Final = 2.0
_OURS = re.compile(r"/media/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/content").fullmatch
_SAID: Final = {
    Code.NOT_FOUND: "mediaUrl: there is no such file, or none that you were sent",
    Code.GONE: "mediaUrl: the file was deleted",
    Code.UNSUPPORTED_MEDIA: "mediaUrl: the file was refused",
    Code.UNAVAILABLE: "mediaUrl: it cannot be looked up, send the message again",
}


def media_of(url: str | None) -> str:
    """The id of the file of ours at this address; "" for no address, and for one of others, which is passed on as it is."""
    found = _OURS(url) if url else None
    return found[1] if found else ""


class Attachments:
    """``attach`` and ``detach`` are bound by the layer that has the files."""

    def __init__(self, attach: Attach, detach: Detach = nothing_to_detach) -> None:
        self._attach = attach
        self._detach = detach
        self._deleted: Batcher[tuple[str, str]] = Batcher(self._let_go)

    def deleted(self, conversation: str, message_id: str) -> None:
        """A message was deleted for everyone. Who wants its file is refused by the log already; this is so that the file goes."""
        self._deleted.add((conversation, message_id))

    async def drained(self) -> None:
        await self._deleted.drained()

    async def _let_go(self, messages: list[tuple[str, str]]) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                await self._detach(messages)
        except (Unavailable, TimeoutError) as error:
            log.warning("files of deleted messages stay for a while: %s", type(error).__name__)

    async def refusals(self, batch: Sequence[Sending]) -> dict[Sending, tuple[str, str]]:
        """Code and text for the sends whose file may not be sent. What a device sent behind one that cannot be judged is not
        judged either: it would overtake. Never raises."""
        carrying = [pending for pending in batch if pending.media]
        if not carrying:
            return {}
        asked = [Attached(p.send.conversation, p.send.sender, p.send.message_id, p.media) for p in carrying]
        try:
            async with asyncio.timeout(WAIT_S):
                codes = await self._attach(asked)
        except (Unavailable, TimeoutError) as error:
            log.warning("files of messages could not be looked up: %s", type(error).__name__)
            keys = {pending.key for pending in carrying}
            return {p: (Code.UNAVAILABLE, _SAID[Code.UNAVAILABLE]) for p in batch if p.key in keys}
        return {pending: (code, _SAID[code]) for pending, code in zip(carrying, codes, strict=True) if code}
