"""What the log holds for a person: conversations, and every event in them that the person is owed, as it is stored. What is
encrypted end to end is so here too: the server has no key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from accounts.export_rows import lines
from accounts.stores import Part, Person
from delivery.store.sync import store
from delivery.store.values import PageRequest

_FOLDER: Final = "conversations"
_AT_ONCE: Final = 100
_EVENTS: Final = 200


def parts(person: Person) -> Iterator[Part]:
    yield lines(f"{_FOLDER}/conversations.jsonl", _conversations(person.user_id))
    yield lines(f"{_FOLDER}/events.jsonl", _events(person.user_id))


def _listed(user: str) -> Iterator[Any]:
    after = ""
    while found := store.listed(user, _AT_ONCE, after):
        yield from found
        after = found[-1].conversation


def _conversations(user: str) -> Iterator[dict[str, Any]]:
    for one in _listed(user):
        flags = store.flags(user, one.conversation)
        yield {
            "conversationId": one.conversation,
            "kind": one.kind,
            "peers": list(one.peers),
            "unread": one.unread,
            "delivered": one.delivered,
            "read": one.read,
            "flags": flags.flags._asdict() if flags is not None else None,
        }


def _events(user: str) -> Iterator[dict[str, Any]]:
    for one in _listed(user):
        after = 0
        while True:
            (page,) = store.pages([PageRequest(one.conversation, user, after, _EVENTS)])
            for event in page.events:
                yield {
                    "conversationId": event.conversation,
                    "seq": event.seq,
                    "messageId": event.message_id,
                    "senderId": event.sender,
                    "deviceId": event.device if event.sender == user else None,
                    "kind": event.kind,
                    "at": event.at,
                    "sentAt": event.sent_at,
                    "edited": event.edited,
                    "until": event.until or None,
                    "content": event.content,
                    "extra": event.extra,
                    "envelopes": event.envelopes,
                }
            if page.through >= page.head or page.through <= after:
                break
            after = page.through
