"""Every REST address × every kind of caller. Addresses come from the OpenAPI document, so a new one is tested or fails here."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable
from functools import cache
from typing import Any

import jwt
import pytest
from django.conf import settings

from accounts.models import Account, Device
from accounts.tokens import TokenError, read_access
from media.services import uploads
from media.services.uploads import New, Told
from tests.accounts.conftest import (  # noqa: F401
    Api,
    Person,
    _memory_layer,
    assert_problem,
    limits,
    sign_in,
)
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db

#: What may be called without a session. Whoever adds an address here has thought about it.
PUBLIC = {
    ("POST", "/auth/register"),
    ("POST", "/auth/verify"),
    ("POST", "/auth/refresh"),
    ("POST", "/auth/link"),
    ("GET", "/auth/link/{link_id}"),  # for who has the secret of a new device
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/schema/docs"),
    ("GET", "/schema/openapi.json"),
    ("GET", "/schema/asyncapi.json"),
    ("GET", "/schema/whatsapp.proto"),
}
METHODS = ("get", "post", "put", "patch", "delete")


@cache
def _document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Api().get("/schema/openapi.json").content)
    return found


def _operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Built ones: (method, path, description)."""
    return [
        (method.upper(), path, operation)
        for path, item in _document()["paths"].items()
        for method, operation in item.items()
        if method in METHODS and "not built yet" not in operation.get("tags", ())
    ]


def _closed() -> list[tuple[str, str]]:
    return [(method, path) for method, path, _ in _operations() if (method, path) not in PUBLIC]


def _filled(path: str, value: str = "") -> str:
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + (value or str(uuid.uuid4())) + rest.partition("}")[2]
    return path


def _sign(
    claims: dict[str, Any], *, kid: Any = None, alg: str = "HS256", secret: str = "", **header: Any
) -> str:
    """A token made by hand: nothing keeps it from being odd."""
    known, key = next(iter(settings.TOKEN_KEYS.items()))
    head = {"alg": alg, "typ": "JWT", "kid": known if kid is None else kid, **header}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (head, claims)]
    digest = {"HS512": hashlib.sha512, "HS384": hashlib.sha384}.get(alg, hashlib.sha256)
    mac = hmac.digest((secret or key).encode(), b".".join(parts), digest)
    signature = b"" if alg.lower() == "none" else base64.urlsafe_b64encode(mac).rstrip(b"=")
    return b".".join([*parts, signature]).decode()


def _claims(person: Person, **changes: Any) -> dict[str, Any]:
    now = now_ms() / 1000
    claims = {"sub": person.user_id, "dev": person.device_id, "iat": now, "exp": now + 600, "jti": "x"}
    claims.update(changes)
    return {name: value for name, value in claims.items() if value is not ...}


#: name → the token of somebody who has a good one otherwise
FORGED: dict[str, Callable[[Person], str]] = {
    "expired": lambda p: _sign(_claims(p, exp=now_ms() / 1000 - 1)),
    "expires now": lambda p: _sign(_claims(p, exp=now_ms() / 1000)),
    "another secret": lambda p: _sign(_claims(p), secret="x" * 48),
    "no signature": lambda p: _sign(_claims(p)).rpartition(".")[0] + ".",
    "alg none": lambda p: _sign(_claims(p), alg="none"),
    "alg None": lambda p: _sign(_claims(p), alg="None"),
    "alg HS512": lambda p: _sign(_claims(p), alg="HS512"),
    "alg RS256": lambda p: _sign(_claims(p), alg="RS256"),
    "alg ES256": lambda p: _sign(_claims(p), alg="ES256"),
    "unknown kid": lambda p: _sign(_claims(p), kid="other"),
    "empty kid": lambda p: _sign(_claims(p), kid=""),
    "kid is a path": lambda p: _sign(_claims(p), kid="../../../../dev/null", secret="\0"),
    "kid is SQL": lambda p: _sign(_claims(p), kid="x' UNION SELECT 'key' --", secret="key"),
    "kid is a list": lambda p: _sign(_claims(p), kid=["test"]),
    "kid is a URL": lambda p: _sign(
        _claims(p), kid="https://evil.example/key", jku="https://evil.example/jwks"
    ),
    "a key of its own": lambda p: _sign(_claims(p), secret="mine" * 12, jwk={"kty": "oct", "k": "bWluZQ"}),
    "critical extension": lambda p: _sign(_claims(p), crit=["b64"], b64=False),
    "no subject": lambda p: _sign(_claims(p, sub=...)),
    "no device": lambda p: _sign(_claims(p, dev=...)),
    "no expiry": lambda p: _sign(_claims(p, exp=...)),
    "expiry is text": lambda p: _sign(_claims(p, exp="9999999999")),
    "expiry is infinite": lambda p: _sign(_claims(p, exp=1e999)),
    "expiry is no number": lambda p: _sign(_claims(p, exp=float("nan"))),
    "expiry is true": lambda p: _sign(_claims(p, exp=True)),
    "subject is a list": lambda p: _sign(_claims(p, sub=[p.user_id])),
    "another account's device": lambda p: _sign(_claims(p, dev=sign_in().device_id)),
    "device of nobody": lambda p: _sign(_claims(p, dev=str(uuid.uuid4()))),
    "a refresh token": lambda p: p.refresh_token,
    "huge": lambda p: _sign(_claims(p, pad="x" * 200_000)),
    "five parts": lambda p: p.token + ".e.f",
    "deep": lambda p: _deep(p),
}


def _deep(person: Person) -> str:
    known, key = next(iter(settings.TOKEN_KEYS.items()))
    head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": known}).encode()).rstrip(b"=")
    claims = base64.urlsafe_b64encode(b'{"sub":' + b"[" * 50_000 + b"]" * 50_000 + b"}").rstrip(b"=")
    mac = hmac.digest(key.encode(), head + b"." + claims, hashlib.sha256)
    return b".".join([head, claims, base64.urlsafe_b64encode(mac).rstrip(b"=")]).decode()


def test_the_tokens_of_these_tests_would_be_taken_otherwise() -> None:
    person = sign_in()
    assert Api(_sign(_claims(person))).get("/me").status_code == 200


def test_the_document_says_what_is_public_and_nothing_else_is() -> None:
    operations = _operations()
    assert {
        (method, path) for method, path, operation in operations if not operation.get("security")
    } == PUBLIC
    assert len(_closed()) >= 12


def test_without_a_session_nothing_opens_and_nothing_is_told() -> None:
    """Anonymous, other schemes, and some forgeries, on every address: the same 401, whatever is asked for."""
    person, other = sign_in(), sign_in()
    headers = ["", "Basic " + base64.b64encode(b"a:b").decode(), f"Token {person.token}"]
    headers += [
        f"Bearer {FORGED[kind](person)}" for kind in ("expired", "alg none", "another account's device")
    ]
    for method, path in _closed():
        for header in headers:
            answer = Api()(
                method, _filled(path, other.user_id), {}, headers={"Authorization": header} if header else {}
            )
            problem = assert_problem(answer, "unauthenticated", 401)
            assert "details" not in problem
            assert other.user_id not in answer.content.decode()
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_token_is_refused_by_the_one_reader_that_sockets_use_too(kind: str) -> None:
    person = sign_in()
    token = FORGED[kind](person)
    if kind in ("another account's device", "device of nobody"):
        read_access(token)  # properly signed: the database decides
        assert_problem(Api(token).get("/me"), "unauthenticated", 401)
    else:
        with pytest.raises(TokenError):
            read_access(token)


@pytest.mark.parametrize("state", ["revoked", "unlinked", "banned"])
def test_a_session_that_has_ended_opens_nothing(state: str) -> None:
    person = sign_in()
    before = now_ms()
    if state == "revoked":
        Device.objects.filter(pk=person.device_id).update(revoked_at=before)
    elif state == "unlinked":
        Device.objects.filter(pk=person.device_id).update(unlinked_at=before)
    else:
        Account.objects.filter(pk=person.user_id).update(banned_until=before + 60_000, name="secret name")
    for method, path in _closed():
        answer = person.api(method, _filled(path), {})
        if state == "banned":
            assert_problem(answer, "banned", 403)
        else:
            assert_problem(answer, "unauthenticated", 401)
        assert b"secret name" not in answer.content


def test_a_token_of_the_session_before_opens_nothing(clock: Any) -> None:
    person = sign_in()
    clock(1_000)
    sign_in(person.phone, refreshToken=person.refresh_token)
    assert_problem(person.api.get("/me"), "unauthenticated", 401)


#: (method, path) → what somebody else's id gives; ``None``: it is no secret of theirs (said in docs/security.md).
OF_OTHERS = {
    ("DELETE", "/devices/{device_id}"): ("not_found", 404),
    ("GET", "/me/export/{export_id}"): ("not_found", 404),
    ("PUT", "/devices/{device_id}/push"): ("not_found", 404),
    ("DELETE", "/devices/{device_id}/push"): ("not_found", 404),
    # Without the code's secret; with it: accounts/test_linking.py.
    ("PUT", "/auth/link/{link_id}"): ("bad_request", 400),
    ("DELETE", "/auth/link/{link_id}"): ("bad_request", 400),
    ("GET", "/auth/link/{link_id}/device"): ("bad_request", 400),
    ("PATCH", "/conversations/{conversation_id}"): ("not_found", 404),
    ("GET", "/conversations/{conversation_id}/events"): ("not_found", 404),
    ("GET", "/conversations/{conversation_id}/messages/{message_id}/receipts"): ("not_found", 404),
    ("PUT", "/conversations/direct/{user_id}"): None,  # whoever knows an id may write to it
    ("PUT", "/contacts/{user_id}"): None,  # one's own address book
    ("DELETE", "/contacts/{user_id}"): None,
    ("GET", "/users/{user_id}"): None,  # name, about, photo
    ("GET", "/users/{user_id}/photo"): (
        "not_found",
        404,
    ),  # there is none; to whom one is shown: accounts/test_photos
    ("GET", "/keys/{user_id}"): None,  # public keys are for whoever wants to write to somebody
    ("GET", "/groups/{group_id}"): ("not_found", 404),
    ("PATCH", "/groups/{group_id}"): ("not_found", 404),
    ("DELETE", "/groups/{group_id}"): ("not_found", 404),
    ("GET", "/groups/{group_id}/members"): ("not_found", 404),
    ("PUT", "/groups/{group_id}/members/{user_id}"): ("not_found", 404),
    ("PATCH", "/groups/{group_id}/members/{user_id}"): ("not_found", 404),
    ("DELETE", "/groups/{group_id}/members/{user_id}"): ("not_found", 404),
    ("GET", "/groups/{group_id}/requests"): ("not_found", 404),
    ("PUT", "/groups/{group_id}/requests/{user_id}"): ("not_found", 404),
    ("DELETE", "/groups/{group_id}/requests/{user_id}"): ("not_found", 404),
    ("GET", "/groups/{group_id}/invites"): ("not_found", 404),
    ("POST", "/groups/{group_id}/invites"): ("not_found", 404),
    ("DELETE", "/groups/{group_id}/invites/{code}"): ("not_found", 404),
    ("POST", "/groups/{group_id}/members"): ("not_found", 404),
    ("GET", "/groups/{group_id}/icon"): ("not_found", 404),
    ("PUT", "/groups/{group_id}/icon"): ("not_found", 404),
    ("DELETE", "/groups/{group_id}/icon"): ("not_found", 404),
    ("GET", "/media/{media_id}"): ("not_found", 404),
    ("GET", "/media/{media_id}/content"): ("not_found", 404),
    ("PUT", "/media/{media_id}/thumbnail"): ("not_found", 404),
    ("PATCH", "/media/tus/{upload_id}"): ("not_found", 404),
    ("DELETE", "/media/tus/{upload_id}"): ("not_found", 404),
    ("GET", "/media/presigned/{upload_id}"): ("not_found", 404),
    ("DELETE", "/media/presigned/{upload_id}"): ("not_found", 404),
    ("POST", "/media/presigned/{upload_id}/complete"): ("not_found", 404),
    ("PUT", "/blocks/{user_id}"): None,  # whom one blocks is one's own business
    ("DELETE", "/blocks/{user_id}"): None,
    ("GET", "/invites/{code}"): None,  # an invite is for whoever has its code
    ("POST", "/invites/{code}/join"): None,  # last: from here on Eve is a member
}


def _upload(person: Person, conversation: str) -> str:
    """An upload that has begun."""
    told = Told(uuid.UUID(conversation), "document")
    media, _ = uploads.begin(account=Account.objects.get(pk=person.user_id), new=New(told, 3))
    return str(media.pk)


def test_ids_of_others_are_not_found_and_stay_as_they_are() -> None:
    ann, bob, eve = sign_in(), sign_in(), sign_in()
    conversation = ann.api.put(f"/conversations/direct/{bob.user_id}").json()["conversationId"]
    with_ids = {(method, path) for method, path in _closed() if "{" in path}
    assert with_ids == set(OF_OTHERS), "an address with an id: what does somebody else's give?"
    group = ann.api.post("/groups", {"name": "x", "members": [bob.user_id]}).json()["groupId"]
    code = ann.api.post(f"/groups/{group}/invites", {}).json()["code"]
    ids = {
        "device_id": ann.device_id,
        "export_id": ann.api.post("/me/export").json()["exportId"],
        "conversation_id": conversation,
        "message_id": str(uuid.uuid4()),
        "user_id": ann.user_id,
        "group_id": group,
        "code": code,
        "link_id": Api().post("/auth/link", {"deviceName": "x"}).json()["linkId"],
        "media_id": _upload(ann, conversation),
        "upload_id": _upload(ann, conversation),
    }
    for (method, path), refusal in OF_OTHERS.items():
        # Which two addresses need, and no other looks at.
        body = {"members": [bob.user_id], "parts": [{"number": 1, "etag": "x"}]}
        tus = {
            "HTTP_TUS_RESUMABLE": "1.0.0",
            "HTTP_UPLOAD_OFFSET": "0",
            "CONTENT_TYPE": "application/offset+octet-stream",
        }
        extra = tus if path.startswith("/media/tus/") else {}
        answer = eve.api(method, path.format(**ids), body, **extra)
        unknown = eve.api(method, _filled(path), body, **extra)
        if refusal is not None:
            assert_problem(answer, *refusal)
            assert answer.content == unknown.content, "one cannot tell theirs from none"
        assert ann.phone.encode() not in answer.content
    assert ann.api.get("/me").status_code == 200
    items = eve.api.get("/conversations").json()["items"]
    assert conversation not in [item["conversationId"] for item in items]


def test_what_others_see_of_a_user() -> None:
    ann, eve = sign_in(), sign_in()
    ann.api.patch("/me", {"name": "Ann", "about": "hello", "language": "de"})
    seen = eve.api.get(f"/users/{ann.user_id}").json()
    assert set(seen) == {"userId", "name", "about", "photo"}
    contact = eve.api.put(f"/contacts/{ann.user_id}").json()
    assert set(contact) == {"userId", "nickname", "name", "about", "photo", "updatedAt"}
    # Who asked by the number knows it.
    contact = eve.api.post("/contacts", {"phoneNumber": ann.phone}).json()
    assert set(contact) == {"userId", "nickname", "name", "about", "photo", "updatedAt", "phoneNumber"}


@pytest.mark.parametrize(
    "extra",
    [
        {"userId": str(uuid.uuid4())},
        {"id": str(uuid.uuid4())},
        {"phoneNumber": "+15550000001", "phone": "+15550000001"},
        {"bannedUntil": None, "banned_until": None},
        {"region": 7, "createdAt": 1, "created_at": 1},
        {"is_staff": True, "is_superuser": True, "is_authenticated": True},
        {"__class__": "x", "constructor": {"prototype": 1}, "_state": {}},
    ],
)
def test_no_field_is_assigned_that_was_not_offered(extra: dict[str, Any]) -> None:
    person = sign_in()
    before = Account.objects.filter(pk=person.user_id).values().get()
    assert person.api.patch("/me", {"about": "new", **extra}).status_code == 200
    after = Account.objects.filter(pk=person.user_id).values().get()
    assert {**before, "about": "new"} == after
    body = {"phoneNumber": sign_in().phone, "owner": str(uuid.uuid4()), "updatedAt": 1, **extra}
    body["phoneNumber"] = sign_in().phone
    assert person.api.post("/contacts", body).status_code == 200
    assert Account.objects.filter(pk=person.user_id).values().get() == after


def test_a_token_names_key_and_algorithm_alone() -> None:
    header = jwt.get_unverified_header(sign_in().token)
    assert header == {"alg": "HS256", "typ": "JWT", "kid": next(iter(settings.TOKEN_KEYS))}
