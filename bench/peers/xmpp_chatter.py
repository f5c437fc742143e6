"""One side of a pair on ejabberd. With receipts: ✓ is stream management's ``<a/>``, which comes when the message is in the
archive; delivered is a receipt (XEP-0184), read a marker (XEP-0333)."""

from __future__ import annotations

from collections import deque

from bench.couples import Tally
from bench.peers import xmpp
from bench.peers.chatter import Chatter
from bench.peers.xmpp_stream import Stream, connect


class XmppChatter(Chatter):
    def __init__(self, tally: Tally, person: dict[str, str], content: bytes, receipts: bool) -> None:
        super().__init__(tally, person, content, receipts)
        self._stream: Stream | None = None
        self._unacked: deque[tuple[int, bytes]] = deque()  # number of the stanza on this stream, message
        self._to = b""
        self._receipts_sent = 0

    async def connect(self) -> None:
        self._to = self.partner.name + b"@localhost"
        self._stream = await connect(self.person, self.receipts, self._on_stanza, self.ended)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def write_message(self, key: bytes) -> None:
        assert self._stream is not None
        self._stream.send(xmpp.message(self._to, key, self.body, self.receipts))
        if self.receipts:
            self._unacked.append((self._stream.out, key))

    def write_delivered(self, key: bytes) -> None:
        assert self._stream is not None
        self._receipts_sent += 1
        self._stream.send(xmpp.received(self._to, self._receipts_sent, key))

    def write_read(self, key: bytes) -> None:
        assert self._stream is not None
        self._receipts_sent += 1
        self._stream.send(xmpp.displayed(self._to, self._receipts_sent, key))

    def _on_stanza(self, stanza: bytes) -> None:
        if stanza.startswith(b"<message "):
            if (body := xmpp.body_of(stanza)) is not None:
                self.heard(xmpp.attribute(stanza, b"id"), body)
            elif (receipt := xmpp.receipt_of(stanza)) is not None:
                self.receipt(*receipt)
            else:
                self.tally.problem("unexpected", stanza.decode())
        elif stanza.startswith(b"<a "):
            through = int(xmpp.attribute(stanza, b"h"))
            while self._unacked and self._unacked[0][0] <= through:
                self.sent(self._unacked.popleft()[1])
        elif not stanza.startswith(b"<presence "):
            self.tally.problem("unexpected", stanza.decode())
