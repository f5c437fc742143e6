"""Headers that every HTTP answer has, whoever made it: Django, the body limit, the server itself.

Django's middleware sets most of them and knows the page (:class:`ContentPolicy`); :func:`with_headers` is outermost and adds
what is missing, so that no answer depends on how far its request came.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from whatsapp.infra.problem import document
from whatsapp.wire.errors import Code

log = logging.getLogger(__name__)

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

#: Of an answer that says nothing else. Values for browsers that are made to open the API as a page.
HEADERS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),  # "no-cors" loads only: CORS is not affected
    (
        b"permissions-policy",
        b"camera=(), geolocation=(), microphone=(), payment=(), usb=(), serial=(), midi=(), display-capture=()",
    ),
)


class ContentPolicy(CSPMiddleware):
    """Content-Security-Policy by place: HTML below one of ``settings.CONTENT_POLICIES`` has that policy, all else the strict
    one. A view's own decorators (``csp_replace``, ``csp_update``) go over both."""

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if not report_only and parts.config is None and _is_page(response):
            known = settings.CONTENT_POLICIES
            prefix = max((p for p in known if request.path.startswith(p)), key=len, default=None)
            if prefix is not None:
                parts.config = known[prefix]
        return parts


def _is_page(response: HttpResponseBase) -> bool:
    return str(response.headers.get("Content-Type", "")).startswith("text/html")


def with_headers(application: Application) -> Application:
    """ASGI around ``application``: every HTTP answer has ``HEADERS``, HSTS when asked for over TLS, and a problem document
    instead of the server's own text when nothing was answered and something failed."""
    hsts = _hsts()

    async def served(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        missing = (*HEADERS, hsts) if hsts and _over_tls(scope) else HEADERS
        started = False

        async def complete(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = list(message.get("headers", ()))
                given = {name.lower() for name, _ in headers}
                headers += [header for header in missing if header[0] not in given]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await application(scope, receive, complete)
        except Exception:
            if started:
                raise  # the server ends the connection: half an answer is no answer
            log.exception("an HTTP request failed outside Django")
            body, headers = document(Code.INTERNAL, "Something went wrong here; try again.", 500)
            await complete({"type": "http.response.start", "status": 500, "headers": headers})
            await complete({"type": "http.response.body", "body": body})

    return served


def _hsts() -> tuple[bytes, bytes] | None:
    if not settings.SECURE_HSTS_SECONDS:
        return None
    value = f"max-age={settings.SECURE_HSTS_SECONDS}"
    if settings.SECURE_HSTS_INCLUDE_SUBDOMAINS:
        value += "; includeSubDomains"
    return b"strict-transport-security", value.encode()


def _over_tls(scope: Message) -> bool:
    """TLS ends in the balancer, which says so (``SECURE_PROXY_SSL_HEADER``)."""
    return scope["scheme"] == "https" or (b"x-forwarded-proto", b"https") in scope["headers"]
