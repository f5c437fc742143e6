"""Messages as whoever was sent them has them, and reports of them, for tests of POST /reports."""

from __future__ import annotations

import base64
import secrets
import uuid
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.models import Report
from delivery.franking import Place, Said, commitment, tag
from delivery.store.sync import store
from delivery.store.values import Outcome, Send
from media.models import Media, Reference, State
from tests.accounts.conftest import Person
from whatsapp.infra.clock import now_ms

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Sent:
    """A message as whoever was sent it has it, opened."""

    conversation: str
    sender: Person
    message_id: str
    at: int
    content: bytes
    key: bytes
    kind: str = "text"
    media_url: str = ""

    @property
    def place(self) -> Place:
        return Place(self.conversation, self.message_id, self.sender.user_id, self.sender.device_id, self.at)

    @property
    def franking(self) -> bytes:
        return commitment(self.key, Said(self.content, self.kind, self.media_url))

    def copy(self, *, franked: bool = True, **changes: Any) -> dict[str, Any]:
        """What a client puts into a report; ``changes`` by field."""
        found: dict[str, Any] = {
            "messageId": self.message_id,
            "conversationId": self.conversation,
            "senderId": self.sender.user_id,
            "senderDeviceId": self.sender.device_id,
            "serverTimestamp": self.at,
            "kind": self.kind,
            "content": text(self.content),
        }
        if self.media_url:
            found["mediaUrl"] = self.media_url
        if franked:
            found |= {
                "frankingKey": text(self.key),
                "franking": text(self.franking),
                "frankingTag": text(tag(settings.FRANKING_KEYS, self.franking, self.place)),
            }
        return {**found, **changes}


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def say(
    person: Person,
    conversation: str,
    content: bytes = b"buy this",
    *,
    encrypted: bool = True,
    at: int = 0,
    media_url: str = "",
    name: str = "",
    **fields: Any,
) -> Sent:
    """As a gateway stores it: what is encrypted is something else in the log. ``fields``: of :class:`Send`."""
    at, name = at or now_ms(), name or str(uuid.uuid4())
    send = Send(
        conversation=conversation,
        sender=person.user_id,
        device=person.device_id,
        message_id=name,
        kind="text",
        content=secrets.token_bytes(64) if encrypted else content,
        body_hash=b"0" * 16,
        sent_at=1,
        **fields,
    )
    with transaction.atomic():
        (result,) = store.append(str(uuid.uuid4()), [send], at).results
    assert result.outcome == Outcome.STORED
    return Sent(conversation, person, name, at, content, secrets.token_bytes(32), media_url=media_url)


def ask(person: Person, conversation: str, kind: str = "message", **fields: Any) -> Any:
    body = {"kind": kind, "category": "spam", "conversationId": conversation, **fields}
    return person.api.post("/reports", body)


def made(answer: Any) -> Report:
    assert answer.status_code == 201, answer.content
    assert set(answer.json()) == {"reportId", "blocked", "left"}
    return Report.objects.get(pk=answer.json()["reportId"])


def verdicts(report: Report) -> list[str]:
    return list(report.messages.order_by("position").values_list("verdict", flat=True))


def file_of(person: Person, conversation: str, *, sent: bool = True) -> tuple[Media, Sent]:
    """A file, and the message that carries it."""
    media = Media.objects.create(
        pk=uuid.uuid4(), owner_id=person.user_id, state=State.READY, created_at=now_ms(), look_at=0
    )
    message = say(person, conversation, media_url=f"/media/{media.pk}/content")
    if sent:
        Reference.objects.create(
            media=media,
            conversation_id=conversation,
            sender_id=person.user_id,
            message_id=message.message_id,
            created_at=now_ms(),
        )
    return media, message
