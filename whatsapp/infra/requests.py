"""Names and times each HTTP request: ``X-Request-ID`` of the answer is ``request`` in its log lines.

The id is always ours: what a client sends in that header would be a client's words in the logs.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse
from structlog.contextvars import bound_contextvars

from whatsapp.infra import metrics

HEADER: Final = "X-Request-ID"
_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
#: Pages of staff and files have addresses by the hundred: one series each for all of them.
_TOGETHER: Final = ("admin/", "static/", "schema/")


class RequestMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began = time.monotonic()
        name = secrets.token_hex(8)
        with bound_contextvars(request=name):
            response = self.get_response(request)
        route = _route(request)
        method = request.method if request.method in _METHODS else "OTHER"
        metrics.HTTP.add(str(method), route, str(response.status_code))
        metrics.HTTP_SECONDS.series(route).observe(time.monotonic() - began)
        response.headers[HEADER] = name
        return response


def _route(request: HttpRequest) -> str:
    """The pattern of the address, never the address; ``none`` for one that has none."""
    path = request.path.lstrip("/")
    for prefix in _TOGETHER:
        if path.startswith(prefix):
            return prefix.rstrip("/")
    found = request.resolver_match
    return found.route if found is not None and found.route else "none"
