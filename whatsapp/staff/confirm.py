"""The page between an action and its effect: what will happen, to what, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.forms import Form
from django.http import HttpRequest
from django.template.response import TemplateResponse

#: More at once is a job for a script, with a plan.
MAX_AT_ONCE = 100


def page(
    request: HttpRequest,
    *,
    site: AdminSite,
    title: str,
    text: str,
    objects: Sequence[Any],
    form: Form,
    button: str,
    back: str,
    danger: bool = True,
    action: str = "",
    opts: Any = None,
) -> TemplateResponse:
    """A form that is sent to the same address again. ``action``: of a change list, which is named in the second request too."""
    context = {
        **site.each_context(request),
        "title": title,
        "text": text,
        "objects": objects,
        "form": form,
        "button": button,
        "back": back,
        "danger": danger,
        "action": action,
        "opts_of": opts,
        "checkbox": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "staff/confirm.html", context)
