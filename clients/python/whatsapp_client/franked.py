"""Encrypted messages that can be reported: written with a commitment, refused without, kept with what proves them."""

from __future__ import annotations

import base64
from typing import Any

from . import franking
from .changing import Changing
from .codecs import Frame
from .entry import Entry
from .errors import NotFranked
from .outgoing import Outgoing


class FrankedMessages(Changing):
    """The part of a :class:`Client` that encrypts bodies and proves what was in them.

    The key of a message is the program's business: it picks 32 random bytes, gives them to each device in an envelope, and here.
    """

    def send_encrypted(
        self, conversation_id: str, content: str | bytes, key: bytes, *, kind: str = "text", **fields: Any
    ) -> Outgoing:
        """As :meth:`send`, with the content encrypted under ``key`` and franked. ``fields`` may have ``envelopes``."""
        raw = content.encode() if isinstance(content, str) else content
        franked = franking.frank(
            raw, kind=kind, media_url=_text(fields, "mediaUrl"), reply_to=_text(fields, "replyTo")
        )
        sealed = franking.encrypt(franked.body, key)
        return self._queue(conversation_id, sealed, kind, {**fields, "franking": _base64(franked.franking)})

    def edit_encrypted(
        self, conversation_id: str, message_id: str, content: str | bytes, key: bytes
    ) -> Outgoing:
        """As :meth:`edit`, under the key of the message; franked as the message reads then."""
        entry = self._own(conversation_id, message_id).entry
        raw = content.encode() if isinstance(content, str) else content
        franked = franking.frank(raw, **_context(entry))
        sealed = franking.encrypt(franked.body, key)
        return self.edit(conversation_id, message_id, sealed, franking=_base64(franked.franking))

    def read_encrypted(self, entry: Entry, key: bytes, *, required: bool = True) -> bytes:
        """The content of a message, or of an ``edit``, which from then on is stored readable, with what proves it.

        Raises ValueError for another key, and :class:`NotFranked` for what the sender has not committed to: it is not shown, and
        nothing is left of it here, for who would read it could not report it. ``required`` False lets pass what has no commitment
        at all (a server or a client of the version before); it is unverifiable then. b"" for what has no content (any more).
        """
        log = self.history[entry.conversation_id].log
        said = log.form_of(entry)  # of an edited message the edit says what it says
        if entry.content is None or "frankingKey" in said.fields:
            return entry.content or b""
        about = log.message(entry.target_id) if entry.target_id else entry
        body = franking.decrypt(entry.content, key)
        committed = said.fields.get("franking")
        if committed is None and (entry.sender_id == self.session.user_id or not required):
            content = franking.unwrap(body)[1] if body[:1] == bytes([franking.FORMAT]) else body
            log.opened(said, entry.content, content, {"frankingKey": ""})
            return content
        try:
            if committed is None or about is None:
                raise NotFranked("the message came without a commitment")
            opened, content = franking.unwrap(body)
            if not franking.opens(base64.b64decode(committed), opened, content, **_context(about)):
                raise NotFranked("the sender has committed to something else")
        except NotFranked:
            log.refuse(said, entry.content)
            self._chats.touch(entry.conversation_id)
            raise
        log.opened(said, entry.content, content, {"frankingKey": _base64(opened)})
        self._chats.touch(entry.conversation_id)
        return content

    def open_once_encrypted(
        self, conversation_id: str, message_id: str, key: bytes, *, required: bool = True
    ) -> bytes:
        """As :meth:`open_once`, of a message that is encrypted under ``key``; what proves it stays with the copy for a report.
        Raises ValueError for another key too, and then it is not opened; :class:`NotFranked`, and ``required``, are those of
        :meth:`read_encrypted`."""
        log = self.history[conversation_id].log
        entry, item = log.message(message_id), log.copy(message_id)
        if entry is None or item is None or not entry.view_once:
            raise ValueError("there is nothing to open")
        body = franking.decrypt(base64.b64decode(item["content"]), key)
        committed = entry.fields.get("franking")
        self.open_once(conversation_id, message_id)
        if committed is None and not required:
            return franking.unwrap(body)[1] if body[:1] == bytes([franking.FORMAT]) else body
        if committed is None:
            raise NotFranked("the message came without a commitment")
        opened, content = franking.unwrap(body)
        if not franking.opens(base64.b64decode(committed), opened, content, **_context(entry)):
            raise NotFranked("the sender has committed to something else")
        proof = {
            "frankingKey": _base64(opened),
            "franking": committed,
            "frankingTag": entry.fields.get("frankingTag"),
        }
        self.database.copies.keep(
            {**item, "content": _base64(content), **proof}, entry.seq, self.database.now_ms()
        )
        return content

    def report_item(self, conversation_id: str, message_id: str) -> Frame:
        """A message as an item of ``POST /reports``: what it says here, and what proves it. Of one that was not encrypted the
        server's log is the witness. Also of one that is to be seen once, and, for a day and as long as this process lives, of
        one that its sender deleted or that was opened. Raises ValueError for what is not here."""
        item = self.history[conversation_id].log.copy(message_id)
        item = item or self.database.copies.get(conversation_id, message_id, self.database.now_ms())
        if item is None:
            raise ValueError("there is no such message here")
        return item

    def report_items(self, conversation_id: str, message_id: str) -> list[Frame]:
        """:meth:`report_item`, behind what the message said before its sender edited it, ascending: for a day and as long as this
        process lives, of what was read. Own messages are context, as they read now. Raises ValueError for what is not here."""
        now = self.report_item(conversation_id, message_id)
        if now["senderId"] == self.session.user_id:
            return [now]
        kept = self.database.copies.forms(conversation_id, message_id, self.database.now_ms())
        said = {one["content"]: one for one in kept if one["content"] != now["content"]}
        return [*said.values(), now]

    def has_copy(self, conversation_id: str, message_id: str) -> bool:
        """Whether :meth:`report_item` has one."""
        try:
            self.report_item(conversation_id, message_id)
        except ValueError:
            return False
        return True


def _context(entry: Entry) -> dict[str, str]:
    """What a commitment covers besides the content."""
    return {
        "kind": entry.kind,
        "media_url": _text(entry.fields, "mediaUrl"),
        "reply_to": _text(entry.fields, "replyTo"),
    }


def _text(fields: Frame, name: str) -> str:
    return str(fields.get(name) or "")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
