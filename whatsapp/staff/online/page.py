"""The page "sessions online" and the one that ends a session."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from accounts.models import Account, Device
from accounts.services.sessions import revoke_session
from whatsapp.infra.clock import now_ms
from whatsapp.staff import audit, confirm
from whatsapp.staff.admins.search import account_of
from whatsapp.staff.forms import ReasonForm
from whatsapp.staff.online.entry import PERMISSION
from whatsapp.staff.online.query import PER_PAGE

END_PERMISSION = "staff.end_session"


def online(request: HttpRequest) -> HttpResponse:
    """The frame; the rows come over the socket. ``?q=`` a number or user id."""
    user: Any = request.user
    if not user.has_perm(PERMISSION):
        raise PermissionDenied
    query = request.GET.get("q", "").strip()[:100]
    found: Account | None = account_of(query) if query else None
    if query and found is None:
        messages.warning(request, "Nobody has this number or id.")
    context = {
        **admin.site.each_context(request),
        "title": "Sessions online",
        "query": query if found is not None else "",
        "found": found,
        "may_end": user.has_perm(END_PERMISSION),
        "per_page": PER_PAGE,
        "config": {
            "user": str(found.pk) if found is not None else "",
            "mayEnd": user.has_perm(END_PERMISSION),
            "end": reverse("admin:online_end"),
            "account": reverse("admin:accounts_account_change", args=["USER"])
            if user.has_perm("accounts.view_account")
            else "",
            "device": reverse("admin:accounts_device_change", args=["DEVICE"])
            if user.has_perm("accounts.view_device")
            else "",
        },
    }
    return TemplateResponse(request, "staff/online.html", context)


def end(request: HttpRequest) -> HttpResponse:
    """End the session of a device: its tokens are void and its socket closes; the device stays linked and keeps its backlog."""
    user: Any = request.user
    if not user.has_perm(END_PERMISSION):
        raise PermissionDenied
    try:
        device_id = uuid.UUID(request.GET.get("device", ""))
    except ValueError:
        raise Http404 from None
    device = Device.objects.filter(pk=device_id, unlinked_at=None).first()
    if device is None:
        raise Http404
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            locked = Device.objects.select_for_update().get(pk=device.pk)
            revoke_session(device=locked, now=now_ms())
            audit.record(
                by=user,
                on=locked,
                action="session.ended",
                message=f"Session ended: {form.cleaned_data['reason']}",
            )
        messages.success(request, "The session is ended; its socket closes within a second.")
        return redirect("admin:online")
    return confirm.page(
        request,
        site=admin.site,
        title="End this session?",
        text="The device is signed out: its socket closes and its tokens are void. It stays linked and keeps its messages; "
        "the person verifies the number again to come back.",
        objects=[f"device {device.pk}", f"user {device.user_id}"],
        form=form,
        button="End session",
        back=reverse("admin:online"),
    )
