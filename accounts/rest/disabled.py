"""Addresses that the interface promises and this build does not have yet."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.urls import URLPattern, re_path
from django.views.decorators.csrf import csrf_exempt

from accounts.rest.problems import problem
from whatsapp.wire.errors import Code

_LATER = (
    r"auth/(?:pin|phone|link(?:/[^/]+)?)",
    r"me/(?:export(?:/[^/]+)?|privacy|photo)",
    r"devices/[^/]+/push",
    r"keys(?:/[^/]+)?",
    r"contacts/sync",
    r"blocks(?:/[^/]+)?",
    r"reports",
    r"conversations/[^/]+",
    r"conversations/[^/]+/messages/[^/]+/receipts",
    r"groups(?:/.+)?",
    r"invites/.+",
    r"media/.+",
    r"calls/turn",
    r"backup",
    r"bots(?:/.+)?",
    r"schema/asyncapi\.json",
)


@csrf_exempt
def feature_disabled(request: HttpRequest) -> JsonResponse:
    return problem(Code.FEATURE_DISABLED, "This is not available here yet.")


#: Last in ``urlpatterns``: what exists is found before.
urlpatterns: list[URLPattern] = [re_path(rf"^{pattern}$", feature_disabled) for pattern in _LATER]
