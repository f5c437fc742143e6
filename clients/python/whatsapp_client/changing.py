"""What a user does to messages: edit, delete, react, vote, forward; in the outbox like messages. And for this device alone:
hide, star, open once."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from .entry import Entry
from .outgoing import Outgoing
from .polls import Poll, poll_content, vote_content
from .rewriting import STARRED
from .search import Found, find
from .signals import Signals
from .view import Shown, view

MAX_FORWARDS = 5
MANY_TIMES = 5  #: what comes to be forwarded so often goes to one chat at a time
MAX_EMOJI = 64  #: bytes; the server says what an emoji is


class Changing(Signals):
    """The part of a :class:`Client` that changes messages.

    :meth:`edit`, :meth:`delete`, :meth:`react` and :meth:`vote` are queued like messages, in their order, kept over restarts
    and tried again until ✓. What the server refuses for good is told by :class:`events.Failed`, with an error of its own
    for each reason (:class:`WindowExpired`, :class:`MessageGone`, :class:`MessageNotFound`, :class:`SendLimitExceeded`), and is
    forgotten then: the message is what it was.
    """

    def _queue(self, conversation_id: str, content: bytes, kind: str, fields: dict[str, Any]) -> Outgoing:
        raise NotImplementedError

    # -- for everyone --------------------------------------------------------------------------------------
    def edit(self, conversation_id: str, message_id: str, content: str | bytes, **fields: Any) -> Outgoing:
        """Another content for an own message. ``fields``: others of `edit_message` by their wire names. Raises ValueError for
        what is none of this user's here, or empty."""
        shown = self._own(conversation_id, message_id)
        if shown.view_once:
            raise ValueError("a message that is seen once cannot be edited")
        raw = content.encode() if isinstance(content, str) else content
        if not raw:
            raise ValueError("an edit has a content; to take a message back, delete it")
        return self._queue(conversation_id, raw, "edit", {"targetId": message_id, **fields})

    def delete(self, conversation_id: str, message_id: str) -> Outgoing:
        """Delete for everyone: an own message, or as an admin of a group anybody's. Raises ValueError for what is not here."""
        if conversation_id in self._chats.groups:
            self._present(conversation_id, message_id)
        else:
            self._own(conversation_id, message_id)
        return self._queue(conversation_id, b"", "delete", {"targetId": message_id, "scope": "everyone"})

    def react(self, conversation_id: str, message_id: str, emoji: str) -> Outgoing:
        """React with one emoji, in place of an earlier one; "" takes it back. Raises ValueError for what is not here."""
        self._present(conversation_id, message_id)
        if len(emoji.encode()) > MAX_EMOJI:
            raise ValueError("a reaction is one emoji")
        fields = {"targetId": message_id, "emoji": emoji}
        return self._queue(conversation_id, emoji.encode(), "reaction", fields)

    def forward(self, entry: Entry, conversation_ids: Iterable[str]) -> list[Outgoing]:
        """Pass a message on, to at most 5 chats at once, to one if it was forwarded many times. Raises ValueError for more, and
        for what has no content (deleted, or to be seen once)."""
        chats = list(dict.fromkeys(conversation_ids))
        count = entry.forward_count
        most = 1 if count + 1 >= MANY_TIMES else MAX_FORWARDS
        if len(chats) > most:
            raise ValueError(f"this message can be forwarded to {most} at a time")
        if entry.type != "message" or entry.content is None or entry.view_once:
            raise ValueError("this message cannot be forwarded")
        fields: dict[str, Any] = {"forwardId": str(uuid.uuid4()), "forwardCount": count + 1}
        if entry.fields.get("mediaUrl"):
            fields["mediaUrl"] = entry.fields["mediaUrl"]
        return [self._queue(chat, entry.content, entry.kind, dict(fields)) for chat in chats]

    # -- polls ---------------------------------------------------------------------------------------------
    def send_poll(
        self, conversation_id: str, question: str, options: Iterable[str], multiple: bool = False
    ) -> Outgoing:
        """A question with 2 to 12 options; ``multiple``: more than one may be chosen. Raises ValueError for what is none."""
        return self._queue(conversation_id, poll_content(question, options, multiple), "poll", {})

    def vote(self, conversation_id: str, message_id: str, options: Iterable[str]) -> Outgoing:
        """Choose these options, in place of earlier ones; none takes the vote back. Raises ValueError for what is no poll
        or no option."""
        shown = self._present(conversation_id, message_id)
        poll: Poll | None = shown.poll
        if poll is None:
            raise ValueError("this message is no poll")
        return self._queue(conversation_id, vote_content(poll, options), "vote", {"targetId": message_id})

    # -- what is shown -------------------------------------------------------------------------------------
    def view(self, conversation_id: str, before: int | None = None, limit: int = 50) -> list[Shown]:
        """What a screen shows: the last ``limit`` messages (below the number ``before``), ascending, each in its present form;
        above them, without ``before``, own ones without ✓. What is deleted for this device, or has vanished, is not there."""
        return view(
            self.database, self.history[conversation_id].log, self.session.user_id, before, limit,
            self.outbox.pending(conversation_id),
        )  # fmt: skip

    def shown(self, conversation_id: str, message_id: str) -> Shown | None:
        """One message of :meth:`view`; None when it is not here."""
        entry = self.history[conversation_id].log.message(message_id)
        if entry is not None:
            # What is below the first page is stored, and shown once the older ones are here.
            return next(iter(self.view(conversation_id, before=entry.seq + 1, limit=1)), None)
        waiting = [shown for shown in self.view(conversation_id, limit=0) if shown.message_id == message_id]
        return waiting[0] if waiting else None

    def changes(self, conversation_id: str) -> list[Outgoing]:
        """Own edits, deletes, reactions and votes without ✓, oldest first."""
        return [outgoing for outgoing in self.outbox.pending(conversation_id) if not outgoing.is_message]

    # -- for this device -----------------------------------------------------------------------------------
    def hide(self, conversation_id: str, message_id: str) -> None:
        """Delete for me: it leaves this device's history for good. Raises ValueError for what is not here."""
        log = self.history[conversation_id].log
        if not log.hide(message_id):
            raise ValueError("there is no such message here")
        self._chats.forget_last(conversation_id, message_id)
        self._chats.touch(conversation_id)

    def star(self, conversation_id: str, message_id: str, on: bool = True) -> None:
        """Give a message a star, or take it. Raises ValueError for what is not here, or deleted."""
        if not self.history[conversation_id].log.mark(message_id, STARRED, on):
            raise ValueError("there is no such message here")
        self._chats.touch(conversation_id)

    def starred(self, limit: int = 50, before: Entry | None = None) -> list[Entry]:
        """Messages with a star, of all chats, newest first; those behind ``before``, the last of an earlier page."""
        return self.history.starred(limit, before)

    def open_once(self, conversation_id: str, message_id: str) -> bytes:
        """The content of a message that is to be seen once: given once, then it is nowhere on this device (but, for a report, in
        the memory of this process). Raises ValueError for what is none, or was opened."""
        content = self.history[conversation_id].log.open_once(message_id)
        if content is None:
            raise ValueError("there is nothing to open")
        self._chats.forget_last(conversation_id, message_id)
        self.flush()  # first it is nowhere, then it is given
        self._chats.touch(conversation_id)
        return content

    # -- search --------------------------------------------------------------------------------------------
    def search(
        self, text: str, conversation_id: str | None = None, limit: int = 50, before: Found | None = None
    ) -> list[Found]:
        """Messages with all these words, newest first, of one chat or of all; the last word may be a beginning.
        ``before``: the last one of an earlier page."""
        return find(self.database, self.history, text, conversation_id, limit, before)

    # -- inside --------------------------------------------------------------------------------------------
    def _present(self, conversation_id: str, message_id: str) -> Shown:
        shown = self.shown(conversation_id, message_id)
        if (
            shown is None
            or shown.deleted
            or (shown.outgoing is not None and shown.outgoing.state == "failed")
        ):
            raise ValueError("there is no such message here")
        return shown

    def _own(self, conversation_id: str, message_id: str) -> Shown:
        shown = self._present(conversation_id, message_id)
        if shown.entry.sender_id != self.session.user_id:
            raise ValueError("this is somebody else's message")
        return shown
