"""The first page: what waits for who reads it, how much there is, how busy it is, what is in trouble. Cheap whatever the size of
the tables."""

from __future__ import annotations

from typing import Any

import redis
from django.contrib.admin.models import LogEntry
from django.http import HttpRequest
from django.urls import reverse

from accounts.models import Device
from delivery.models import Pending
from delivery.store import chosen
from delivery.store.interface import Unavailable
from whatsapp.staff import backups, counting, elsewhere, gateways, health, job_state
from whatsapp.staff.counting import EXACT, Number
from whatsapp.staff.moderation import waiting
from whatsapp.staff.times import NONE

_TABLES = ("accounts_account", "delivery_device", "delivery_head", "delivery_event")
#: Those that say something when the log is on Cassandra.
_TABLES_ELSEWHERE = ("accounts_account",)


def context(request: HttpRequest) -> dict[str, Any]:
    """What ``staff/dashboard.html`` shows; parts that this member of staff may not see are None."""
    user: Any = request.user
    hot = gateways.hot_client()
    reports: list[gateways.Report] | None
    try:
        reports = gateways.read(hot)
    except (redis.RedisError, OSError):
        reports = None
    log_servers = health.cassandra() if chosen.elsewhere() else []
    servers = [health.postgres(), *log_servers, *health.hot(hot), backups.health()]
    hot.close()
    jobs = (
        [job for job in job_state.all_jobs() if job.trouble] if user.has_perm("staff.view_taskrun") else None
    )
    log = None
    if user.has_perm("admin.view_logentry"):
        log = list(LogEntry.objects.select_related("user", "content_type").order_by("-pk")[:8])
    return {
        "rows": [row for row in (waiting.cards(user), _cards(user, reports)) if row],
        "gateways": reports,
        "servers": servers,
        "queues": health.queues(),
        "jobs_in_trouble": jobs,
        "log_entries": log,
    }


def _cards(user: Any, reports: list[gateways.Report] | None) -> list[dict[str, Any]]:
    away = chosen.elsewhere()
    rows = counting.numbers(_TABLES_ELSEWHERE if away else _TABLES)
    living = [report for report in reports or () if report.state != "gone"]

    def total(name: str) -> str:
        return NONE if reports is None else f"{sum(getattr(report, name) for report in living):,}"

    def card(title: str, icon: str, value: Any, page: str = "", permission: str = "") -> dict[str, Any]:
        link = reverse(f"admin:{page}") if page and user.has_perm(permission) else None
        return {"title": title, "icon": icon, "value": value, "link": link}

    devices = (
        counting.about(Device.objects.filter(unlinked_at=None), "accounts_device_linked")
        if away
        else rows["delivery_device"]
    )
    conversations = ("staff_conversation_changelist", "staff.view_conversation")
    log = (
        [
            card("Conversations today", "forum", _active_today(), *conversations),
            card(
                "Changes that wait",
                "pending_actions",
                _waiting(),
                "staff_pendingchange_changelist",
                "staff.view_pendingchange",
            ),
        ]
        if away
        else [
            card("Conversations", "forum", rows["delivery_head"], *conversations),
            card("Events in the log", "database", rows["delivery_event"]),
        ]
    )
    return [
        card(
            "Users", "group", rows["accounts_account"], "accounts_account_changelist", "accounts.view_account"
        ),
        card("Linked devices", "smartphone", devices, "accounts_device_changelist", "accounts.view_device"),
        card("Sessions online", "sensors", total("sessions"), "online", "staff.view_online"),
        card("Messages a minute", "bolt", total("messages_per_minute")),
        *log,
        card("Gateways", "dns", NONE if reports is None else f"{len(living)}"),
        card("Open sockets", "cable", total("sockets")),
    ]


def _active_today() -> str:
    """Conversations with an event today; nobody counts a cluster for a page."""
    try:
        number = len(elsewhere.active(EXACT, days=1))
    except Unavailable:
        return NONE
    return f"{number:,}{'+' if number >= EXACT else ''}"


def _waiting() -> str:
    """Changes that the log on Cassandra has not been told of."""
    number = counting.bounded(Pending.objects.filter(parked=False))
    parked = counting.bounded(Pending.objects.filter(parked=True))
    return f"{Number(number, number <= EXACT)}{f', {parked} parked' if parked else ''}"
