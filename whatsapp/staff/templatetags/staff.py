"""Times, numbers and coloured labels in the templates of the admin."""

from __future__ import annotations

import functools
import re
from typing import Any, Final

from django import template
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from whatsapp.staff import links, regions, times

register = template.Library()

_COLOURS = {
    "success": (
        "ok",
        "good",
        "linked",
        "succeeded",
        "up",
        "ready",
        "lifted",
        "granted",
        "approved",
        "whole",
        "verified",
        "normal",
        "trusted",
        "done",
        "here",
    ),
    "info": ("running", "direct", "processing", "stored", "uploading", "mine", "erasing", "searched for"),
    "primary": ("group", "claimed"),
    "warning": (
        *("in force", "asked", "signed out", "slow", "draining", "degraded", "overdue", "waits"),
        *("flagged", "second person", "slowed", "restricted", "limited", "challenged", "held"),
    ),
    "danger": (
        *(
            "banned",
            "unlinked",
            "down",
            "failed",
            "lost",
            "gone",
            "parked",
            "refused",
            "rejected",
            "forged",
            "broken",
            "off",
            "blocked",
            "spent",
            "late",
        ),
    ),
}
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHOWN_OF_ID: Final = 8
_COLOUR_OF = {state: colour for colour, states in _COLOURS.items() for state in states}


@register.simple_tag
@functools.lru_cache(maxsize=1_000)
def state_label(state: str) -> SafeString:
    context = {"text": state, "variant": _COLOUR_OF.get(state, "default"), "size": "md"}
    return render_to_string("unfold/helpers/label.html", context)


@register.simple_tag
def link_to(page: str, pk: Any, text: Any) -> SafeString:
    """See :func:`whatsapp.staff.links.link`; without a page the text."""
    return links.link(page, pk, text)


@register.filter
def menu_title(link: Any, otherwise: Any) -> str:
    """What the menu calls the page with this address; of a page that is not in the menu ``otherwise``."""
    for group in settings.UNFOLD["SIDEBAR"]["navigation"]:
        for item in group["items"]:
            if link and str(item["link"]) == str(link):
                return str(item["title"])
    return str(otherwise)


@register.filter
def crumb(title: Any) -> str:
    """A title of a page beside its buttons: of ids the end alone, in which those of one day differ; names of tasks and limits as
    they are written, all else with a capital."""
    text = str(title)
    short = _ID.sub(lambda found: f"…{found[0][-_SHOWN_OF_ID:]}", text)
    first = text.partition(" ")[0]
    return short[:1].upper() + short[1:] if first.isalpha() else short


@register.filter
def when(ms: Any) -> str:
    return times.when(ms if isinstance(ms, int) else None)


@register.filter
def date_of(ms: Any) -> str:
    """The day of a time, for sentences that :func:`when` does not fit into."""
    return times.shown(ms)[:10] if isinstance(ms, int) else times.NONE


@register.filter
def took(ms: Any) -> str:
    return times.span(ms) if isinstance(ms, int) else times.NONE


@register.filter("bytes")
def in_bytes(number: int) -> str:
    return times.size(number)


@register.filter
def thousands(number: int) -> str:
    return f"{number:,}"


@register.filter
def words(code: str) -> str:
    """A code of ours for people: ``slow_down`` → "Slow down"."""
    return code.replace("_", " ").capitalize()


@register.filter
def region(number: int) -> str:
    return regions.region_named(number)


@register.filter
def up_to(number: int) -> str:
    """A number that was counted up to 1,000 alone."""
    return f"{number:,}" if number < 1_000 else "999+"


@register.filter
def logged_at(entry: LogEntry) -> str:
    return times.when(int(entry.action_time.timestamp() * 1000))
