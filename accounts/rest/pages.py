"""The answer of an API as a page, for a person whose browser opened its address. Offered in development only.

It shows and links, nothing more: no forms, no cookies, no script. Calls with a token are made from ``/schema/docs``.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.template.loader import render_to_string
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer


class PageRenderer(BrowsableAPIRenderer):
    """DRF's browsable renderer with a page of our own; being one keeps it out of the OpenAPI document."""

    template = "api/page.html"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> str:
        assert renderer_context is not None
        request, response, view = (renderer_context[name] for name in ("request", "response", "view"))
        shown = JSONRenderer().render(data, "application/json; indent=2") if data is not None else b""
        handler = getattr(view, request.method.lower(), None)
        return render_to_string(
            self.template,
            {
                "method": request.method,
                "path": request.get_full_path(),
                "status": response.status_code,
                "phrase": HTTPStatus(response.status_code).phrase,
                "good": response.status_code < 400,
                "headers": sorted(response.headers.items()),
                "body": shown.decode(),
                "about": " ".join((getattr(handler, "__doc__", "") or "").replace("`", "").split()),
                "methods": [name for name in view.allowed_methods if name != "OPTIONS"],
                "closed": response.status_code == HTTPStatus.UNAUTHORIZED,
            },
        )
