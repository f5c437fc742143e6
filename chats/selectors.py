"""Reads of conversations over REST. The engine decides what is owed to whom; nothing here looks at a membership by itself."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from django.conf import settings

from accounts.errors import Refused
from accounts.visibility import reads_shown
from delivery.ids import is_direct
from delivery.store.sync import SyncStore, store
from delivery.store.values import Flags, ListedConversation, Logged, Page
from delivery.view import item_for
from groups import selectors as group_selectors
from whatsapp.infra import replica
from whatsapp.infra.clock import now_ms
from whatsapp.wire.codec import JSON
from whatsapp.wire.errors import Code

MAX_EVENTS: Final = 100
_ON_REPLICA: Final = SyncStore(using=replica.ALIAS)

#: A list since some moment begins so long before it: what has just been written may carry an older time, by clocks that differ
#: and transactions that take a while. So an item may come twice, and none is passed over.
SINCE_SLACK_MS: Final = 5_000


def event_json(logged: Logged, user_id: str, device_id: str) -> dict[str, Any]:
    """A row of the log exactly as the socket shows it to this device in JSON."""
    shown: dict[str, Any] = msgspec.json.decode(JSON.encode_item(item_for(logged, user_id, device_id)))
    return shown


@contextmanager
def _shown() -> Iterator[Any]:
    """The store, for what is only shown: on the replica when it has everything that was there when this request came."""
    if settings.LOG_STORE != "postgres":
        yield store
        return
    with replica.reads() as alias:
        yield store if alias == replica.PRIMARY else _ON_REPLICA


def conversations(
    *, user_id: str, device_id: str, since: int, after: str, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of the user's conversations by id, and the cursor of the next. With ``since`` (ms) only those in which something
    is younger: the last event, what the user has set, or how far the user has read."""
    with _shown() as source:
        listed = source.listed(user_id, limit + 1, after)
    more = len(listed) > limit
    listed = listed[:limit]
    shown = [item for item in listed if not since or _changed_at(item) > since - SINCE_SLACK_MS]
    groups = [item.conversation for item in shown if item.kind == "group"]
    cards = group_selectors.cards(user_id=user_id, group_ids=groups) if groups else {}
    items = [
        {**_listed(item, cards.get(item.conversation)), "lastEvent": _last(item, user_id, device_id)}
        for item in shown
    ]
    return items, listed[-1].conversation if more else None


def _changed_at(item: ListedConversation) -> int:
    return max(item.last.at if item.last is not None else 0, item.flags.changed_at, item.receipt_at)


def flags_json(conversation_id: str, flags: Flags) -> dict[str, Any]:
    """What a user has set for a conversation, as the list, the answer of a change and the notice to other devices show it."""
    return {
        "conversationId": conversation_id,
        "mutedUntil": flags.muted_until or None,
        "pinned": flags.pinned,
        "archived": flags.archived,
        "draft": base64.b64encode(flags.draft).decode() if flags.draft is not None else None,
        "flagsVersion": flags.version,
    }


def _listed(item: ListedConversation, card: group_selectors.Card | None) -> dict[str, Any]:
    is_group = item.kind == "group"
    return {
        **flags_json(item.conversation, item.flags),
        "kind": item.kind,
        "peerId": item.peers[0] if item.peers else None,
        "groupId": item.conversation if is_group else None,
        "name": card.name if card else None,
        "role": card.role if card else None,
        "memberCount": card.members if card else None,
        "icon": card.icon if card else None,
        "head": item.head,
        "unread": item.unread,
        "mentioned": item.mentioned,
        "timer": item.timer or None,
        "request": item.request,
        "delivered": item.delivered,
        "read": item.read,
    }


def _last(item: ListedConversation, user_id: str, device_id: str) -> dict[str, Any] | None:
    return event_json(item.last, user_id, device_id) if item.last is not None else None


def badge(*, user_id: str) -> int:
    """The number on the user's badge: unread messages (not events, not one's own) of conversations that are neither muted nor
    archived, and mentions in those. One query, whatever the number of conversations."""
    with _shown() as source:
        return source.badges([user_id], now_ms())[user_id]


def events(*, user_id: str, conversation_id: str, after: int, before: int, limit: int) -> Page:
    """Events owed to the user. Raises :class:`Refused` (``not_found``) for who was never a member, as for no conversation."""
    found = store.conversations([conversation_id]).get(conversation_id)
    if found is None or all(interval.user != user_id for interval in found.members):
        raise Refused(Code.NOT_FOUND, "There is nothing here, or nothing that you may see.")
    return store.history(conversation_id, user_id, after, before, limit)


def message_receipts(
    *, user_id: str, conversation_id: str, message_id: str, after: str, limit: int
) -> list[dict[str, Any]]:
    """How far each other user is who is owed a message, by user id, above ``after``; for its sender.

    Raises :class:`Refused`: ``not_found`` (also for who may not know), ``forbidden`` (it is somebody else's message).
    """
    seq = store.find(conversation_id, message_id)
    page = store.history(conversation_id, user_id, seq - 1, 0, 1) if seq else None
    if page is None or not page.events or page.events[0].seq != seq:
        raise Refused(Code.NOT_FOUND, "There is nothing here, or nothing that you may see.")
    if page.events[0].sender != user_id:
        raise Refused(Code.FORBIDDEN, "Only the sender of a message is told who has it.")
    found = store.message_receipts(conversation_id, user_id, seq, after, limit)
    shown = [True] * len(found)
    if is_direct(conversation_id):
        shown = reads_shown([(receipt.user, user_id) for receipt in found])
    return [
        {
            "userId": receipt.user,
            "status": "read" if receipt.read and shows else "delivered" if receipt.delivered else "sent",
        }
        for receipt, shows in zip(found, shown, strict=True)
    ]
