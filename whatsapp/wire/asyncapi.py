"""The socket as an AsyncAPI 3.1 document, made from the field table: every frame, both directions, errors and close codes.

AsyncAPI speaks from the server's side: it *receives* what clients send.
"""

from typing import Any, Final

from whatsapp.wire import examples
from whatsapp.wire.errors import (
    CODES,
    RETRY_AFTER_REFRESH,
    RETRY_AFTER_SLOT,
    RETRY_AT_ONCE,
    RETRY_NEVER,
    RETRYABLE,
    Close,
)
from whatsapp.wire.frames import (
    CLIENT_FRAMES,
    SERVER_FRAMES,
    Call,
    Frame,
    Presence,
    StatusUpdate,
    SyncOffline,
)
from whatsapp.wire.schemas import TEMPLATE, schemas
from whatsapp.wire.versions import DOWNGRADES, HEADER, NEWEST

Node = dict[str, Any]

_FROM_CLIENTS: Final[tuple[type[Frame], ...]] = (*CLIENT_FRAMES, SyncOffline)

#: What a close code means. Which of them a client answers by connecting again is in ``errors``.
CLOSE_CODES: Final[dict[int, str]] = {
    Close.NORMAL: "bye",
    Close.TOO_LARGE: "frame above 128 KiB",
    Close.INTERNAL: "internal",
    Close.RESTART: "deploy",
    Close.OVERLOADED: "overloaded",
    Close.NOT_A_FRAME: "not a frame, three times in a row",
    Close.UNAUTHENTICATED: "token absent, bad, expired or revoked",
    Close.BANNED: "banned",
    Close.TIMEOUT: "no `auth` in 5 s, or no pong",
    Close.REPLACED: "this device opened a newer socket",
    Close.UNLINKED: "device unlinked or account deleted",
    Close.UPGRADE_REQUIRED: "version below 3.0",
    Close.FLOOD: "flood after warnings",
    Close.SLOW_CONSUMER: "did not read fast enough; `sync` resumes by position",
}
#: What answers a frame of a client, besides ``error``.
_ANSWERS: Final[dict[str, tuple[str, ...]]] = {
    "auth": ("ready",),
    "send_message": ("status_update",),
    "edit_message": ("status_update",),
    "delete_message": ("status_update",),
    "react": ("status_update",),
    "vote": ("status_update",),
    "sync": ("sync_batch", "sync_complete"),
    "sync_offline": ("sync_batch", "sync_complete"),
    "presence_subscribe": ("presence",),
}
#: What only a client may not say (``rules``), as schemas beside the frame's own.
_CLIENT_RULES: Final[dict[type[Frame], Node]] = {
    StatusUpdate: {
        "properties": {"status": {"enum": ["delivered", "read"]}},
        "oneOf": [
            {"required": ["upTo"], "properties": {"upTo": {"type": "integer"}}},
            {"required": ["messageId"], "properties": {"messageId": {"type": "string"}}},
        ],
    },
    Presence: {"properties": {"status": {"enum": ["online", "offline", "away"]}}},
    Call: {"required": ["toUserId"], "properties": {"toUserId": {"type": "string"}}},
}

_DESCRIPTION: Final = """\
One JSON object a text frame (`whatsapp.v3.2.json`), or one `Frame` of [whatsapp.proto](/schema/whatsapp.proto) a
binary frame (`whatsapp.v3.2.protobuf`). Authenticate with `Authorization: Bearer` at the upgrade or with `auth` within
5 s; nothing comes before `ready`, and no backlog or live event before `sync` (or `auth` with `resume.have`). `ref` (at
most 36 characters) is the client's and returns on the answer. Unknown fields are ignored; an unknown `type` gets
`error unknown_type` and the socket lives. Times are ms since the epoch, numbers are below 2^53, ids are lower-case
UUIDs, bytes are base64. The REST side: [OpenAPI](/schema/openapi.json).
"""


def _kind(frame: type[Frame]) -> str:
    return str(frame.__struct_config__.tag)


def _message(frame: type[Frame], side: str, shown: dict[str, dict[str, Any]]) -> Node:
    payload: Node = {"$ref": TEMPLATE.format(name=frame.__name__)}
    if side == "client" and frame in _CLIENT_RULES:
        payload = {"allOf": [payload, _CLIENT_RULES[frame]]}
    return {
        "name": _kind(frame),
        "title": f"{_kind(frame)} ({'client to server' if side == 'client' else 'server to client'})",
        "contentType": "application/json",
        "payload": payload,
        "examples": [{"name": name, "payload": example} for name, example in shown.items()],
    }


def _reference(side: str, kind: str) -> Node:
    return {"$ref": f"#/channels/socket/messages/{side}_{kind}"}


def _operations() -> Node:
    channel = {"$ref": "#/channels/socket"}
    found: Node = {}
    for frame in _FROM_CLIENTS:
        kind = _kind(frame)
        answers = (*_ANSWERS.get(kind, ()), "error")
        found[f"receive_{kind}"] = {
            "action": "receive",
            "channel": channel,
            "messages": [_reference("client", kind)],
            "reply": {
                "channel": channel,
                "messages": [_reference("server", answer) for answer in answers],
            },
        }
    for frame in SERVER_FRAMES:
        found[f"send_{_kind(frame)}"] = {
            "action": "send",
            "channel": channel,
            "messages": [_reference("server", _kind(frame))],
        }
    return found


def _schemas() -> Node:
    found = schemas((*_FROM_CLIENTS, *SERVER_FRAMES))
    found["Error"]["properties"]["code"] = {"type": "string", "enum": sorted(CODES)}
    # OpenAPI's discriminator is an object, AsyncAPI's a name of a property that one schema declares.
    found["SyncBatch"]["properties"]["events"]["items"].pop("discriminator", None)
    return found


def _close_codes() -> list[Node]:
    return [
        {"code": code, "meaning": meaning, "client": _after_close(code)}
        for code, meaning in sorted(CLOSE_CODES.items())
    ]


def _after_close(code: int) -> str:
    if code in RETRY_AT_ONCE:
        return "connect at once, with jitter"
    if code in RETRY_AFTER_SLOT:
        return "connect after the slot of the last `reconnect` frame"
    if code in RETRY_AFTER_REFRESH:
        return "refresh the token, then connect"
    if code in RETRY_NEVER:
        return "never connect by itself"
    return "connect with back-off" if code != Close.NORMAL else "nothing"


def document() -> Node:
    """The AsyncAPI document, ready for JSON."""
    messages = {
        f"client_{_kind(frame)}": _message(frame, "client", examples.CLIENT[_kind(frame)])
        for frame in _FROM_CLIENTS
    } | {
        f"server_{_kind(frame)}": _message(frame, "server", examples.SERVER[_kind(frame)])
        for frame in SERVER_FRAMES
    }
    subprotocols = [f"whatsapp.v{version}.{form}" for version in DOWNGRADES for form in ("json", "protobuf")]
    return {
        "asyncapi": "3.1.0",
        "info": {"title": "Messaging backend: the socket", "version": NEWEST, "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {
            "here": {
                "host": "{host}",
                "protocol": "ws",
                "description": "`wss` where TLS ends in front of the gateways.",
                "variables": {"host": {"default": "127.0.0.1:8000"}},
                "security": [{"$ref": "#/components/securitySchemes/bearer"}],
            }
        },
        "channels": {
            "socket": {
                "address": "/ws",
                "title": "The socket of a device",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {
                    "ws": {
                        "method": "GET",
                        "bindingVersion": "0.1.0",
                        "headers": {
                            "type": "object",
                            "properties": {
                                "Authorization": {"type": "string", "pattern": "^Bearer .+$"},
                                "Sec-WebSocket-Protocol": {"type": "string", "enum": subprotocols},
                                HEADER: {"type": "string", "enum": list(DOWNGRADES)},
                            },
                        },
                    }
                },
                "x-close-codes": _close_codes(),
                "x-error-codes": [{"code": code, "retryable": code in RETRYABLE} for code in sorted(CODES)],
            }
        },
        "operations": _operations(),
        "components": {
            "messages": messages,
            "schemas": _schemas(),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "At the upgrade, or as `token` of the `auth` frame.",
                }
            },
        },
    }
