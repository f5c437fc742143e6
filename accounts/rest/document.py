"""What all operations share, written into the OpenAPI document after drf-spectacular has made it from the views
(``POSTPROCESSING_HOOKS``).

Which problem documents an operation can answer follows from what it has: a token (401, 403), a body (413, 415), an id in its
path (404), and from the codes that it names itself (``x-refusals``).
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from accounts.rest import idempotency, middleware
from accounts.rest.problems import CONTENT_TYPE, STATUS, TYPE_PREFIX, document, phrase
from accounts.rest.samples import AT
from accounts.rest.schema import BODY, NOT_BUILT, REFUSALS, STATUSES
from whatsapp.infra import requests
from whatsapp.wire.errors import CODES, Code
from whatsapp.wire.frames import Event, Message
from whatsapp.wire.schemas import schemas as frame_schemas

Schema = dict[str, Any]

_METHODS: Final = ("get", "head", "post", "put", "patch", "delete")

#: What the examples of problem documents say.
_SAID: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    Code.BAD_REQUEST: ("name: must have at most 100 characters.", {"details": {"field": "name"}}),
    Code.UNAUTHENTICATED: ("The token has expired.", {}),
    Code.BANNED: (
        "This account is banned.",
        {"details": {"until": AT + 86_400_000, "appealUrl": "https://example.org/appeal"}},
    ),
    Code.FORBIDDEN: ("You may not do this.", {}),
    Code.NOT_FOUND: ("There is nothing here, or nothing that you may see.", {}),
    Code.CONFLICT: (f"This {idempotency.HEADER} was used for another body.", {}),
    Code.GONE: ("This invite is not valid any more.", {}),
    Code.LIMIT_EXCEEDED: (
        "An account has at most 5 devices; remove one first.",
        {"details": {"limit": 5}},
    ),
    Code.TOO_LARGE: ("The body is too large.", {}),
    Code.UNSUPPORTED_MEDIA: ("The body must be application/json.", {}),
    Code.WRONG_REGION: (
        "This is kept in another region; ask there.",
        {
            "details": {
                "region": 2,
                "name": "Frankfurt",
                "jurisdiction": "eu",
                "url": "https://eu.chat.example",
            }
        },
    ),
    Code.UPGRADE_REQUIRED: ("This version is too old; please update.", {}),
    Code.RATE_LIMITED: (
        "Too many requests of this kind; try again later.",
        {"retry_after_ms": 1_200_000},
    ),
    Code.INTERNAL: ("Something went wrong here; try again.", {}),
    Code.FEATURE_DISABLED: ("This is not available here yet.", {}),
    Code.UNAVAILABLE: (
        "A server behind this one does not answer; try again.",
        {"retry_after_ms": 1_000},
    ),
}
_ACCEPT: Final = ("Could not satisfy the request Accept header.", {"status": 406})
_METHOD: Final = ('Method "PUT" not allowed.', {"status": 405})
_BY_STATUS: Final = {
    405: _METHOD,
    406: _ACCEPT,
    412: ("tus 1.0.0 is spoken here.", {"status": 412}),
    423: ("The upload cannot be looked at now; ask again.", {"status": 423, "retry_after_ms": 1_000}),
    460: ("The bytes are not those that the checksum is of; send them again.", {"status": 460}),
}


#: Their view has an answer that is no JSON.
_ONE_FORM: Final = (
    "icon", "set_icon", "remove_icon", "begin_upload", "upload_progress", "upload_bytes", "end_upload",
)  # fmt: skip

#: operation → where it goes on from its answer: the operation there, its parameter, the value.
_LINKS: Final = {
    "add_contact": [
        ("put_contact", "user_id", "$response.body#/userId"),
        ("remove_contact", "user_id", "$response.body#/userId"),
        ("user", "user_id", "$response.body#/userId"),
        ("open_direct", "user_id", "$response.body#/userId"),
        ("user_keys", "user_id", "$response.body#/userId"),
    ],
    "contacts": [("user", "user_id", "$response.body#/items/0/userId")],
    "open_direct": [("events", "conversation_id", "$response.body#/conversationId")],
    "conversations": [("events", "conversation_id", "$response.body#/items/0/conversationId")],
    "devices": [("unlink_device", "device_id", "$response.body#/items/0/deviceId")],
}


def complete(result: Schema, generator: Any, request: Any, public: bool) -> Schema:
    """The hook."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {}).update(_schemas())
    for schema in components["schemas"].values():
        schema.get("properties", {}).update(_blanks(schema.get("properties", {})))
    components["parameters"] = {"ProtocolVersion": _version_parameter()}
    components["headers"] = _headers()
    responses: dict[str, Schema] = {}
    for path, item in result["paths"].items():
        for method in _METHODS:
            if method in item:
                _finish(path, item[method], responses, components["schemas"])
    # No operation has it, every address does.
    _problem(405, {Code.BAD_REQUEST}, responses)
    components["responses"] = dict(sorted(responses.items()))
    return result


def _blanks(properties: Schema) -> Schema:
    """drf-spectacular adds "or the empty text" to a pattern of a field that may be blank. Ours take it, so both would match."""
    empty = {"type": "string", "maxLength": 0}
    return {
        name: {**{key: value for key, value in schema.items() if key != "oneOf"}, **schema["oneOf"][0]}
        for name, schema in properties.items()
        if len(schema.get("oneOf", ())) == 2 and schema["oneOf"][1] == empty
    }


def _finish(path: str, operation: Schema, shared: dict[str, Schema], schemas: dict[str, Schema]) -> None:
    operation.setdefault("security", [])
    if BODY in operation:
        operation["requestBody"] = {"content": {"application/json": operation.pop(BODY)}}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        if name and not schemas[name].get("required"):
            operation["requestBody"].pop("required", None)  # an absent body is an empty one
    operation.setdefault("parameters", []).append({"$ref": "#/components/parameters/ProtocolVersion"})
    for response in operation["responses"].values():
        response.setdefault("headers", {}).update(_echo())
        links = _LINKS.get(operation["operationId"])
        if links:
            response["links"] = {
                target: {"operationId": target, "parameters": {f"path.{name}": value}}
                for target, name, value in links
            }
        if any(each.get("name") == idempotency.HEADER for each in operation["parameters"]):
            response["headers"][idempotency.REPLAYED] = {"$ref": "#/components/headers/IdempotencyReplayed"}
    by_status: defaultdict[int, set[str]] = defaultdict(set)
    statuses = operation.pop(STATUSES, ())
    for code in _codes(path, operation):
        by_status[STATUS[code]].add(code)
    for status in statuses:
        by_status[status].add(Code.UNAVAILABLE if status == 423 else Code.BAD_REQUEST)
    if not operation.get(NOT_BUILT) and _negotiates(operation):
        by_status[406].add(Code.BAD_REQUEST)
    for status, codes in sorted(by_status.items()):
        operation["responses"][str(status)] = _problem(status, codes, shared)


def _negotiates(operation: Schema) -> bool:
    """Whether ``Accept`` is asked: where there is one form only, it is not."""
    if operation["operationId"] in _ONE_FORM:
        return False
    return "documents" not in operation.get("tags", ()) and "health" not in operation.get("tags", ())


def _codes(path: str, operation: Schema) -> set[str]:
    codes = {Code.BAD_REQUEST, Code.UPGRADE_REQUIRED, Code.INTERNAL, *operation.pop(REFUSALS, ())}
    if operation["security"]:
        codes |= {Code.UNAUTHENTICATED, Code.BANNED, Code.UNAVAILABLE}
        if "requestBody" in operation:
            codes.add(Code.WRONG_REGION)  # of the caller's own account
    if "requestBody" in operation:
        codes |= {Code.TOO_LARGE, Code.UNSUPPORTED_MEDIA, Code.UNAVAILABLE}
    if "{" in path and not operation.get(NOT_BUILT):
        codes.add(Code.NOT_FOUND)
    return codes


def _problem(status: int, codes: set[str], shared: dict[str, Schema]) -> Schema:
    """A reference to the response that all operations with this status and these codes share."""
    names = sorted(codes)
    key = f"{status}.{'.'.join(names)}"
    if key not in shared:
        shared[key] = {
            "description": f"{phrase(status)}: {' or '.join(f'`{name}`' for name in names)}",
            "headers": {**_echo(), **_headers_of(status)},
            "content": {
                CONTENT_TYPE: {
                    "schema": {
                        "allOf": [
                            {"$ref": "#/components/schemas/Problem"},
                            {"properties": {"status": {"const": status}, "code": {"enum": names}}},
                        ]
                    },
                    "examples": {name: {"value": _example(name, status)} for name in names},
                }
            },
        }
    return {"$ref": f"#/components/responses/{key}"}


def _example(code: str, status: int) -> Schema:
    message, options = _BY_STATUS.get(status) or _SAID[code]
    return document(code, message, **options)[0]


def _headers_of(status: int) -> Schema:
    names = {401: "WWW-Authenticate", 405: "Allow", 429: "Retry-After", 503: "Retry-After"}
    name = names.get(status)
    return {name: {"$ref": f"#/components/headers/{name}"}} if name else {}


def _echo() -> Schema:
    return {
        middleware.HEADER: {"$ref": "#/components/headers/ProtocolVersion"},
        requests.HEADER: {"$ref": "#/components/headers/RequestId"},
    }


def _version_parameter() -> Schema:
    return {
        "name": middleware.HEADER,
        "in": "header",
        "description": "Version of the interface that the client speaks. Below 3.0 the answer is `upgrade_required`; "
        "without it, the newest is taken.",
        "schema": {"type": "string", "pattern": middleware.PATTERN},
        "examples": {"example": {"value": "3.2"}},
    }


def _headers() -> Schema:
    return {
        "ProtocolVersion": {
            "description": "The request's own, when it had one.",
            "schema": {"type": "string", "pattern": middleware.PATTERN},
            "example": "3.2",
        },
        "RequestId": {
            "description": "Names this request in the logs; tell it to who looks into a problem.",
            "schema": {"type": "string"},
            "example": "9f86d081884c7d65",
        },
        "IdempotencyReplayed": {
            "description": "`true`: the kept answer of an earlier request with the same key and body.",
            "schema": {"type": "string", "const": "true"},
            "example": "true",
        },
        "Retry-After": {
            "description": "Whole seconds; `retryAfterMs` of the body says it finer.",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
            "example": 1,
        },
        "WWW-Authenticate": {
            "description": "RFC 6750.",
            "required": True,
            "schema": {"type": "string"},
            "example": 'Bearer realm="api"',
        },
        "Allow": {
            "description": "The methods that this address has.",
            "required": True,
            "schema": {"type": "string"},
            "example": "GET, HEAD, OPTIONS",
        },
    }


def _schemas() -> Schema:
    """The problem document, and what the socket and REST show alike."""
    problem = {
        "type": "object",
        "description": "RFC 9457. `type` ends in `code`; programs look at `code`, people read `detail`.",
        "properties": {
            "type": {"type": "string", "format": "uri-reference", "pattern": f"^{TYPE_PREFIX}[a-z_]+$"},
            "title": {"type": "string", "description": "The phrase of the status."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "minLength": 1},
            "code": {"type": "string", "enum": sorted(CODES)},
            "retryable": {"type": "boolean", "description": "Whether the same request may succeed later."},
            "retryAfterMs": {"type": "integer", "minimum": 1},
            "details": {
                "type": "object",
                "description": "By code: `bad_request` {field}, `banned` {until, appealUrl}, `limit_exceeded` {limit}, "
                "`forbidden` {pinRequired, pinWrong, until, codeWrong}, `conflict` of `/auth/phone` {taken}, "
                "`unavailable` of `/health/ready` {parts}.",
            },
        },
        "required": ["type", "title", "status", "detail", "code", "retryable"],
    }
    return {"Problem": problem, **frame_schemas((Message, Event))}
