"""Rows for pages to show: people, devices, a conversation with a secret in it, jobs and runs."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from delivery.models import Direct, Event, Head, Member, Pending
from delivery.store import pending
from delivery.store.values import Flags
from tests.accounts.conftest import Person, sign_in
from whatsapp.infra.clock import now_ms
from whatsapp.staff.models import Outcome, TaskRun

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

    def pages(self, staff_user: int) -> list[str]:
        """The address of every page that a superuser can open."""
        beat = "/admin/django_celery_beat"
        accounts, staff, auth = "/admin/accounts", "/admin/staff", "/admin/auth"
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
            f"{accounts}/device/",
            f"{accounts}/device/?q={user}",
            f"{accounts}/device/{device}/change/",
            f"{accounts}/device/{device}/unlink/",
            f"{accounts}/device/{device}/end/",
            f"{accounts}/device/{device}/ban/",
            f"{accounts}/device/{device}/lift/",
            "/admin/online/",
            f"/admin/online/?q={user}",
            f"/admin/online/end/?device={device}",
            f"{staff}/conversation/",
            f"{staff}/conversation/?q={user}",
            f"{staff}/conversation/{self.conversation}/change/",
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
            "/admin/limits/",
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
    return World(ann, bob, conversation, job, run, parked)
