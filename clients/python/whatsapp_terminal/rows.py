"""From chats to the rows of the list: in which order, and what each says."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from whatsapp_client import Chat, Entry

from . import membership, text
from .backend import Backend
from .chat_list import ARCHIVE, REQUESTS, ChatRow
from .clock import short
from .facts_of import said, said_in
from .names import Names


def muted(chat: Chat, now: int) -> bool:
    """Whether its messages ring no bell. ``now``: ms."""
    return bool(chat.muted_until and chat.muted_until > now)


def chat_rows(
    client: Backend,
    names: Names,
    chats: Iterable[Chat],
    *,
    drafts: Mapping[str, str],
    wanted: str,
    archive: bool,
    requests: bool = True,
) -> list[ChatRow]:
    """Strangers who want to talk under a row of their own, then pinned ones, archived ones last. ``wanted``: what the title
    or the preview must hold, case-folded; then the archive is searched too. ``archive``, ``requests``: whether these chats
    are shown, behind their rows."""
    rows = [chat_row(client, names, chat, draft=drafts.get(chat.conversation_id, "")) for chat in chats]
    if wanted:
        rows = [row for row in rows if wanted in row.title.casefold() or wanted in row.preview.casefold()]
    asking = [row for row in rows if row.request and not row.archived]
    current = [row for row in rows if not row.archived and not row.request]
    current.sort(key=lambda row: not row.pinned)
    put_away = [row for row in rows if row.archived]
    if wanted:
        return asking + current + put_away
    if asking:
        count = f"{len(asking):,} {'person' if len(asking) == 1 else 'people'} you do not know"
        head = ChatRow(REQUESTS, "▾ Message requests" if requests else "▸ Message requests", count)
        current = [head, *(asking if requests else ()), *current]
    if not put_away:
        return current
    unread = sum(row.unread > 0 for row in put_away)
    words = f"{len(put_away):,} {'chat' if len(put_away) == 1 else 'chats'} put away"
    if unread:
        words += f", {unread:,} new"
    head = ChatRow(ARCHIVE, "▾ Archive" if archive else "▸ Archive", words)
    return [*current, head, *(put_away if archive else ())]


def chat_row(client: Backend, names: Names, chat: Chat, *, draft: str = "") -> ChatRow:
    """``draft``: what was begun and not sent."""
    last, at, tick, preview = chat.last, 0, "", ""
    now = time.time_ns() // 1_000_000
    pending = [outgoing for outgoing in client.pending(chat.conversation_id) if outgoing.is_message]
    if pending:
        failed = [outgoing for outgoing in pending if outgoing.state == "failed"]
        newest = (failed or pending)[-1]
        at, preview = (
            newest.timestamp,
            "① View once" if newest.fields.get("viewOnce") else said(newest.kind, newest.content),
        )
        tick = "failed" if failed else "queued"
    elif last is not None:
        at = last.server_timestamp
        own = last.sender_id == client.session.user_id
        preview = _preview(last, names)
        if own and last.type == "message":
            tick = client.receipt_at(chat.conversation_id, last.seq)
        elif chat.kind != "direct" and preview and last.type == "message":
            preview = f"{names.name(last.sender_id)}: {preview}"
    elif chat.kind == "group":
        preview = "No messages yet"
    return ChatRow(
        chat.conversation_id,
        chat.title,
        draft or ("Blocked" if chat.blocked else preview),
        "" if draft or chat.blocked else tick,
        short(at, now),
        chat.unread,
        names.typing_words(chat.conversation_id, chat.kind),
        names.online(chat.user_id),
        bool(draft),
        pinned=bool(chat.pinned),
        muted=muted(chat, now),
        archived=bool(chat.archived),
        mentioned=bool(chat.mentioned and chat.unread),
        group=chat.kind == "group",
        blocked=chat.blocked,
        request=chat.request,
        timer=bool(chat.timer),
    )


def _preview(last: Entry, names: Names) -> str:
    if last.type != "message":
        return " · ".join(membership.sentences(last, names.own, names.name))
    return text.one_line(said_in(last)) or "This message was deleted"
