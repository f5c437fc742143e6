"""Addresses of the pages of moderation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern, path

from whatsapp.staff.moderation import case_page, deeds, other_pages, queue_page


def urls(wrap: Callable[..., Any]) -> list[URLPattern]:
    """``wrap``: what every view of the site is wrapped in."""
    case = "moderation/cases/<uuid:case_id>"
    return [
        path("moderation/", wrap(queue_page.listing), name="moderation_queue"),
        path("moderation/next/", wrap(deeds.take_next), name="moderation_next"),
        path("moderation/figures/", wrap(other_pages.figures_page), name="moderation_figures"),
        path("moderation/settings/", wrap(other_pages.settings_page), name="moderation_settings"),
        path("moderation/rested/", wrap(other_pages.rested), name="moderation_rested"),
        path(f"{case}/", wrap(case_page.page), name="moderation_case"),
        path(f"{case}/claim/", wrap(deeds.claim), name="moderation_claim"),
        path(f"{case}/release/", wrap(deeds.release), name="moderation_release"),
        path(f"{case}/decide/", wrap(deeds.decide), name="moderation_decide"),
        path(f"{case}/second/", wrap(deeds.second), name="moderation_second"),
        path(f"{case}/undo/", wrap(deeds.undo), name="moderation_undo"),
        path(f"{case}/media/<uuid:media_id>/", wrap(other_pages.picture), name="moderation_picture"),
    ]
