"""An occupant of a room of ejabberd (XEP-0045). Its own copy of a message is the ✓: it comes when the room's archive has it."""

from __future__ import annotations

import asyncio

from bench.peers import xmpp
from bench.peers.room import Attendant, PeerRoom
from bench.peers.xmpp_stream import Stream, StreamError, connect


class XmppMember(Attendant):
    def __init__(self, room: PeerRoom, person: dict[str, str]) -> None:
        super().__init__(room, person)
        self._to = person["room"].encode()
        self._stream: Stream | None = None
        self._inside: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self) -> None:
        self._stream = await connect(self.person, False, self._on_stanza, self._ended)
        self._stream.send(xmpp.join(self._to, self.name))
        await self._inside

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def write(self, key: bytes) -> None:
        assert self._stream is not None
        self._stream.send(xmpp.to_room(self._to, key, self.room.body))

    def _on_stanza(self, stanza: bytes) -> None:
        if stanza.startswith(b"<message "):
            if (body := xmpp.body_of(stanza)) is not None:
                self.heard(xmpp.attribute(stanza, b"id"), body)
            elif b"<subject" in stanza:  # the last thing that who enters is sent
                if not self._inside.done():
                    self._inside.set_result(None)
            else:
                self.room.problem("unexpected", stanza.decode())
        elif not stanza.startswith(b"<presence ") or b" type='error'" in stanza:
            self._refused(stanza.decode())

    def _ended(self, reason: str) -> None:
        self._refused(reason)
        self.room.problem("closed", reason)

    def _refused(self, reason: str) -> None:
        if not self._inside.done():
            self._inside.set_exception(StreamError(reason))
        else:
            self.room.problem("unexpected", reason)
