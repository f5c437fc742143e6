"""The devices of a trial: the client library with all that a user does to messages, and bare sockets beside it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from websockets.exceptions import ConnectionClosed

from tests.faults.history import Sent
from tests.faults.library import LibraryDevice
from tests.faults.people import Device
from tests.faults.trials.chronicle import Changed, Chronicle
from tests.support.patience import until
from whatsapp.wire import frames
from whatsapp_client import Outgoing, SendFailed

#: A change that comes too late is refused with one of these, and nothing is wrong.
LATE = {"gone", "not_found", "not_member", "window_expired", "limit_exceeded"}

#: By so much a bare socket overstates what it has read.
OVERSTATED = 1_000


class Member(LibraryDevice):
    """A device with the client library. Its own messages with ✓ are ``written``: (conversation, messageId), newest last."""

    history: Chronicle

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.written: list[tuple[str, str]] = []

    async def say(self, conversation: str, text: str, *, timeout: float = 60) -> Sent | None:
        sent = await super().say(conversation, text, timeout=timeout)
        if sent is not None:
            self.written.append((conversation, sent.message_id))
        return sent

    async def change(self, make: Callable[[], Outgoing], timeout: float = 60) -> Changed | None:
        """Edit, delete or react, until ✓ or a refusal. None: there is no such message here (any more), or the program was
        killed before the change was in its file."""
        try:
            outgoing = make()
        except ValueError:
            return None
        change = Changed(
            outgoing.conversation_id, self.phone.user, self.id, outgoing.message_id, outgoing.kind, outgoing.target_id,
            outgoing.content,
        )  # fmt: skip
        self.history.changing(change)
        try:
            async with asyncio.timeout(timeout):
                while not await self._confirmed(outgoing, self._killed):
                    await until(lambda: self.alive, "the program runs again")
                    waiting = self.client.changes(outgoing.conversation_id)
                    found = [one for one in waiting if one.message_id == outgoing.message_id]
                    if not found:
                        return None  # whether it was answered before is not known here; the log knows
                    outgoing = found[0]
        except SendFailed as error:
            if error.code not in LATE:
                raise
            change.refused = error.code
        else:
            change.seq = outgoing.seq
        self.history.changed(change)
        return change

    async def killed_while(self, work: Any, after: float) -> None:
        """The program dies while it does something."""
        task = asyncio.create_task(work)
        await asyncio.sleep(after)
        await self.kill()
        await task


class Socket(Device):
    """A device that is nothing but a socket: it acknowledges what it gets, and reads."""

    async def say(self, conversation: str, text: str, *, timeout: float = 60, **fields: Any) -> Sent | None:
        sent = await super().say(conversation, text, timeout=timeout, **fields)
        assert isinstance(sent, Sent)
        return sent

    async def read(self, conversation: str) -> None:
        """Tell that more is read than it has acknowledged: the others must be told of what it has (C5)."""
        acked = self.seen.acked.get(conversation, 0)
        if acked and self.alive and self.peer is not None:
            with contextlib.suppress(ConnectionClosed):
                await self.peer.send(frames.StatusUpdate(conversation, "read", up_to=acked + OVERSTATED))
