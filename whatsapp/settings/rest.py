"""Django REST framework, and the OpenAPI document that drf-spectacular makes from its views."""

from __future__ import annotations

from typing import Any

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.rest.authentication.DeviceAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["accounts.rest.parsers.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "accounts.rest.problems.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
}

#: Staff's forms answer programs with a problem document as well.
CSRF_FAILURE_VIEW = "accounts.rest.problems.csrf_failure"

_DESCRIPTION = """\
The REST side of the messaging backend; the socket is described by [AsyncAPI](/schema/asyncapi.json) and
[protobuf](/schema/whatsapp.proto).

- **Who calls**: `Authorization: Bearer TOKEN`. A token comes from `POST /auth/register` and `POST /auth/verify`, lasts an hour
  and is renewed by `POST /auth/refresh`.
- **Errors** are RFC 9457 problem documents, `application/problem+json`, whose `type` ends in the error code. Every address
  answers 405 with `Allow` to methods that it does not have, and 404 `not_found` to ids that are none.
- **Times** are milliseconds since the epoch. **Pages**: `?after=&limit=`, answered by `{items, next?}`; without `next` it was the
  last one.
- **Repeats**: PUT, PATCH and DELETE may be repeated. A POST with `X-Idempotency-Key` has one effect in 24 hours.
- **Versions**: `X-WhatsApp-Protocol-Version: 3.2` is echoed; below 3.0 everything is `upgrade_required`.
- **429** and **503** carry `Retry-After`.
- What is tagged *not built yet* is promised and answers 501 `feature_disabled`.
"""

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Messaging backend",
    "DESCRIPTION": _DESCRIPTION,
    "VERSION": "3.2",
    "OAS_VERSION": "3.1.0",
    "SERVERS": [{"url": "/", "description": "This server"}],
    "TAGS": [
        {"name": "auth", "description": "From a number to a session, and out of it"},
        {"name": "me", "description": "One's own profile, privacy and badge"},
        {"name": "devices", "description": "Linked devices"},
        {"name": "keys", "description": "Public keys for end-to-end encryption"},
        {"name": "people", "description": "Contacts, and what may be seen of others"},
        {"name": "conversations", "description": "Lists and history; messages are sent over the socket"},
        {
            "name": "groups",
            "description": "Groups, their members and invites; what happens to them comes as events",
        },
        {
            "name": "media",
            "description": "Files: uploads in one request or in pieces, and what becomes of them",
        },
        {"name": "push", "description": "Where a device is notified while it is not connected"},
        {"name": "health", "description": "For load balancers"},
        {"name": "documents", "description": "Descriptions of the interface"},
        {"name": "not built yet", "description": "Promised; answers 501 `feature_disabled`"},
    ],
    "SCHEMA_PATH_PREFIX": "",
    "COMPONENT_SPLIT_REQUEST": True,
    "COMPONENT_SPLIT_PATCH": False,  # what a PATCH must hold, its serializer says
    "SORT_OPERATIONS": False,
    # Choices stay where they are: drf-spectacular's own hook would want a name for each set of them.
    "POSTPROCESSING_HOOKS": ["accounts.rest.document.complete"],
}
