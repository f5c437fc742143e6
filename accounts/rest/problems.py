"""Errors as RFC 9457 problem documents, ``application/problem+json``, for DRF and for plain Django alike.

``type`` is ``/problems/<code>``, where the codes are those of the socket's ``error`` frame; the extension members ``code``,
``retryable``, ``retryAfterMs`` and ``details`` mean what they mean there, so a client has one table of errors.
"""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any, Final

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, InternalError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.csrf import csrf_failure as django_csrf_failure
from psycopg.errors import IdleInTransactionSessionTimeout, ReadOnlySqlTransaction
from rest_framework import exceptions, views
from rest_framework.response import Response

from accounts.errors import Refused
from delivery.store.interface import Unavailable
from whatsapp.infra.residency import WrongRegion
from whatsapp.wire.errors import RETRYABLE, Code

log = logging.getLogger(__name__)

#: Of a status that is another protocol's: tus 1.0, "Checksum".
_PHRASES: Final = {460: "Checksum Mismatch"}
CONTENT_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "/problems/"

#: HTTP status of each code that REST can answer.
STATUS: Final[dict[str, int]] = {
    Code.BAD_REQUEST: 400,
    Code.UNKNOWN_TYPE: 400,
    Code.UNAUTHENTICATED: 401,
    Code.FORBIDDEN: 403,
    Code.BANNED: 403,
    Code.NOT_MEMBER: 404,  # outsiders are not told that it exists
    Code.NOT_FOUND: 404,
    Code.CONFLICT: 409,
    Code.OUT_OF_ORDER: 409,
    Code.DEVICE_MISMATCH: 409,
    Code.MEMBER_MISMATCH: 409,
    Code.WINDOW_EXPIRED: 409,
    Code.LIMIT_EXCEEDED: 409,
    Code.RESET: 409,
    Code.GONE: 410,
    Code.TOO_LARGE: 413,
    Code.UNSUPPORTED_MEDIA: 415,
    Code.WRONG_REGION: 421,
    Code.UPGRADE_REQUIRED: 426,
    Code.RATE_LIMITED: 429,
    Code.INTERNAL: 500,
    Code.FEATURE_DISABLED: 501,
    Code.UNAVAILABLE: 503,
}


def document(
    code: str,
    message: str,
    *,
    status: int | None = None,
    details: dict[str, Any] | None = None,
    retry_after_ms: int = 0,
) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Body, status and headers of a problem. ``status`` overrides the code's own."""
    status = status or STATUS[code]
    body: dict[str, Any] = {
        "type": f"{TYPE_PREFIX}{code}",
        "title": phrase(status),
        "status": status,
        "detail": message,
        "code": code,
        "retryable": code in RETRYABLE,
    }
    headers: dict[str, str] = {"Cache-Control": "no-store"}
    if retry_after_ms > 0:
        body["retryAfterMs"] = retry_after_ms
        headers["Retry-After"] = str(math.ceil(retry_after_ms / 1000))
    if details:
        body["details"] = details
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="api"'
    return body, status, headers


def phrase(status: int) -> str:
    """What a status is called."""
    return _PHRASES.get(status) or HTTPStatus(status).phrase


def problem(code: str, message: str, **options: Any) -> JsonResponse:
    """A problem as a plain Django response; options as in :func:`document`."""
    body, status, headers = document(code, message, **options)
    return JsonResponse(body, status=status, headers=headers, content_type=CONTENT_TYPE)


def _first_field(detail: Any, path: str = "") -> tuple[str, str]:
    """The first complaint of a serializer: (path of the field, text)."""
    if isinstance(detail, dict) and detail:
        name, inner = next(iter(detail.items()))
        return _first_field(inner, path if name == "non_field_errors" else f"{path}.{name}".lstrip("."))
    if isinstance(detail, list) and detail:
        return _first_field(detail[0], path)
    return path, str(detail)


def describe(error: Exception) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Body, status and headers for whatever was raised; what nobody expected is logged, and said to be ``internal``."""
    match error:
        case Refused():
            return document(
                error.code, error.message, details=error.details, retry_after_ms=error.retry_after_ms
            )
        case WrongRegion():
            return document(error.code, error.message, details=error.details)
        case exceptions.ValidationError():
            field, text = _first_field(error.detail)
            message = f"{field}: {text}" if field else text
            return document(Code.BAD_REQUEST, message, details={"field": field} if field else None)
        case RequestDataTooBig():
            return document(Code.TOO_LARGE, "The body is too large.")
        case exceptions.ParseError() | SuspiciousOperation():
            return document(Code.BAD_REQUEST, "The request cannot be read.")
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            return document(Code.UNAUTHENTICATED, str(error.detail))
        case exceptions.PermissionDenied() | PermissionDenied():
            return document(Code.FORBIDDEN, "You may not do this.")
        case exceptions.NotFound() | Http404():
            return document(Code.NOT_FOUND, "There is nothing here, or nothing that you may see.")
        case exceptions.UnsupportedMediaType():
            return document(Code.UNSUPPORTED_MEDIA, "The body must be application/json.")
        case exceptions.APIException() if error.status_code < 500:
            body, status, headers = document(Code.BAD_REQUEST, str(error.detail), status=error.status_code)
            return body, status, headers
        case InternalError() if isinstance(
            error.__cause__, ReadOnlySqlTransaction | IdleInTransactionSessionTimeout
        ):
            # It was the primary, or is not yet; or this process hung for so long that its transaction was ended.
            return describe(OperationalError())
        case OperationalError() | InterfaceError() | Unavailable():
            log.warning("unavailable: %s", type(error).__name__)
            return document(
                Code.UNAVAILABLE, "A server behind this one does not answer; try again.", retry_after_ms=1000
            )
    log.error("unexpected error in an API", exc_info=error)
    return document(Code.INTERNAL, "Something went wrong here; try again.")


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's ``EXCEPTION_HANDLER``: everything an API raises leaves as a problem."""
    body, status, headers = describe(error)
    if isinstance(error, exceptions.MethodNotAllowed):
        headers["Allow"] = ", ".join(context["view"].allowed_methods)
    views.set_rollback()
    # For a person's browser (where that is offered at all) DRF makes a page of it.
    chosen = getattr(context["request"], "accepted_renderer", None)
    page = chosen is not None and chosen.media_type == "text/html"
    return Response(body, status=status, headers=headers, content_type=None if page else CONTENT_TYPE)


# -- outside DRF (``handler400`` … of whatsapp.urls) ----------------------------------------------------------------------


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    if isinstance(exception, RequestDataTooBig):
        return problem(Code.TOO_LARGE, "The body is too large.")
    return problem(Code.BAD_REQUEST, "The request cannot be read.")


def permission_denied(request: HttpRequest, exception: Exception) -> JsonResponse:
    return problem(Code.FORBIDDEN, "You may not do this.")


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    return problem(Code.NOT_FOUND, "There is nothing here, or nothing that you may see.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """``CSRF_FAILURE_VIEW``: only staff's forms ask for that token, so a browser gets Django's page."""
    if request.accepts("text/html"):
        return django_csrf_failure(request, reason=reason)
    return problem(Code.FORBIDDEN, "The form's token is absent or wrong.")


def server_error(request: HttpRequest) -> JsonResponse:
    return problem(Code.INTERNAL, "Something went wrong here; try again.")
