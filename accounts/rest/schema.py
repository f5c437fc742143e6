"""How an API describes itself for the OpenAPI document: ``@operation(…)`` on a method of a view.

What every operation shares (the version header, problem documents that follow from having a token, a body or an id in the
path) is added to the whole document by ``accounts.rest.document``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

from accounts.rest import idempotency
from accounts.rest.paging import MAX_INT
from whatsapp.wire.errors import Code

#: Extensions that ``accounts.rest.document`` reads.
REFUSALS: Final = "x-refusals"
NOT_BUILT: Final = "x-not-built"
#: Statuses beyond those of the codes, which another protocol wants.
STATUSES: Final = "x-statuses"
#: What a DELETE carries: schema and examples of ``application/json``.
BODY: Final = "x-body"


def parameter(name: str, schema: dict[str, Any], description: str, example: Any) -> OpenApiParameter:
    """A parameter of the query string."""
    return OpenApiParameter(
        name,
        schema,
        OpenApiParameter.QUERY,
        description=description,
        examples=[OpenApiExample("example", example)],
    )


def number(name: str, description: str, *, example: int, low: int = 0) -> OpenApiParameter:
    """A whole number of the query string."""
    return parameter(name, {"type": "integer", "minimum": low, "maximum": MAX_INT}, description, example)


def limit(default: int, maximum: int) -> OpenApiParameter:
    """The size of a page."""
    schema = {"type": "integer", "minimum": 1, "maximum": MAX_INT, "default": default}
    return parameter("limit", schema, f"Size of a page; at most {maximum} are given, whatever is asked.", 50)


def cursor(example: str) -> OpenApiParameter:
    """``after`` of a list by id."""
    return parameter(
        "after", {"type": "string", "format": "uuid"}, "Cursor: the `next` of the page before.", example
    )


LANGUAGE: Final = OpenApiParameter(
    "Accept-Language",
    {"type": "string"},
    OpenApiParameter.HEADER,
    description="The language of the message (RFC 9110, section 12.5.4); without it, the number's country decides.",
    examples=[OpenApiExample("example", "pt-BR, pt;q=0.8")],
)

IDEMPOTENCY_KEY: Final = OpenApiParameter(
    idempotency.HEADER,
    {"type": "string", "pattern": idempotency.PATTERN, "minLength": 1, "maxLength": idempotency.MAX_LENGTH},
    OpenApiParameter.HEADER,
    description="Names this request (a fresh UUID is a good name). Repeated with the same body within 24 h it has no second "
    "effect and gets the first answer again.",
    examples=[OpenApiExample("example", "0d9c3f2e-6a57-4f0b-9b1c-1f7d2f6f7a10")],
)


def operation(
    name: str,
    *,
    tag: str,
    summary: str,
    answer: Any = None,
    status: int = 200,
    media_type: str | None = None,
    request: type[serializers.Serializer] | dict[str, Any] | None = None,
    sent: dict[str, Any] | None = None,
    example: Any = None,
    examples: dict[str, Any] | None = None,
    refuses: Iterable[str] = (),
    parameters: Iterable[OpenApiParameter] = (),
    idempotent: bool = False,
    extensions: dict[str, Any] | None = None,
) -> Callable[[Any], Any]:
    """Describe an operation; the docstring of the method is its description.

    ``request``: a serializer, or what each media type carries; ``answer``: what ``status`` carries, a serializer or a schema;
    ``sent``: examples of the body by name; ``example`` or ``examples`` by name: of the answer; ``refuses``: error codes beyond
    those that every operation of its kind has; ``idempotent``: it honours ``X-Idempotency-Key``.
    """
    shown = examples or ({} if example is None else {"example": example})
    codes = [*refuses, *((Code.CONFLICT,) if idempotent else ())]
    response = (
        OpenApiResponse(answer, description=summary)
        if answer is not None
        else OpenApiResponse(description=summary)
    )
    return extend_schema(
        operation_id=name,
        summary=summary,
        tags=[tag],
        request=request,
        parameters=[*parameters, *((IDEMPOTENCY_KEY,) if idempotent else ())],
        responses={(status, media_type) if media_type else status: response},
        examples=[
            *(OpenApiExample(name, value, request_only=True) for name, value in (sent or {}).items()),
            *(
                OpenApiExample(
                    name,
                    value,
                    response_only=True,
                    status_codes=[str(status)],
                    media_type=media_type or "application/json",
                )
                for name, value in shown.items()
            ),
        ],
        extensions={REFUSALS: codes, **(extensions or {})},
    )


class BearerScheme(OpenApiAuthenticationExtension):
    target_class = "accounts.rest.authentication.DeviceAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "The `token` of `POST /auth/verify` or `POST /auth/refresh`; good for an hour.",
        }
