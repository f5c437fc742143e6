"""Rows for pages to show: people, devices, a conversation with a secret in it, jobs and runs."""

from __future__ import annotations

import io
import uuid
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from PIL import Image

from accounts.models import Case, Consent, Erasure, LawfulRequest, LegalHold, LimitOverride, Sanction
from accounts.services import limit_overrides
from delivery.ids import uuid7
from delivery.models import Direct, Event, Head, Member, Pending
from delivery.store import pending
from delivery.store.values import Flags
from media.models import BlockedContent, Media, Reference, Rendition
from media.storage import names, storage
from notifications.models import PushTarget
from tests.accounts.conftest import Person, sign_in
from tests.staff.cases import report
from whatsapp.infra.clock import now_ms
from whatsapp.staff.models import Approval, AuditRecord, Outcome, TaskRun

#: In the log as the content of a message; no page may show it in any form.
SECRET = b"the secret of the two of them"


@dataclass
class World:
    ann: Person
    bob: Person
    conversation: uuid.UUID
    job: PeriodicTask
    run: TaskRun
    parked: Pending
    photo: Media
    blocked: BlockedContent
    approval: Approval
    sanction: Sanction
    override: LimitOverride
    case: Case
    hold: LegalHold
    lawful: LawfulRequest
    consent: Consent
    erasure: Erasure

    def pages(self, staff_user: int) -> list[str]:
        """The address of every page that a superuser can open."""
        beat = "/admin/django_celery_beat"
        accounts, staff, auth = "/admin/accounts", "/admin/staff", "/admin/auth"
        media, photo, blocked = "/admin/media/media", self.photo.pk, self.blocked.pk
        user, device = self.ann.user_id, self.ann.device_id
        group, log = Group.objects.get_or_create(name="moderator")[0].pk, LogEntry.objects.latest("pk").pk
        schedules = []
        for model in (IntervalSchedule, CrontabSchedule, ClockedSchedule, SolarSchedule):
            folder = f"{beat}/{model._meta.model_name}"
            schedules += [f"{folder}/", f"{folder}/add/"]
            found = model.objects.first()
            if found is not None:
                schedules += [f"{folder}/{found.pk}/change/", f"{folder}/{found.pk}/history/"]
        return [
            "/admin/",
            f"{accounts}/account/",
            f"{accounts}/account/?q={user}",
            f"{accounts}/account/{user}/change/",
            f"{accounts}/account/{user}/history/",
            f"{accounts}/account/{user}/ban/",
            f"{accounts}/account/{user}/lift/",
            f"{accounts}/account/{user}/remove-pin/",
            f"{accounts}/sanction/",
            f"{accounts}/sanction/?q={user}",
            f"{accounts}/sanction/?kind__exact=suspension&appeal__exact=asked",
            f"{accounts}/sanction/{self.sanction.pk}/change/",
            f"{accounts}/sanction/{self.sanction.pk}/history/",
            f"{accounts}/sanction/{self.sanction.pk}/lift/",
            f"{accounts}/sanction/{self.sanction.pk}/grant/",
            f"{accounts}/sanction/{self.sanction.pk}/uphold/",
            f"{accounts}/device/",
            f"{accounts}/device/?q={user}",
            f"{accounts}/device/{device}/change/",
            f"{accounts}/device/{device}/unlink/",
            f"{accounts}/device/{device}/end/",
            f"{accounts}/device/{device}/ban/",
            f"{accounts}/device/{device}/lift/",
            f"{accounts}/legalhold/",
            f"{accounts}/legalhold/?q={user}",
            f"{accounts}/legalhold/place/",
            f"{accounts}/legalhold/{self.hold.pk}/change/",
            f"{accounts}/legalhold/{self.hold.pk}/history/",
            f"{accounts}/legalhold/{self.hold.pk}/review/",
            f"{accounts}/legalhold/{self.hold.pk}/release/",
            f"{accounts}/lawfulrequest/",
            f"{accounts}/lawfulrequest/?state__exact=asked",
            f"{accounts}/lawfulrequest/?q=4 Js 118/26",
            f"{accounts}/lawfulrequest/ask/",
            f"{accounts}/lawfulrequest/{self.lawful.pk}/change/",
            f"{accounts}/lawfulrequest/{self.lawful.pk}/history/",
            f"{accounts}/lawfulrequest/{self.lawful.pk}/fetch/",
            f"{accounts}/consent/",
            f"{accounts}/consent/?q={user}",
            f"{accounts}/consent/{self.consent.pk}/change/",
            f"{accounts}/erasure/",
            f"{accounts}/erasure/?q={self.erasure.user}",
            f"{accounts}/erasure/?state__exact=erasing&trouble=late",
            f"{accounts}/erasure/{self.erasure.pk}/change/",
            f"{accounts}/erasure/{self.erasure.pk}/history/",
            f"{accounts}/erasure/{self.erasure.pk}/retry/",
            "/admin/online/",
            f"/admin/online/?q={user}",
            f"/admin/online/end/?device={device}",
            f"{staff}/conversation/",
            f"{staff}/conversation/?q={user}",
            f"{staff}/conversation/{self.conversation}/change/",
            f"{media}/",
            f"{media}/?state__exact=ready&kind__exact=image&encrypted__exact=0",
            f"{media}/?q={self.photo.sha256}",
            f"{media}/{photo}/change/",
            f"{media}/{photo}/history/",
            f"{media}/{photo}/look/",
            f"{media}/{photo}/retry/",
            f"{media}/{photo}/block/",
            "/admin/media/blockedcontent/",
            f"/admin/media/blockedcontent/?q={blocked}",
            f"/admin/media/blockedcontent/{blocked}/change/",
            f"/admin/media/blockedcontent/{blocked}/unblock/",
            "/admin/notifications/pushtarget/",
            f"/admin/notifications/pushtarget/?q={user}",
            f"/admin/notifications/pushtarget/{device}/change/",
            f"/admin/notifications/pushtarget/{device}/test/",
            "/admin/push/",
            f"{staff}/pendingchange/",
            f"{staff}/pendingchange/?parked__exact=1",
            f"{staff}/pendingchange/{self.parked.pk}/change/",
            f"{staff}/taskrun/",
            f"{staff}/taskrun/?task={self.run.task}",
            f"{staff}/taskrun/{self.run.pk}/change/",
            "/admin/jobs/",
            f"/admin/jobs/{self.job.pk}/run/",
            "/admin/schedules/",
            f"{beat}/periodictask/",
            f"{beat}/periodictask/add/",
            f"{beat}/periodictask/{self.job.pk}/change/",
            f"{beat}/periodictask/{self.job.pk}/delete/",
            *schedules,
            "/admin/registrations/",
            "/admin/registrations/?q=49",
            "/admin/registrations/switch/",
            "/admin/limits/",
            f"{staff}/auditrecord/",
            f"{staff}/auditrecord/{AuditRecord.objects.latest('pk').pk}/change/",
            "/admin/audit/",
            "/admin/limits/?q=contact&group=groups",
            f"{accounts}/account/{user}/set-limit/",
            f"{accounts}/account/{user}/set-class/",
            f"{accounts}/limitoverride/",
            f"{accounts}/limitoverride/?q={user}",
            f"{accounts}/limitoverride/set-for-class/",
            f"{accounts}/limitoverride/set-for-user/",
            f"{accounts}/limitoverride/class-of-user/",
            f"{accounts}/limitoverride/{self.override.pk}/change/",
            f"{accounts}/limitoverride/{self.override.pk}/clear/",
            "/admin/moderation/",
            "/admin/moderation/?list=closed&category=spam&kind=user",
            "/admin/moderation/figures/",
            "/admin/moderation/settings/",
            f"/admin/moderation/cases/{self.case.pk}/",
            "/admin/approvals/",
            f"/admin/approvals/{self.approval.pk}/",
            "/admin/retention/",
            "/admin/residency/",
            f"{auth}/user/",
            f"{auth}/user/add/",
            f"{auth}/user/{staff_user}/change/",
            f"{auth}/user/{staff_user}/password/",
            f"{auth}/group/",
            f"{auth}/group/add/",
            f"{auth}/group/{group}/change/",
            "/admin/admin/logentry/",
            f"/admin/admin/logentry/{log}/change/",
            "/admin/security/",
            "/admin/password_change/",
        ]


def make_world() -> World:
    ann, bob = sign_in(), sign_in()
    now = now_ms()
    conversation = uuid.uuid4()
    low, high = sorted((ann.user_id, bob.user_id))
    Direct.objects.create(low=low, high=high, conversation=conversation)
    Head.objects.create(
        conversation=conversation, head=2, ordinal=2, oldest_at=now, created_at=now - 5_000, kind="direct"
    )
    for person in (ann, bob):
        Member.objects.create(conversation=conversation, member=person.user_id, joined_seq=0)
    for seq in (1, 2):
        Event.objects.create(
            conversation=conversation, seq=seq, ordinal=seq, at=now - 3_000 + seq, sent_at=now, seq_num=seq,
            sender=ann.user_id, device=ann.device_id, message_id=uuid.uuid4(), kind="text", body_hash=b"h" * 16,
            content=SECRET, extra=SECRET, envelopes=SECRET,
        )  # fmt: skip
    every, _ = IntervalSchedule.objects.get_or_create(every=300, period="seconds")
    CrontabSchedule.objects.get_or_create(minute="17")
    job, _ = PeriodicTask.objects.get_or_create(
        name="delivery-expire", defaults={"task": "delivery.tasks.expire", "interval": every}
    )
    run = TaskRun.objects.create(
        task=job.task,
        task_id=str(uuid.uuid4()),
        started_at=now - 60_000,
        duration_ms=12,
        outcome=Outcome.SUCCEEDED,
    )
    change = pending.SetFlags(ann.user_id, str(conversation), Flags(draft=SECRET), now)
    parked = Pending.objects.create(
        subject=ann.user_id, due_at=now, written_at=now - 9_000, tries=12, failures=12, parked=True,
        error="Unavailable CassErrorServerInvalidQuery", operation=pending.encode(change),
    )  # fmt: skip
    _notified(ann, bob, now)
    photo = _files(ann, conversation, now)
    blocked = BlockedContent.objects.create(
        sha256=some_hash(), reason="Reported by many people", created_at=now - 7_200_000
    )
    approval = Approval.objects.create(
        kind="tests.world", subject=ann.user_id, reason="Two people say so", asked_name="colleague", asked_at=now - 60_000,
        expires_at=now + 3_600_000,
    )  # fmt: skip
    sanction = Sanction.objects.create(
        account_id=bob.user_id, kind="suspension", reason="strangers_day", imposed_at=now - 90_000_000, imposed_by="automatic",
        evidence={"strangers.24h": 61.0, "threshold": 50.0, "factor": 1.0, "step": 2}, until=now - 3_600_000, step=2,
        appeal="asked", appeal_at=now - 80_000_000, appeal_text="These were invitations to my wedding.\nAll of them know me.",
    )  # fmt: skip
    override = limit_overrides.set_override(
        scope="user", subject=ann.user_id, name="messages_per_minute", value=300, until=now + 3_600_000,
        reason="A shop with a sale", by="colleague",
    )  # fmt: skip
    limit_overrides.set_override(
        scope="class",
        subject="business",
        name="groups_per_hour",
        value=50,
        until=None,
        reason="Too many",
        by="colleague",
    )
    case = report(ann, "harassment", by=bob, note="It goes on.", said=[("One more word.", "verified")])
    hold = LegalHold.objects.create(
        user=ann.user_id, matter="4 Js 117/26", placed_at=now - 9_000_000, placed_by="colleague", review_at=now + 864_000_000
    )  # fmt: skip
    lawful = LawfulRequest.objects.create(
        authority="Local Court", reference="4 Js 118/26", legal_basis="Order of 2 November, section 100g", users=[ann.user_id],
        since=now - 864_000_000, until=now, asked_by="colleague", asked_at=now - 60_000,
    )  # fmt: skip
    consent = Consent.objects.create(
        account_id=ann.user_id,
        document="terms",
        version="2026-11",
        given_at=now - 86_400_000,
        device=ann.device_id,
    )
    gone = uuid.uuid4()
    erasure = Erasure.objects.create(
        user=gone, user_hash=gone.bytes * 2, state="erasing", asked_at=now - 95 * 86_400_000, erase_at=now - 64 * 86_400_000,
        due_at=now - 5 * 86_400_000, stores={"hot": now - 60_000, "log": now - 50_000}, identifiers=SECRET, attempts=3,
        next_at=now + 240_000, error="Left: media",
    )  # fmt: skip
    return World(
        ann,
        bob,
        conversation,
        job,
        run,
        parked,
        photo,
        blocked,
        approval,
        sanction,
        override,
        case,
        hold,
        lawful,
        consent,
        erasure,
    )


def _notified(ann: Person, bob: Person, now: int) -> None:
    """A phone with quiet hours that is reached, and a browser that is not any more."""
    PushTarget.objects.create(
        device_id=ann.device_id, app="ios", token=some_hash(), token_hash=uuid.uuid4().bytes * 2, p256dh=b"k" * 65,
        auth=b"a" * 16, quiet_from=1320, quiet_until=420, time_zone="Europe/Berlin", badge=3,
        set_at=now - 86_400_000, success_at=now - 60_000,
    )  # fmt: skip
    endpoint = f"https://updates.push.services.mozilla.com/wpush/v2/{some_hash()}"
    PushTarget.objects.create(
        device_id=bob.device_id, app="web", token=endpoint, token_hash=uuid.uuid4().bytes * 2, p256dh=b"k" * 65, auth=b"a" * 16,
        preview=False, set_at=now - 9_000_000, success_at=now - 7_200_000, error_at=now - 30_000, error="QUOTA_EXCEEDED",
    )  # fmt: skip


def some_hash() -> str:
    return uuid.uuid4().hex + uuid.uuid4().hex


def _files(ann: Person, conversation: uuid.UUID, now: int) -> Media:
    """A photo that is ready, with its small picture in the storage; a video that is worked on, one that was refused, and a photo
    that is encrypted."""

    def add(kind: str, state: str, at: int, **fields: Any) -> Media:
        made = Media(
            id=uuid.UUID(uuid7(at)), owner_id=ann.user_id, conversation_id=conversation, created_at=at
        )
        for name, value in {"kind": kind, "state": state, "stored_at": at + 900, **fields}.items():
            setattr(made, name, value)
        made.save(force_insert=True)
        return made

    add(
        "image",
        "ready",
        now - 900_000,
        encrypted=True,
        size=48_113,
        sha256=some_hash(),
        ready_at=now,
        percent=100,
    )
    add(
        "video",
        "refused",
        now - 600_000,
        media_type="video/mp4",
        size=9_000_000,
        reason="resources",
        attempts=6,
    )
    add(
        "video", "processing", now - 300_000, media_type="video/mp4", size=700_000_000, percent=45, attempts=1
    )
    photo = add(
        "image", "ready", now - 60_000, media_type="image/jpeg", size=482_113, sha256=some_hash(), percent=100, attempts=1,
        ready_at=now - 50_000,
    )  # fmt: skip
    picture = io.BytesIO()
    Image.radial_gradient("L").resize((150, 150)).convert("RGB").save(picture, "JPEG")
    for name, kind, extension, side in (
        ("full", "image/webp", "webp", 1600),
        ("thumb", "image/jpeg", "jpg", 150),
    ):
        digest = some_hash()
        key = names.media(digest, name, extension, now)
        Rendition.objects.create(
            media=photo, name=name, key=key, media_type=kind, sha256=digest, size=len(picture.getvalue()), width=side,
            height=side,
        )  # fmt: skip
        storage().put(key, picture.getvalue(), kind)
    Reference.objects.create(
        media=photo,
        conversation_id=conversation,
        sender_id=ann.user_id,
        message_id=uuid.uuid4(),
        created_at=now,
    )
    return photo
