"""Metadata for an authority takes two of the staff, and is fetched once, by a link that is good for ten minutes."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

from django.contrib.auth.models import User
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse

from accounts import tasks
from accounts.archives import ArchivesUnavailable
from accounts.errors import Refused
from accounts.models import LawfulRequest
from accounts.services import lawful
from delivery.store.interface import Unavailable
from whatsapp.infra.clock import now_ms
from whatsapp.staff import approvals, audit
from whatsapp.staff.approvals import Named
from whatsapp.staff.models import Approval
from whatsapp.staff.times import shown

#: The kind of approval; its subject is the request.
KIND: Final = "lawful.export"
ASK: Final = "accounts.ask_lawfulrequest"
APPROVE: Final = "accounts.approve_lawfulrequest"
_SALT: Final = "staff.lawful"
_GOOD_S: Final = 600


def register() -> None:
    """Called once, at start."""
    approvals.register(
        KIND,
        _approved,
        APPROVE,
        asks=ASK,
        title="Metadata for an authority",
        about=_about,
        details=_details,
        refused=_refused,
    )


def ask(by: User, reason: str, **what: Any) -> LawfulRequest:
    """``what``: as :func:`lawful.ask`. Raises ``Refused``."""
    with transaction.atomic():
        request = lawful.ask(by=by.get_username(), **what)
        approvals.ask(KIND, str(request.pk), {}, by, reason)
    return request


def waiting(request: LawfulRequest) -> Approval | None:
    """What waits for the second person, if it still does."""
    asked = Approval.objects.filter(kind=KIND, subject=str(request.pk), state=Approval.State.WAITING)
    return asked.filter(expires_at__gt=now_ms()).first()


def _approved(approval: Approval, by: User) -> None:
    request = LawfulRequest.objects.filter(pk=approval.subject).first()
    if request is None:
        raise approvals.Refusal("The request is gone.")
    if len(request.users) == 0:
        raise approvals.Refusal("Everybody whom it is about was erased.")
    try:
        lawful.approve(request=request, by=by.get_username())
    except Refused as refused:
        raise approvals.Refusal(refused.message) from None
    transaction.on_commit(lambda: tasks.build_lawful_soon(request.pk))


def _refused(approval: Approval) -> None:
    lawful.refuse(request_id=uuid.UUID(approval.subject))


def _about(found: Sequence[Approval]) -> dict[uuid.UUID, list[Named]]:
    known = LawfulRequest.objects.in_bulk([uuid.UUID(each.subject) for each in found])
    return {
        each.pk: [Named("Request", row.reference, "accounts_lawfulrequest_change", str(row.pk))]
        for each in found
        if (row := known.get(uuid.UUID(each.subject)))
    }


def _details(approval: Approval) -> list[tuple[str, str]]:
    request = LawfulRequest.objects.filter(pk=approval.subject).first()
    if request is None:
        return [("Request", "gone")]
    return [
        ("Authority", request.authority),
        ("Legal basis", request.legal_basis),
        ("Users", ", ".join(request.users)),
        ("Time", f"{shown(request.since)} to {shown(request.until)} UTC"),
        ("What", "Registration, devices, sessions, and who wrote to whom when. No contents."),
    ]


def link(request: LawfulRequest, by: User) -> str:
    """An address for this member of staff alone."""
    token = signing.dumps([str(request.pk), by.pk], salt=_SALT)
    return f"{reverse('admin:lawful_file', args=[request.pk])}?t={token}"


def file(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """The file, once. Whoever is second finds nothing."""
    by: Any = request.user
    if not by.has_perm(ASK):
        raise PermissionDenied
    try:
        named = signing.loads(request.GET.get("t", ""), salt=_SALT, max_age=_GOOD_S)
    except signing.BadSignature:
        raise PermissionDenied from None
    if named != [str(pk), by.pk]:
        raise PermissionDenied
    found = get_object_or_404(LawfulRequest, pk=pk)
    try:
        data = lawful.read(found)
        with transaction.atomic():
            lawful.fetched(request=found, by=by.get_username())
            message = f"Fetched, {len(data):,} bytes, SHA-256 {found.sha256}"
            audit.record(by=by, on=found, action="lawful.fetched", message=message)
    except Refused:
        raise Http404 from None
    except ArchivesUnavailable:
        raise Unavailable from None
    response = HttpResponse(data, content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{pk}.zip"'
    response["Cache-Control"] = "private, no-store"
    return response
