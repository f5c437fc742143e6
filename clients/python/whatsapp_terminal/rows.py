"""From chats to the rows of the list."""

from __future__ import annotations

import time

from whatsapp_client import Chat

from .backend import Backend
from .chat_list import ChatRow
from .clock import short
from .names import Names

PREVIEW = 400  # bytes of a message; more than the widest list shows


def chat_row(client: Backend, names: Names, chat: Chat, *, draft: str = "") -> ChatRow:
    """``draft``: what was begun and not sent."""
    last, at, tick, preview = chat.last, 0, "", ""
    pending = client.pending(chat.conversation_id)
    if pending:
        failed = [outgoing for outgoing in pending if outgoing.state == "failed"]
        newest = (failed or pending)[-1]
        at, preview = newest.timestamp, newest.content[:PREVIEW].decode("utf-8", "replace")
        tick = "failed" if failed else "queued"
    elif last is not None:
        at = last.server_timestamp
        own = last.sender_id == client.session.user_id
        if last.type != "message":
            preview = ""
        elif last.deleted or last.content is None:
            preview = "This message was deleted"
        else:
            preview = last.content[:PREVIEW].decode("utf-8", "replace")
        if own and last.type == "message":
            tick = client.receipt_at(chat.conversation_id, last.seq)
        elif chat.kind != "direct" and preview:
            preview = f"{names.name(last.sender_id)}: {preview}"
    return ChatRow(
        chat.conversation_id,
        chat.title,
        draft or preview,
        "" if draft else tick,
        short(at, time.time_ns() // 1_000_000),
        chat.unread,
        names.is_typing(chat.conversation_id),
        names.online(chat.user_id),
        bool(draft),
    )
