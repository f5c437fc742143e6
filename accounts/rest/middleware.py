"""What applies to each HTTP request before a view is chosen."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse

from accounts.rest.problems import problem
from whatsapp.wire.errors import Code

HEADER: Final = "X-WhatsApp-Protocol-Version"
MIN_MAJOR: Final = 3
PATTERN: Final = r"^[0-9]{1,4}\.[0-9]{1,4}$"
_VERSION: Final = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})")
#: Answers that staff's browsers may keep or show as they are.
_NOT_API: Final = ("/admin/", "/static/")


class ApiMiddleware:
    """The protocol version (echoed; below 3.0 is ``upgrade_required``), and no caching of anybody's data."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        version = request.headers.get(HEADER)
        refusal = self._refusal(version)
        response = refusal or self.get_response(request)
        if version is not None and _VERSION.fullmatch(version):
            response.headers[HEADER] = version
        if not request.path.startswith(_NOT_API):
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    @staticmethod
    def _refusal(version: str | None) -> HttpResponse | None:
        if version is None:
            return None
        match = _VERSION.fullmatch(version)
        if match is None:
            return problem(Code.BAD_REQUEST, f"{HEADER} must look like 3.2.")
        if int(match[1]) < MIN_MAJOR:
            return problem(Code.UPGRADE_REQUIRED, "This version is too old; please update.")
        return None
