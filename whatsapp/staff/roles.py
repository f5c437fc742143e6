"""Who of the staff may do what: a table of roles, each a group of Django's that is made, and completed, after every migration.

A superuser gives people roles (*Staff users*), and may make further groups: those are left alone. What is added to a role by
hand stays, what is taken out of one comes back with the next migration. Nobody gets a permission here that lets them change
staff: only superusers may do that.
"""

from __future__ import annotations

from typing import Any, Final

from django.apps import AppConfig
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db.models.signals import post_migrate

_SCHEDULES: Final = (
    "periodictask", "intervalschedule", "crontabschedule", "clockedschedule", "solarschedule",
)  # fmt: skip

_STAFF: Final = (
    "accounts.view_account",
    "accounts.view_device",
    "accounts.view_sanction",
    "notifications.view_pushtarget",
    "notifications.test_pushtarget",
    "staff.view_online",
    "staff.view_limits",
)

#: Role → permissions, as ``app.codename``.
ROLES: Final[dict[str, tuple[str, ...]]] = {
    # Answers people's questions: sees who they are and how they are reached, changes nothing of theirs.
    "staff": _STAFF,
    # Decides about people and what they send. Long bans need two of them.
    "moderator": (
        *_STAFF,
        "accounts.change_account",
        "accounts.change_device",
        "accounts.change_sanction",
        "media.view_media",
        "media.look_media",
        "media.block_media",
        "media.view_blockedcontent",
        "staff.end_session",
        "staff.view_conversation",
        "staff.moderate",
        "staff.approve_ban",
        "staff.view_moderation",
    ),
    # Keeps the system running, and decides about nobody.
    "operator": (
        "accounts.view_erasure",
        "accounts.change_erasure",
        "accounts.view_limitoverride",
        "accounts.change_limitoverride",
        "accounts.view_smsprefix",
        "accounts.change_smsprefix",
        "accounts.view_retentionday",
        "media.view_media",
        "media.retry_media",
        "notifications.view_pushtarget",
        "notifications.test_pushtarget",
        "staff.view_online",
        "staff.view_limits",
        "staff.view_conversation",
        "staff.view_pendingchange",
        "staff.retry_pendingchange",
        "staff.view_taskrun",
        "staff.run_job",
        *(
            f"django_celery_beat.{act}_{kind}"
            for kind in _SCHEDULES
            for act in ("view", "add", "change", "delete")
        ),
    ),
    # Sees what there is and what everybody did, and can do nothing.
    "auditor": (
        "accounts.view_account",
        "accounts.view_consent",
        "accounts.view_erasure",
        "accounts.view_lawfulrequest",
        "accounts.view_legalhold",
        "accounts.view_device",
        "accounts.view_sanction",
        "accounts.view_limitoverride",
        "accounts.view_smsprefix",
        "accounts.view_retentionday",
        "admin.view_logentry",
        "auth.view_user",
        "auth.view_group",
        "media.view_media",
        "media.view_blockedcontent",
        "notifications.view_pushtarget",
        "staff.view_approval",
        "staff.view_auditrecord",
        "staff.view_auditcheck",
        "staff.view_conversation",
        "staff.view_limits",
        "staff.view_moderation",
        "staff.view_online",
        "staff.view_pendingchange",
        "staff.view_taskrun",
        *(f"django_celery_beat.view_{kind}" for kind in _SCHEDULES),
    ),
}


def make(app: str, using: str) -> None:
    """Give each role its permissions on models of one app, as far as they are there. May be repeated, and run twice at once."""
    known = {
        permission.codename: permission
        for permission in Permission.objects.using(using).filter(content_type__app_label=app)
    }
    for role, names in ROLES.items():
        group, _ = Group.objects.using(using).get_or_create(name=role)
        wanted = (name.split(".", 1)[1] for name in names if name.startswith(f"{app}."))
        group.permissions.add(*(known[codename] for codename in wanted if codename in known))


def _migrated(sender: AppConfig, using: str, **_: Any) -> None:
    # Django's own receiver may come behind this one: then the permissions would be there at the next migration only.
    create_permissions(sender, verbosity=0, interactive=False, using=using)
    make(sender.label, using)


def connect() -> None:
    """From now on after each app's migrations."""
    post_migrate.connect(_migrated, dispatch_uid="whatsapp.staff.roles")
