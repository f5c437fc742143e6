"""Addresses that the interface promises and this build does not have yet: they answer ``feature_disabled`` to everybody, and the
OpenAPI document says so. What gets built loses its row here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from django.urls import URLPattern, path
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import Refused
from accounts.rest.schema import NOT_BUILT, operation
from accounts.rest.views import PublicView
from whatsapp.wire.errors import Code

TAG: Final = "not built yet"


class _Row(NamedTuple):
    path: str
    name: str  # of the operations, behind their method
    methods: str


_LATER: Final = (
    _Row("calls/turn", "turn", "POST"),
    _Row("backup", "backup", "GET PUT DELETE"),
    _Row("bots", "bots", "GET POST"),
    _Row("bots/<str:bot_id>/webhooks", "webhooks", "POST"),
)


def not_built(name: str) -> Callable[[Any], Any]:
    """Describes an operation that only answers ``feature_disabled``."""
    return operation(
        name,
        tag=TAG,
        summary="Not built yet",
        status=501,
        refuses=[Code.FEATURE_DISABLED],
        extensions={NOT_BUILT: True},
    )


def refuse() -> Response:
    raise Refused(Code.FEATURE_DISABLED, "This is not available here yet.")


def _handler(name: str) -> Any:
    def handle(self: PublicView, request: Request, **ids: str) -> Response:
        """Promised by the interface. Answers `feature_disabled` to everybody, whatever is sent; once it is built it will ask
        for a token."""
        return refuse()

    return not_built(name)(handle)


def _view(row: _Row) -> Any:
    handlers = {method.lower(): _handler(f"{method.lower()}_{row.name}") for method in row.methods.split()}
    view: Any = type("NotBuiltView", (PublicView,), handlers)
    return view.as_view()


#: Last in ``urlpatterns``: what exists is found before.
urlpatterns: list[URLPattern] = [path(row.path, _view(row)) for row in _LATER]
