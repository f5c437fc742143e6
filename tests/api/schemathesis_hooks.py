"""What schemathesis cannot guess: who calls, a number that exists, the code of an SMS. Loaded by ``SCHEMATHESIS_HOOKS``.

All requests come from one signed-up person, Ann, who has a conversation with Bob. What ends a session (logout, unlinking one's
own device) or changes an account (PIN, number) is called by somebody who signs up for it, so that it is called for real and the
run goes on.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
import threading
import time
import urllib.request
import uuid
import zlib
from functools import cache
from typing import Any

import schemathesis
from PIL import Image
from schemathesis.core.parameters import ParameterLocation
from websockets.sync.client import connect

from tests.api.people import SignedUp, Sms, request, sign_up
from tests.support.signal_keys import IdentityPair, keys

VERSION = "X-WhatsApp-Protocol-Version"
LINK_SECRET = "X-Link-Secret"
URL = os.environ["WHATSAPP_API_URL"]
SMS = Sms(os.environ["WHATSAPP_API_SMS"])
#: A line for each answer: operation, status.
SEEN = os.environ.get("WHATSAPP_API_SEEN", "")
#: Of the cases of the coverage phase, thousands, one in so many is asked; 1: each.
ONE_IN = int(os.environ.get("WHATSAPP_API_ONE_IN") or 1)
#: They end a session or change an account: somebody signs up for each.
OWN_CALLER = ("logout", "unlink_device", "set_pin", "remove_pin", "change_number", "delete_me")
UPLOADS = ("begin_upload", "upload_progress", "upload_bytes", "end_upload")
_people: dict[str, SignedUp] = {}
#: By their tokens.
_own_callers: dict[str, SignedUp] = {}
_lock = threading.Lock()
_count = itertools.count()


def person(name: str) -> SignedUp:
    """Ann or Bob, signed up when first needed."""
    with _lock:
        if name not in _people:
            _people[name] = sign_up(URL, SMS)
        return _people[name]


@cache
def conversation() -> str:
    """Ann's conversation with Bob."""
    answer = person("Ann").call("PUT", f"/conversations/direct/{person('Bob').user_id}")
    return str(answer["conversationId"])


@cache
def message() -> str:
    """A message of Ann's there; it goes over the socket, as messages do."""
    name = str(uuid.uuid4())
    sent = {
        "type": "send_message",
        "messageId": name,
        "conversationId": conversation(),
        "encryptedContent": "aGVsbG8=",
        "timestamp": int(time.time() * 1000),
    }
    headers = {"Authorization": f"Bearer {person('Ann').token}"}
    with connect(URL.replace("http", "ws", 1) + "/ws", additional_headers=headers) as socket:
        socket.send(json.dumps(sent))
        while json.loads(socket.recv(30))["type"] != "status_update":
            continue
    return name


def make_group() -> str:
    """A group of Ann's with Bob."""
    body = {"name": "Sailing", "members": [person("Bob").user_id]}
    return str(person("Ann").call("POST", "/groups", body)["groupId"])


@cache
def group() -> str:
    return make_group()


def make_invite(**fields: Any) -> str:
    """A new link into a new group; a group has room for a few only."""
    return str(person("Ann").call("POST", f"/groups/{make_group()}/invites", fields)["code"])


def make_request() -> tuple[str, str]:
    """A group, and somebody who asks to be let in."""
    made = make_group()
    code = person("Ann").call("POST", f"/groups/{made}/invites", {"approval": True})["code"]
    person("Carl").call("POST", f"/invites/{code}/join", {})
    return made, person("Carl").user_id


@cache
def identity() -> IdentityPair:
    """Ann's."""
    return IdentityPair()


@cache
def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(file, "PNG")
    return file.getvalue()


def set_icon(made: str) -> str:
    """The group, with a picture."""
    put_picture("Ann", f"/groups/{made}/icon")
    return made


def put_picture(whose: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {person(whose).token}", "Content-Type": "image/png"}
    asked = urllib.request.Request(f"{URL}{path}", picture(), headers, method="PUT")
    with urllib.request.urlopen(asked, timeout=30):
        pass


def upload_headers() -> dict[str, str]:
    """Of a new upload of three bytes."""
    told = {"fileType": "document", "conversationId": conversation()}
    pairs = [f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in told.items()]
    return {"Tus-Resumable": "1.0.0", "Upload-Length": "3", "Upload-Metadata": ",".join(pairs)}


def make_upload(more: str = "") -> str:
    """An upload of Ann's, of three bytes, none of which is there. ``more``: metadata."""
    headers = {"Authorization": f"Bearer {person('Ann').token}", **upload_headers()}
    headers["Upload-Metadata"] += more
    asked = urllib.request.Request(f"{URL}/media/tus", headers=headers, method="POST")
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return str(answer.headers["Location"]).rpartition("/")[2]


@cache
def file_that_is_ready() -> str:
    """A document of Ann's that nothing is done with any more: the only one that is led to its bytes."""
    ann, edge = person("Ann"), uuid.uuid4().hex
    fields = {"fileType": "document", "conversationId": conversation(), "encrypted": "true"}
    parts = [
        f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    parts.append(
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--{edge}--\r\n'
    )
    headers = {
        "Authorization": f"Bearer {ann.token}",
        "Content-Type": f"multipart/form-data; boundary={edge}",
    }
    asked = urllib.request.Request(f"{URL}/media/upload", "".join(parts).encode(), headers)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        name = str(json.load(answer)["mediaId"])
    end = time.monotonic() + 120
    while ann.call("GET", f"/media/{name}")["state"] != "ready" and time.monotonic() < end:
        time.sleep(0.2)
    return name


def presigned_upload() -> dict[str, Any]:
    """A presigned upload of Ann's, of three bytes, none of which is there."""
    body = {"fileType": "document", "conversationId": conversation(), "size": 3}
    return person("Ann").call("POST", "/media/presigned", body)


def put_presigned(case: Any) -> None:
    """An upload whose part is put, to be completed."""
    made = presigned_upload()
    (part,) = made["parts"]
    asked = urllib.request.Request(part["url"], b"abc", method="PUT")
    with urllib.request.urlopen(asked, timeout=30) as answer:
        etag = str(answer.headers["ETag"])
    case.path_parameters["upload_id"] = made["uploadId"]
    case.body = {"parts": [{"number": 1, "etag": etag}]}


@cache
def encrypted() -> str:
    """One that may have an encrypted thumbnail."""
    return make_upload(f",encrypted {base64.b64encode(b'true').decode()}")


def put_upload(case: Any, name: str) -> None:
    """Headers with which there is something to do, and a body that fits."""
    for header in ("Upload-Checksum", "Upload-Length", "Upload-Defer-Length", "X-Idempotency-Key"):
        case.headers.pop(header, None)
    if name == "begin_upload":
        case.headers.update(upload_headers())
    elif name == "upload_bytes":
        case.headers["Upload-Offset"] = "0"
    case.body = b"abc" if name in ("begin_upload", "upload_bytes") else case.body


@cache
def with_photo() -> str:
    put_picture("Bob", "/me/photo")
    return person("Bob").user_id


@cache
def group_with_icon() -> str:
    return set_icon(make_group())


def known_ids(name: str) -> dict[str, str]:
    """Ids with which an operation has something to do, made for it where it ends what they name."""
    if name in ("set_push", "clear_push"):
        return {"device_id": person("Ann").device_id}
    if name in ("put_contact", "remove_contact", "user", "user_keys", "open_direct"):
        return {"user_id": person("Bob").user_id}
    if name == "export":
        return {"export_id": str(person("Ann").call("POST", "/me/export")["exportId"])}
    if name == "user_photo":
        return {"user_id": with_photo()}
    if name in ("block", "unblock"):
        return {"user_id": person("Dora").user_id}
    if name == "events":
        message()
        return {"conversation_id": conversation()}
    if name == "receipts":
        return {"conversation_id": conversation(), "message_id": message()}
    if name in ("group", "update_group", "members", "invites", "join_requests"):
        return {"group_id": group()}
    if name in ("upload_progress", "upload_bytes", "end_upload"):
        return {"upload_id": make_upload()}
    if name == "media_content":
        return {"media_id": file_that_is_ready()}
    if name in ("presigned", "end_presigned"):
        return {"upload_id": str(presigned_upload()["uploadId"])}
    if name == "set_thumbnail":
        return {"media_id": encrypted()}
    if name == "icon":
        return {"group_id": group_with_icon()}
    if name == "set_icon":
        return {"group_id": group()}
    if name == "remove_icon":
        return {"group_id": set_icon(make_group())}
    if name in ("delete_group", "create_invite"):
        return {"group_id": make_group()}
    if name in ("add_member", "change_role", "remove_member"):
        return {"group_id": make_group(), "user_id": person("Bob").user_id}
    if name in ("approve_request", "refuse_request"):
        made, asker = make_request()
        return {"group_id": made, "user_id": asker}
    if name in ("invite", "join"):
        return {"code": make_invite()}
    if name == "revoke_invite":
        made = make_group()
        code = person("Ann").call("POST", f"/groups/{made}/invites", {})["code"]
        return {"group_id": made, "code": str(code)}
    return {}


def put_link(case: Any, name: str) -> None:
    """A code that a new device shows, with the secret that the operation takes."""
    offer = request("POST", f"{URL}/auth/link", {"deviceName": "laptop"})
    case.path_parameters["link_id"] = offer["linkId"]
    secret = offer["qr"].rpartition(":")[2]
    if name == "approve_link":
        case.body = {"secret": secret, "historyDays": 7}
    else:
        case.headers[LINK_SECRET] = offer["pollSecret"] if name == "poll_link" else secret


def _name(case: Any) -> str:
    return str(case.operation.definition.raw.get("operationId", ""))


#: Operations of which so few good cases are made that a known id has to come more often than in one of three: in one of so many.
SELDOM = {
    "user_keys": 2,
    "export": 1,
    "user_photo": 2,
    "look_at_link": 2,
    "media_content": 2,
    "set_thumbnail": 1,
}


def _one_in(case: Any, number: int) -> bool:
    """Whether a known value takes the place of a generated one: settled by what was generated, so a seed repeats it."""
    return zlib.crc32(repr((case.path_parameters, case.body)).encode()) % number == 0


@schemathesis.serializer("application/offset+octet-stream")
def file_bytes(context: Any, value: Any) -> bytes:
    """Bytes of a file are bytes."""
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.auth(refresh_interval=None)
class Callers:
    """Whose token a request carries."""

    def get(self, case: Any, context: Any) -> str:
        if _name(case) not in OWN_CALLER:
            return person("Ann").token
        if not _asked(case):
            return ""  # never Ann's
        caller = sign_up(URL, SMS)
        _own_callers[caller.token] = caller
        return caller.token

    def set(self, case: Any, token: str, context: Any) -> None:
        """Nothing but the header: whether a case is asked is settled by the rest of it, behind this."""
        case.headers["Authorization"] = f"Bearer {token}"


def put_own(case: Any, name: str) -> None:
    """The caller's own code, or own device."""
    caller = _own_callers.get(case.headers.get("Authorization", "").removeprefix("Bearer "))
    if caller is None:
        return
    if name == "delete_me" and _generated(case, ParameterLocation.BODY) and _one_in(case, 2):
        case.body = {"code": SMS.code(URL, caller.phone)}
    if name == "unlink_device" and _generated(case, ParameterLocation.PATH) and _one_in(case, 2):
        case.path_parameters["device_id"] = caller.device_id


def _asked(case: Any) -> bool:
    """Whether this case is one of those that are asked: settled by what was generated."""
    if ONE_IN == 1 or case.meta is None or case.meta.phase.name != "coverage":
        return True
    headers = sorted((name, value) for name, value in case.headers.items() if name != "Authorization")
    parts = (case.method, _name(case), case.path_parameters, case.query, headers, case.cookies, case.body)
    return zlib.crc32(repr(parts).encode()) % ONE_IN == 0


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    return _asked(case)


def _generated(case: Any, location: Any) -> bool:
    """Whether this part is good data made by chance: bad data and what links brought stay as they are."""
    return case.meta is not None and not case.meta.is_negative_at(location)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    name = _name(case)
    put_own(case, name)
    if (
        name == "begin_upload"
        and _generated(case, ParameterLocation.HEADER)
        and _generated(case, ParameterLocation.BODY)
    ):
        put_upload(case, name)  # no good metadata comes by chance
    # schemathesis 4.32 finds no good value with a dot for a header and takes this bad one into cases that test something else.
    if case.headers.get(VERSION) == "0":
        case.headers[VERSION] = "3.2"
    if _generated(case, ParameterLocation.PATH) and _one_in(case, SELDOM.get(name, 3)):
        case.path_parameters.update(known_ids(name))
        if name == "media_content" and case.query and _generated(case, ParameterLocation.QUERY):
            case.query.pop("conversationId", None)  # nobody was sent it there
            case.query.pop("rendition", None)  # it has the one
        if name == "user_keys" and case.query and _generated(case, ParameterLocation.QUERY):
            case.query.pop("deviceId", None)  # of Bob's, it would have to be
        if (
            name in UPLOADS
            and _generated(case, ParameterLocation.HEADER)
            and _generated(case, ParameterLocation.BODY)
        ):
            put_upload(case, name)
        if name == "complete_presigned" and _generated(case, ParameterLocation.BODY):
            put_presigned(case)
        part = ParameterLocation.BODY if name == "approve_link" else ParameterLocation.HEADER
        if name in ("look_at_link", "approve_link", "reject_link", "poll_link") and _generated(case, part):
            put_link(case, name)
    if not _generated(case, ParameterLocation.BODY) or not isinstance(case.body, dict):
        return
    if name in ("register", "verify", "change_number"):
        case.body["phoneNumber"] = f"+1555{next(_count):07}"
    if name == "begin_presigned" and _one_in(case, 2):
        case.body |= {"conversationId": conversation(), "size": 3, "fileType": "document"}
    if name == "set_push" and _one_in(case, 2):
        case.path_parameters["device_id"] = person("Ann").device_id
        case.body = {"app": "android", "token": f"token-{next(_count)}"}
    if name == "create_group" and _one_in(case, 2):
        case.body["members"] = [person("Bob").user_id]
    if name == "report" and _one_in(case, 2):
        bob = person("Bob").user_id
        case.body = {
            "kind": "user",
            "category": "spam",
            "conversationId": conversation(),
            "userId": bob,
            "block": False,
        }
    if name == "consent" and _one_in(case, 2):
        case.body = {"document": "diagnostics", "given": "yes", "version": "1"}
    if name == "add_contact":
        case.body["phoneNumber"] = person("Bob").phone
    if name == "put_keys" and _one_in(case, 2):
        case.body = keys(identity(), classic=1, post_quantum=1, last=True)
    if name in ("verify", "change_number") and _one_in(case, 2):
        case.body["code"] = SMS.code(URL, case.body["phoneNumber"])
    if name == "refresh" and _one_in(case, 2):
        case.body["refreshToken"] = sign_up(URL, SMS).refresh_token


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    if SEEN:
        with _lock, open(SEEN, "a") as file:
            file.write(f"{case.method} {_name(case)} {response.status_code}\n")
