"""How the providers of push notifications are: an app a row, as the workers that send say it of themselves."""

from __future__ import annotations

from typing import Any, Final

import redis
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from notifications.health import AppHealth, health
from notifications.models import PushTarget
from whatsapp.staff.counting import EXACT, Number, bounded
from whatsapp.staff.times import NONE

#: Circuits in the words of the other servers.
_STATES: Final = {"closed": "up", "half_open": "degraded", "open": "down"}


def push_health(request: HttpRequest) -> HttpResponse:
    user: Any = request.user
    if not user.has_perm("notifications.view_pushtarget"):
        raise PermissionDenied
    found: dict[str, AppHealth] = {}
    away = False
    try:
        found = {app.app: app for app in health()}
    except (redis.RedisError, OSError):
        away = True
    context = {
        **admin.site.each_context(request),
        "title": "Push providers",
        "apps": [_row(name, found.get(name)) for name in settings.PUSH_APPS],
        "away": away,
    }
    return TemplateResponse(request, "staff/push_health.html", context)


def _row(name: str, health: AppHealth | None) -> dict[str, Any]:
    number = bounded(PushTarget.objects.filter(app=name))
    return {
        "name": name,
        "provider": settings.PUSH_APPS[name].provider,
        "state": "unknown" if health is None else _STATES.get(health.state, health.state),
        "devices": f"{EXACT:,}+" if number > EXACT else Number(number, True),
        "link": f"{reverse('admin:notifications_pushtarget_changelist')}?app={name}",
        "health": health,
        "none": NONE,
    }
