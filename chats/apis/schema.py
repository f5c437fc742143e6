"""/schema: the socket's protobuf definition, as generated from the frames."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe


@cache
def _text() -> bytes:
    return (files("whatsapp.wire") / "whatsapp.proto").read_bytes()


@require_safe
def proto(request: HttpRequest) -> HttpResponse:
    return HttpResponse(_text(), content_type="text/plain; charset=utf-8")
