"""What beat enqueues, and how often. Staff may change it in the admin."""

from __future__ import annotations

from typing import Any

from celery.schedules import crontab

from whatsapp.settings import env
from whatsapp.settings.abuse import ABUSE_JUDGE_MS

#: How often it is looked for media whose task or worker was lost (``media.tasks.process_waiting``).
MEDIA_WAITING_MS = env.number("MEDIA_WAITING_MS", 30_000)
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
# A run that finds none of its work done by another costs one query: a second beat does no harm.
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "delivery-vanish": {"task": "delivery.tasks.vanish", "schedule": 30.0, "options": {"expires": 30}},
    "delivery-expire": {"task": "delivery.tasks.expire", "schedule": 300.0, "options": {"expires": 300}},
    "delivery-trim-outbox": {
        "task": "delivery.tasks.trim_outbox",
        "schedule": 600.0,
        "options": {"expires": 600},
    },
    "chats-fsck": {"task": "chats.tasks.fsck", "schedule": 300.0, "options": {"expires": 300}},
    "chats-residency-audit": {
        "task": "chats.tasks.residency_audit",
        "schedule": crontab(minute=41),
        "options": {"expires": 3600},
    },
    "accounts-prune": {
        "task": "accounts.tasks.prune",
        "schedule": crontab(minute=17),
        "options": {"expires": 3600},
    },
    "accounts-retention-check": {
        "task": "accounts.tasks.retention_check",
        "schedule": crontab(minute=3),
        "options": {"expires": 3600},
    },
    "accounts-sum-codes": {
        "task": "accounts.tasks.sum_up_codes",
        "schedule": 120.0,
        "options": {"expires": 120},
    },
    "accounts-exports": {
        "task": "accounts.tasks.exports_waiting",
        "schedule": 120.0,
        "options": {"expires": 120},
    },
    "accounts-lawful": {
        "task": "accounts.tasks.lawful_waiting",
        "schedule": 120.0,
        "options": {"expires": 120},
    },
    "accounts-tell-identities": {
        "task": "accounts.tasks.tell_identities",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "accounts-erase-due": {
        "task": "accounts.tasks.erase_due",
        "schedule": 900.0,
        "options": {"expires": 900},
    },
    "accounts-unlink-idle": {
        "task": "accounts.tasks.unlink_idle",
        "schedule": crontab(minute=7),
        "options": {"expires": 3600},
    },
    "accounts-judge-abuse": {
        "task": "accounts.tasks.judge_abuse",
        "schedule": ABUSE_JUDGE_MS / 1000,
        "options": {"expires": 30},
    },
    "accounts-end-sanctions": {
        "task": "accounts.tasks.end_sanctions",
        "schedule": 30.0,
        "options": {"expires": 30},
    },
    "groups-leave-retired": {
        "task": "groups.tasks.leave_retired",
        "schedule": crontab(minute=27),
        "options": {"expires": 3600},
    },
    "groups-drop-icons": {
        "task": "groups.tasks.drop_icons",
        "schedule": crontab(minute=37),
        "options": {"expires": 3600},
    },
    "accounts-drop-photos": {
        "task": "accounts.tasks.drop_photos",
        "schedule": crontab(minute=43),
        "options": {"expires": 3600},
    },
    "media-process-waiting": {
        "task": "media.tasks.process_waiting",
        "schedule": MEDIA_WAITING_MS / 1000,
        "options": {"expires": 30},
    },
    "media-sweep-uploads": {
        "task": "media.tasks.sweep_uploads",
        "schedule": crontab(minute=53),
        "options": {"expires": 3600},
    },
    "media-drop-unused": {
        "task": "media.tasks.drop_unused",
        "schedule": crontab(minute=57),
        "options": {"expires": 3600},
    },
    "media-erase-ended": {
        "task": "media.tasks.erase_ended",
        "schedule": 600.0,
        "options": {"expires": 600},
    },
    "media-sweep-storage": {
        "task": "media.tasks.sweep_storage",
        "schedule": crontab(hour=3, minute=33),
        "options": {"expires": 3600},
    },
    "notifications-prune": {
        "task": "notifications.tasks.prune",
        "schedule": crontab(minute=13),
        "options": {"expires": 3600},
    },
    "staff-prune": {
        "task": "whatsapp.staff.tasks.prune",
        "schedule": crontab(minute=47),
        "options": {"expires": 3600},
    },
    "staff-expire-approvals": {
        "task": "whatsapp.staff.tasks.expire_approvals",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "staff-audit-check": {
        "task": "whatsapp.staff.tasks.audit_check",
        "schedule": 600.0,
        "options": {"expires": 600},
    },
    "staff-audit-check-all": {
        "task": "whatsapp.staff.tasks.audit_check_all",
        "schedule": crontab(hour=4, minute=41),
        "options": {"expires": 3600},
    },
}
