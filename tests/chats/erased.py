"""Somebody of whom something is in every store there is."""

from __future__ import annotations

import base64
import hashlib
import io
import uuid
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import transaction

from accounts.models import Account, Case, LimitOverride, Report, ReportedMessage, Sanction
from accounts.services import erasure
from delivery.hot_keys import keys_of
from delivery.store.sync import store
from delivery.store.values import Flags, PositionWrite, ReceiptWrite
from media.pipeline.process import process
from notifications.models import PushTarget
from tests.accounts.conftest import Person
from tests.accounts.prekeys import someone, with_keys
from tests.accounts.test_conversations import append, open_direct
from tests.accounts.test_photos import put as put_photo
from tests.media.test_process import photo, sent
from whatsapp.infra import hot_sync
from whatsapp.infra.clock import now_ms
from whatsapp.staff import audit
from whatsapp.staff.models import Approval

PIN = "271828"
TOKEN = "0123456789abcdef" * 4


@dataclass
class Life:
    ann: Person
    bob: Person
    direct: str
    group: str
    media: uuid.UUID


def rich_life(hot_url: str) -> Life:
    """Ann's, who knows Bob."""
    ann, _, _ = with_keys()
    bob = someone()
    assert ann.api.patch("/me", {"name": "Ann Rich", "about": "here"}).status_code == 200
    picture = put_photo(ann, photo())
    assert picture.status_code == 200, picture.content
    assert ann.api.put("/auth/pin", {"pin": PIN}).status_code == 204
    assert ann.api.patch("/me/privacy", {"lastSeen": "contacts"}).status_code == 200
    ann.api.put(f"/contacts/{bob.user_id}", {"nickname": "Bob"})
    assert bob.api.post("/contacts", {"phoneNumber": ann.phone, "nickname": "Annie"}).status_code == 200
    direct = open_direct(ann, bob)
    append(ann, direct, "hello", "you")
    append(bob, direct, "yes?")
    assert bob.api.put(f"/blocks/{ann.user_id}").status_code == 204
    assert bob.api.delete(f"/blocks/{ann.user_id}").status_code == 204
    group = ann.api.post("/groups", {"name": "Sailing", "members": [bob.user_id]}).json()["groupId"]
    assert ann.api.post(f"/groups/{group}/invites", {}).status_code == 201
    append(ann, group, "who comes?")
    append(bob, group, "I do")
    media = sent(ann, direct, photo((300, 200)))
    process(media)
    with transaction.atomic():
        store.set_flags(ann.user_id, direct, Flags(pinned=True, draft=b"more"), now_ms())
        store.set_flags(bob.user_id, direct, Flags(archived=True), now_ms())
        store.save(
            [PositionWrite(ann.device_id, direct, 3), PositionWrite(bob.device_id, direct, 2)],
            [ReceiptWrite(direct, ann.user_id, 3, 3), ReceiptWrite(direct, bob.user_id, 2, 1)],
            now_ms(),
        )
    PushTarget.objects.create(
        device_id=ann.device_id,
        app="ios",
        token=TOKEN,
        token_hash=hashlib.sha256(TOKEN.encode()).digest(),
        set_at=now_ms(),
    )
    _judge(ann, bob, direct, media)
    with hot_sync.client(hot_url) as hot:
        for key in keys_of(ann.user_id, [ann.device_id]):
            hot.set(key, "1")
    return Life(ann, bob, direct, group, media)


def _judge(ann: Person, bob: Person, direct: str, media: uuid.UUID) -> None:
    """Each has reported the other, and staff have done something about Ann."""
    for one, other in ((ann, bob), (bob, ann)):
        report = Report.objects.create(
            kind="message", category="spam", note=f"about {other.phone}", reporter=one.user_id,
            reported=other.user_id, conversation=direct, media=media, created_at=now_ms(),
        )  # fmt: skip
        ReportedMessage.objects.create(
            report=report, position=0, message_id=uuid.uuid4(), sender=other.user_id, sent_at=now_ms(),
            content=b"call me", verdict="unverifiable",
        )  # fmt: skip
    Case.objects.create(
        subject_kind="user", subject=ann.user_id, category="spam", opened_at=now_ms(), due_at=now_ms() + 1
    )
    Sanction.objects.create(
        account_id=ann.user_id, kind="limit", reason="spam", imposed_at=now_ms(), imposed_by="automatic",
        appeal="asked", appeal_at=now_ms(), appeal_text=f"it was not me, {ann.phone}",
    )  # fmt: skip
    LimitOverride.objects.create(
        scope="user", subject=ann.user_id, name="groups_per_hour", value=1, reason="x", made_by="automatic",
        created_at=now_ms(),
    )  # fmt: skip
    _write_about(ann, bob)


def _write_about(ann: Person, bob: Person) -> None:
    """What staff did is in the log of the admin, in the audit log, and in an approval; also where only their words name Ann."""
    clerk = User.objects.create(username=f"clerk-{uuid.uuid4()}", is_staff=True)
    for one, words in (
        (ann, "Limited."),
        (bob, f"Wrote to {uuid.UUID(ann.user_id).hex}, {ann.phone[1:]}."),
        (bob, f"Of device {ann.device_id.upper()}."),
    ):
        audit.record(by=clerk, on=Account.objects.get(pk=one.user_id), message=words)
    Approval.objects.create(
        kind="x", subject=ann.user_id, payload={"account": ann.user_id}, reason=f"calls from {ann.phone}",
        state=Approval.State.APPROVED, asked_name=clerk.username, asked_at=1, expires_at=2,
    )  # fmt: skip


def end(person: Person) -> int:
    """``DELETE /me``; the key of the erasure."""
    answer = person.api.delete("/me", body={"pin": PIN})
    assert answer.status_code == 204, answer.content
    return int(erasure.Erasure.objects.get(user=person.user_id).pk)


def residue(person: Person, **more: Any) -> tuple[bool, str]:
    """Whether ``manage.py residue`` finds something, and what it says."""
    out = io.StringIO()
    options = {"phone": person.phone, "device": [person.device_id], "other": [TOKEN], "stdout": out, **more}
    try:
        call_command("residue", person.user_id, **options)
    except CommandError as error:
        return True, f"{out.getvalue()}{error}"
    return False, out.getvalue()


def base64_of(user_id: str) -> str:
    return base64.b64encode(uuid.UUID(user_id).bytes).decode()


def is_there(person: Person) -> bool:
    return Account.objects.filter(pk=person.user_id).exists()
