"""Accounts that have been used for a while: conversations, messages, devices, contacts, files. For management steps."""

from __future__ import annotations

import hashlib
import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.ids import conversation_id
from delivery.store.values import Send
from whatsapp.infra.clock import now_ms

if TYPE_CHECKING:  # Django must be set up before its models can be read
    from accounts.models import Account, Device

#: Messages of one append.
_AT_ONCE = 50
_BODY_BYTES = 221


@dataclass(frozen=True)
class Shape:
    """What each account has. Of the ``conversations`` every tenth is a group of five, the others are direct."""

    conversations: int
    messages: int
    devices: int
    files: int
    file_kb: int


def person(number: int, devices: int = 1) -> tuple[Account, list[Device]]:
    """Somebody who has just registered. ``number``: nobody else's."""
    from django.db import transaction

    from accounts.models import Account
    from accounts.services.devices import link_device

    now = now_ms()
    with transaction.atomic():
        account = Account.objects.create(phone=f"+1558{number:07}", name="Bench", created_at=now)
        linked = [
            link_device(account=account, name="bench", registration_id=None, now=now) for _ in range(devices)
        ]
    return account, linked


def make(count: int, shape: Shape, first: int) -> list[Account]:
    """So many of them; each knows the same ones, who only answer. ``first``: of their numbers."""
    others = [person(first + n) for n in range(shape.conversations + 4)]
    return [_rich(first + len(others) + n, others, shape) for n in range(count)]


def _rich(number: int, others: list[tuple[Account, list[Device]]], shape: Shape) -> Account:
    from accounts.models import Contact

    account, devices = person(number, shape.devices)
    Contact.objects.bulk_create(
        Contact(owner=account, user=other, nickname="Friend", updated_at=now_ms()) for other, _ in others
    )
    conversations = [_conversation(n, account, others) for n in range(shape.conversations)]
    sends = []
    for n in range(shape.messages):
        at = n % len(conversations)
        sender, linked = (account, devices) if n % 3 else others[at]
        sends.append(_send(conversations[at], str(sender.pk), str(linked[n % len(linked)].pk)))
    _append(sends)
    for n in range(shape.files):
        _file(account, conversations[n % len(conversations)], shape.file_kb)
    return account


def _conversation(number: int, account: Account, others: list[tuple[Account, list[Device]]]) -> str:
    from django.db import transaction

    from delivery.store.sync import store
    from groups.services.groups import create_group

    if number % 10 == 9:
        members = [other.pk for other, _ in others[number : number + 4]]
        return str(create_group(account=account, name="Bench", members=members).pk)
    now = now_ms()
    with transaction.atomic():
        both = str(account.pk), str(others[number][0].pk)
        return store.ensure_direct(*both, conversation_id(now, "direct"), now)


def _send(conversation: str, sender: str, device: str) -> Send:
    body = os.urandom(_BODY_BYTES)
    hashed = hashlib.blake2b(body, digest_size=16).digest()
    return Send(conversation, sender, device, str(uuid.uuid4()), "text", body, hashed, now_ms(), 0)


def _append(sends: list[Send]) -> None:
    from django.db import transaction

    from delivery.store.sync import store

    for begin in range(0, len(sends), _AT_ONCE):
        with transaction.atomic():
            store.append(str(uuid.uuid4()), sends[begin : begin + _AT_ONCE], now_ms())


def _file(account: Account, conversation: str, kb: int) -> None:
    """As it is behind the pipeline, with a message that carries it."""
    from media.models import Media, Reference, Rendition, State
    from media.storage import storage

    data, id_, now = os.urandom(kb * 1024), uuid.uuid4(), now_ms()
    key, sha256 = f"media/bench/{id_}", hashlib.sha256(data).hexdigest()
    media = Media.objects.create(
        id=id_, owner=account, conversation_id=conversation, kind="image", media_type="image/jpeg",
        size=len(data), sha256=sha256, state=State.READY, created_at=now, stored_at=now, ready_at=now,
    )  # fmt: skip
    storage().put(key, data, "image/jpeg")
    Rendition.objects.create(
        media=media, name="original", key=key, media_type="image/jpeg", sha256=sha256, size=len(data)
    )
    Reference.objects.create(
        media=media, conversation_id=conversation, sender_id=account.pk, message_id=uuid.uuid4(), created_at=now
    )  # fmt: skip


def first_number() -> int:
    """From here on nobody has a number."""
    from accounts.models import Account

    return int(Account.objects.count())
