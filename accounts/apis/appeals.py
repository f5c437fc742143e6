"""The page on which somebody who is banned says that it is wrong. For browsers: a signed address, a form, no login, no cookie."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from accounts import appeals, limits
from accounts.errors import Refused
from accounts.models import CATEGORIES, Sanction
from accounts.rest.address import source_address
from accounts.services import sanctions
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

_WHAT: Final = {
    Sanction.Kind.SLOW_DOWN: "This account may send fewer messages a minute",
    Sanction.Kind.LIMIT: "This account may not begin new conversations",
    Sanction.Kind.SUSPENSION: "This account is suspended",
    Sanction.Kind.PERMANENT: "This account is banned",
}
_WHAT_WAS: Final = {
    Sanction.Kind.SLOW_DOWN: "This account could send fewer messages a minute",
    Sanction.Kind.LIMIT: "This account could not begin new conversations",
    Sanction.Kind.SUSPENSION: "This account was suspended",
    Sanction.Kind.PERMANENT: "This account was banned",
}
#: Codes of reasons, in words for who is sanctioned: triggers, categories of reports, and what staff do by hand.
_WHY: Final = {
    "messages": "Very many messages within an hour",
    "recipients": "Messages to very many people and groups within an hour",
    "strangers_hour": "Messages to many people who did not know you",
    "strangers_day": "Messages to many people who did not know you",
    "unanswered": "Messages to many people who did not know you, of whom hardly any answered",
    "forwards": "The same messages forwarded to many chats",
    "adds": "Many people added to groups",
    "reports": "Reports by several people",
    "by_hand": "A decision of our staff",
    **{name: f"Reports: {name.replace('_', ' ')}" for name in CATEGORIES},
}
_STATUS: Final = {Code.BAD_REQUEST: 400, Code.CONFLICT: 409, Code.GONE: 410, Code.RATE_LIMITED: 429}


# The address alone lets in, and no browser sends it by itself: there is nothing that another site could make one do.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def appeal(request: HttpRequest, token: str) -> HttpResponse:
    """What the sanction is, and a form while it can be appealed against."""
    sanction_id = appeals.read(token)
    if sanction_id is None:
        return render(request, "appeals/page.html", {"unknown": True}, status=404)
    status, refusal = 200, ""
    text = request.POST.get("text", "") if request.method == "POST" else ""
    if request.method == "POST":
        try:
            _count(request)
            # Browsers send each end of a line as two characters and count it as one.
            sanctions.ask_appeal(sanction_id=sanction_id, text=text.replace("\r\n", "\n"))
        except Refused as refused:
            status, refusal = _STATUS.get(refused.code, 404), refused.message
    sanction = Sanction.objects.filter(pk=sanction_id).first()
    if sanction is None:  # its account was erased
        return render(request, "appeals/page.html", {"unknown": True}, status=404)
    shown = {**_shown(sanction), "refusal": refusal, "text": text[: sanctions.APPEAL_MOST]}
    return render(request, "appeals/page.html", shown, status=status)


def _count(request: HttpRequest) -> None:
    limits.count(
        scope="appeals_hour",
        subject=source_address(request),
        limit=LIMITS.appeals_per_address_hour,
        window_ms=limits.HOUR_MS,
        now=now_ms(),
    )


def _shown(sanction: Sanction) -> dict[str, Any]:
    in_force = sanction.in_force(now_ms())
    return {
        "why": _WHY.get(sanction.reason, "Use against the rules"),
        "what": (_WHAT if in_force else _WHAT_WAS)[Sanction.Kind(sanction.kind)],
        "since": _day(sanction.imposed_at),
        "until": _day(sanction.until),
        "automatic": sanction.imposed_by == sanctions.AUTOMATIC,
        "in_force": in_force,
        "banned": sanction.account.is_banned(now_ms()),
        "lifted": sanction.lifted_at is not None,
        "appeal": sanction.appeal,
        "may_ask": in_force and sanction.appeal == Sanction.Appeal.NONE,
        "most": sanctions.APPEAL_MOST,
    }


def _day(ms: int | None) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%d %B %Y, %H:%M} UTC" if ms is not None else ""
