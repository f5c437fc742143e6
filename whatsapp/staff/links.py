"""Links from page to page, for who may open what they lead to. Everybody else sees their text alone: a link that is offered and
then refused looks like a fault, and an address says what there is."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.models import Case
from whatsapp.staff import approvals_page
from whatsapp.staff.moderation import access
from whatsapp.staff.online import entry

#: For whom a page is drawn. What a model's page shows of a row is asked without the request.
_reader: Final[ContextVar[HttpRequest | None]] = ContextVar("staff_reader", default=None)

#: Pages that are none of a model → whether they open for somebody.
_OWN: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "approval": lambda user, pk: approvals_page.may_open(user, pk),
    "moderation_case": lambda user, pk: access.enter(user) and Case.objects.filter(pk=pk).exists(),
    "online": lambda user, pk: bool(user.has_perm(entry.PERMISSION)),
}


@contextmanager
def read_by(request: HttpRequest) -> Iterator[None]:
    """Links that are made meanwhile are for who sent this request."""
    token = _reader.set(request)
    try:
        yield
    finally:
        _reader.reset(token)


def may_open(page: str, pk: Any = None) -> bool:
    """Whether the one who reads may open a page, named as in ``reverse``: ``accounts_account_change``, or one of :data:`_OWN`.
    Nobody may while no page is being drawn."""
    request: Any = _reader.get()
    if request is None or not page:
        return False
    if page in _OWN:
        return _OWN[page](request.user, pk)
    app, model, _ = page.rsplit("_", 2)
    return bool(admin.site.get_model_admin(apps.get_model(app, model)).has_view_permission(request))


def link(page: str, pk: Any = None, text: Any = None, *, query: str = "") -> SafeString:
    """``text``, by default the id, as a link to the page of ``pk``, or to a list that is searched for ``query``. What is an id is
    set as one."""
    text = pk if text is None else text
    is_id = isinstance(text, uuid.UUID) or text == str(pk)
    if not may_open(page, pk):
        return format_html('<span class="staff-mono">{}</span>', text) if is_id else format_html("{}", text)
    address = reverse(f"admin:{page}", args=[] if pk is None else [pk])
    return format_html(
        '<a class="staff-link{}" href="{}{}">{}</a>',
        " staff-mono" if is_id else "",
        address,
        f"?q={query}" if query else "",
        text,
    )
