"""Reads of conversations over REST. The engine decides what is owed to whom; nothing here looks at a membership by itself."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from accounts.errors import Refused
from delivery.store.interface import ListedConversation, Logged, Page
from delivery.store.sync import store
from delivery.view import item_frame
from whatsapp.wire.codec import JSON
from whatsapp.wire.errors import Code

MAX_EVENTS: Final = 100


def event_json(logged: Logged) -> dict[str, Any]:
    """A row of the log exactly as the socket shows it in JSON."""
    shown: dict[str, Any] = msgspec.json.decode(JSON.encode_item(item_frame(logged)))
    return shown


def conversations(
    *, user_id: str, since: int, after: str, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of the user's conversations by id, and the cursor of the next. With ``since`` (ms) only
    those whose last event is younger."""
    listed = store.listed(user_id, limit + 1, after)
    more = len(listed) > limit
    listed = listed[:limit]
    items = [
        _listed(item) for item in listed if not since or (item.last is not None and item.last.at > since)
    ]
    return items, listed[-1].conversation if more else None


def _listed(item: ListedConversation) -> dict[str, Any]:
    return {
        "conversationId": item.conversation,
        "kind": item.kind,
        "peerId": item.peers[0] if item.peers else None,
        "head": item.head,
        "unread": item.unread,
        "lastEvent": event_json(item.last) if item.last is not None else None,
        "delivered": item.delivered,
        "read": item.read,
    }


def events(*, user_id: str, conversation_id: str, after: int, before: int, limit: int) -> Page:
    """Events owed to the user. Raises :class:`Refused` (``not_found``) for who was never a member, as for no conversation."""
    found = store.conversations([conversation_id]).get(conversation_id)
    if found is None or all(interval.user != user_id for interval in found.members):
        raise Refused(Code.NOT_FOUND, "There is nothing here, or nothing that you may see.")
    return store.history(conversation_id, user_id, after, before, limit)
