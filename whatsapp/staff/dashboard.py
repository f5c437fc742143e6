"""The first page: how much there is, how busy it is, what is in trouble. Cheap whatever the size of the tables."""

from __future__ import annotations

from typing import Any

import redis
from django.contrib.admin.models import LogEntry
from django.http import HttpRequest
from django.urls import reverse

from delivery.store import chosen
from whatsapp.staff import counting, gateways, health, job_state
from whatsapp.staff.times import NONE

_OF_THE_LOG = ("delivery_device", "delivery_head", "delivery_event")
_TABLES = ("accounts_account", *_OF_THE_LOG)


def context(request: HttpRequest) -> dict[str, Any]:
    """What ``staff/dashboard.html`` shows; parts that this member of staff may not see are None."""
    user: Any = request.user
    hot = gateways.hot_client()
    reports: list[gateways.Report] | None
    try:
        reports = gateways.read(hot)
    except (redis.RedisError, OSError):
        reports = None
    servers = [health.postgres(), *health.hot(hot)]
    hot.close()
    jobs = (
        [job for job in job_state.all_jobs() if job.trouble] if user.has_perm("staff.view_taskrun") else None
    )
    log = None
    if user.has_perm("admin.view_logentry"):
        log = list(LogEntry.objects.select_related("user", "content_type").order_by("-pk")[:8])
    return {
        "cards": _cards(user, reports),
        "gateways": reports,
        "servers": servers,
        "queues": health.queues(),
        "jobs_in_trouble": jobs,
        "log_entries": log,
    }


def _cards(user: Any, reports: list[gateways.Report] | None) -> list[dict[str, Any]]:
    rows: dict[str, Any] = {**counting.numbers(_TABLES)}
    if chosen.elsewhere():
        # These tables are empty then, and nobody counts a cluster for a page.
        rows |= dict.fromkeys(_OF_THE_LOG, NONE)
    living = [report for report in reports or () if report.state != "gone"]

    def total(name: str) -> str:
        return NONE if reports is None else f"{sum(getattr(report, name) for report in living):,}"

    def link(page: str, permission: str) -> str | None:
        return reverse(f"admin:{page}") if user.has_perm(permission) else None

    return [
        {
            "title": "Users",
            "icon": "group",
            "value": rows["accounts_account"],
            "link": link("accounts_account_changelist", "accounts.view_account"),
        },
        {
            "title": "Linked devices",
            "icon": "smartphone",
            "value": rows["delivery_device"],
            "link": link("accounts_device_changelist", "accounts.view_device"),
        },
        {
            "title": "Sessions online",
            "icon": "sensors",
            "value": total("sessions"),
            "link": link("online", "staff.view_online"),
        },
        {"title": "Messages a minute", "icon": "bolt", "value": total("messages_per_minute"), "link": None},
        {
            "title": "Conversations",
            "icon": "forum",
            "value": rows["delivery_head"],
            "link": link("staff_conversation_changelist", "staff.view_conversation"),
        },
        {"title": "Events in the log", "icon": "database", "value": rows["delivery_event"], "link": None},
        {
            "title": "Gateways",
            "icon": "dns",
            "value": NONE if reports is None else f"{len(living)}",
            "link": None,
        },
        {"title": "Open sockets", "icon": "cable", "value": total("sockets"), "link": None},
    ]
