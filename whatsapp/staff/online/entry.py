"""Who may open a live page's socket: a page of this very host, with a staff session that rests on a second factor."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any, Final

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib import admin, auth
from django.contrib.auth.models import User
from django.http import HttpRequest
from django_otp.middleware import OTPMiddleware

PERMISSION: Final = "staff.view_online"
_otp = OTPMiddleware(lambda request: request)


def header(scope: dict[str, Any], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def session_key(scope: dict[str, Any]) -> str:
    try:
        cookies = SimpleCookie(header(scope, b"cookie"))
    except CookieError:
        return ""
    found = cookies.get(settings.SESSION_COOKIE_NAME)
    return found.value if found is not None else ""


@database_sync_to_async
def staff_of(key: str) -> User | None:
    """The member of staff whose session this is, if it may see who is online; asked again while the page is open."""
    if not key:
        return None
    request: Any = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    request.user = auth.get_user(request)
    _otp(request)
    if not admin.site.has_permission(request) or not request.user.has_perm(PERMISSION):
        return None
    user: User = request.user
    return user
