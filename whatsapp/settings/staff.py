"""The admin: its looks, its sessions, its navigation."""

from __future__ import annotations

import os
from typing import Any

from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.module_loading import import_string

from whatsapp.settings import env

#: In the order they are installed: templates of ours before unfold's, unfold's before Django's.
STAFF_APPS = [
    "whatsapp.staff.apps.StaffConfig",
    "unfold.apps.BasicAppConfig",
    "whatsapp.staff.apps.AdminConfig",
    "django_otp",
]

# Names, age and flags of its cookies are in ``security``; besides, a session ends with the browser.
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
LOGIN_URL = "/admin/login/"
#: Shown in the corner of the admin unless it is production.
WHATSAPP_ENV = os.environ.get("WHATSAPP_ENV", "development")
#: Named in authenticator apps.
STAFF_ISSUER = "Messaging admin"
#: A file to which anchors of the audit log are appended, on storage that takes nothing back; none if empty.
AUDIT_ANCHORS = os.environ.get("AUDIT_ANCHORS", "")
#: For so many days one person of the staff may ban an account or a device; longer needs two (``whatsapp/staff/banning.py``).
STAFF_BAN_DAYS = env.number("STAFF_BAN_DAYS", 30)


def _item(
    title: str, icon: str, link: str, permission: str = "", count: str = "", but: str = ""
) -> dict[str, Any]:
    """``permission``: of who sees it; or ``enter:`` and the path of a function of the user. ``count``:
    path of a function of the request, whose number stands beside it. ``but``: an item of its own below
    this one's address."""
    item: dict[str, Any] = {"title": title, "icon": icon, "link": reverse_lazy(f"admin:{link}")}
    if permission.startswith("enter:"):
        enter = permission.removeprefix("enter:")
        item["permission"] = lambda request: import_string(enter)(request.user)
    elif permission:
        item["permission"] = lambda request: request.user.has_perm(permission)
    if count:
        item["count"] = count
    if but:
        # By unfold's rule an item is the present one wherever its address begins that of the page.
        here, other = item["link"], reverse_lazy(f"admin:{but}")
        item["active"] = lambda request: (
            request.path.startswith(str(here)) and not request.path.startswith(str(other))
        )
    return item


UNFOLD = {
    "SITE_TITLE": "Messaging admin",
    "SITE_HEADER": "Messaging",
    "SITE_SUBHEADER": "Staff",
    "SITE_URL": None,
    "SITE_SYMBOL": "forum",
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("staff/icon.svg"),
        }
    ],
    "SHOW_VIEW_ON_SITE": False,
    "ENVIRONMENT": "whatsapp.staff.site.environment",
    "STYLES": [lambda request: static("staff/staff.css")],
    "BORDER_RADIUS": "8px",
    "COLORS": {
        "primary": {
            "50": "oklch(97% .02 170)",
            "100": "oklch(94% .045 168)",
            "200": "oklch(89% .08 167)",
            "300": "oklch(82% .11 166)",
            "400": "oklch(74% .13 165)",
            "500": "oklch(64% .13 165)",
            "600": "oklch(53% .11 166)",
            "700": "oklch(46% .09 167)",
            "800": "oklch(39% .075 168)",
            "900": "oklch(34% .06 169)",
            "950": "oklch(23% .04 170)",
        }
    },
    "ACCOUNT": {
        "navigation": [
            {"title": "Change password", "link": reverse_lazy("admin:password_change")},
            {"title": "Second factor", "link": reverse_lazy("admin:security")},
        ]
    },
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": [
            {
                "items": [
                    _item("Dashboard", "space_dashboard", "index"),
                ]
            },
            {
                "title": "People",
                "items": [
                    _item("Users", "group", "accounts_account_changelist", "accounts.view_account"),
                    _item("Devices", "smartphone", "accounts_device_changelist", "accounts.view_device"),
                    _item("Sanctions", "gavel", "accounts_sanction_changelist", "accounts.view_sanction"),
                    _item("Registrations", "sms", "registrations", "accounts.view_smsprefix"),
                    _item("Sessions online", "sensors", "online", "staff.view_online"),
                    _item(
                        "Conversations", "forum", "staff_conversation_changelist", "staff.view_conversation"
                    ),
                ],
            },
            {
                "title": "Moderation",
                "items": [
                    _item(
                        "Queue",
                        "inbox",
                        "moderation_queue",
                        "enter:whatsapp.staff.moderation.access.enter",
                        but="moderation_figures",
                    ),
                    _item("Figures", "monitoring", "moderation_figures", "staff.view_moderation"),
                ],
            },
            {
                "title": "Records",
                "items": [
                    _item(
                        "Legal holds",
                        "balance",
                        "accounts_legalhold_changelist",
                        "accounts.view_legalhold",
                    ),
                    _item(
                        "For authorities",
                        "policy",
                        "accounts_lawfulrequest_changelist",
                        "accounts.view_lawfulrequest",
                    ),
                    _item("Consents", "task_alt", "accounts_consent_changelist", "accounts.view_consent"),
                ],
            },
            {
                "title": "Files",
                "items": [
                    _item("Files", "perm_media", "media_media_changelist", "media.view_media"),
                    _item(
                        "Blocked content",
                        "block",
                        "media_blockedcontent_changelist",
                        "media.view_blockedcontent",
                    ),
                ],
            },
            {
                "title": "Push notifications",
                "items": [
                    _item(
                        "Devices notified",
                        "notifications",
                        "notifications_pushtarget_changelist",
                        "notifications.view_pushtarget",
                    ),
                    _item("Providers", "cloud_sync", "push_health", "notifications.view_pushtarget"),
                ],
            },
            {
                "title": "System",
                "items": [
                    _item("Jobs", "event_repeat", "jobs", "staff.view_taskrun"),
                    _item("Runs", "history", "staff_taskrun_changelist", "staff.view_taskrun"),
                    _item("Schedules", "schedule", "schedules", "django_celery_beat.view_periodictask"),
                    _item(
                        "Pending changes",
                        "pending_actions",
                        "staff_pendingchange_changelist",
                        "staff.view_pendingchange",
                    ),
                    _item("Limits", "speed", "limits", "staff.view_limits"),
                    _item(
                        "Other limits",
                        "tune",
                        "accounts_limitoverride_changelist",
                        "accounts.view_limitoverride",
                    ),
                    _item("Retention", "auto_delete", "retention", "accounts.view_retentionday"),
                    _item(
                        "Erasures", "person_remove", "accounts_erasure_changelist", "accounts.view_erasure"
                    ),
                    _item("Residency", "public", "residency", "accounts.view_retentionday"),
                ],
            },
            {
                "title": "Staff",
                "items": [
                    _item("Staff users", "badge", "auth_user_changelist", "auth.view_user"),
                    _item("Staff groups", "groups", "auth_group_changelist", "auth.view_group"),
                    _item(
                        "Second person",
                        "how_to_reg",
                        "approvals",
                        "enter:whatsapp.staff.approvals_page.enter",
                        count="whatsapp.staff.approvals_page.to_decide",
                    ),
                    _item("Audit chain", "link", "staff_auditrecord_changelist", "staff.view_auditrecord"),
                    _item("Checks of the chain", "verified", "audit_checks", "staff.view_auditcheck"),
                    _item("Audit log", "receipt_long", "admin_logentry_changelist", "admin.view_logentry"),
                ],
            },
        ],
    },
}
