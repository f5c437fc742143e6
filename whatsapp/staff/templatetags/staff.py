"""Times, numbers and coloured labels in the templates of the admin."""

from __future__ import annotations

from typing import Any

from django import template
from django.contrib.admin.models import LogEntry
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from whatsapp.staff import times

register = template.Library()

_COLOURS = {
    "ok": "success", "good": "success", "linked": "success", "succeeded": "success", "up": "success", "ready": "success", "running": "info", "waiting": "default", "off": "default", "retired": "default",
    "direct": "info", "group": "primary", "signed out": "warning", "slow": "warning", "draining": "warning", "degraded": "warning", "overdue": "warning",
    "banned": "danger", "unlinked": "danger", "down": "danger", "failed": "danger", "lost": "danger", "gone": "danger",
}  # fmt: skip


@register.simple_tag
def state_label(state: str) -> SafeString:
    context = {"text": state, "variant": _COLOURS.get(state, "default"), "size": "md"}
    return mark_safe(render_to_string("unfold/helpers/label.html", context))


@register.filter
def when(ms: Any) -> str:
    return times.when(ms if isinstance(ms, int) else None)


@register.filter
def took(ms: Any) -> str:
    return times.span(ms) if isinstance(ms, int) else times.NONE


@register.filter
def thousands(number: int) -> str:
    return f"{number:,}"


@register.filter
def logged_at(entry: LogEntry) -> str:
    return times.when(int(entry.action_time.timestamp() * 1000))
