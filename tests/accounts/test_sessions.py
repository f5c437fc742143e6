"""Access tokens, refresh tokens, logout, and what gateways ask."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from typing import Any

import jwt
import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connection
from psycopg_pool import AsyncConnectionPool

from accounts import sessions
from accounts.models import Account, Device, RefreshToken
from accounts.tokens import TokenError, issue_access, read_access
from delivery.store.sync import store
from tests.accounts.conftest import Api, assert_problem, parallel, sign_in, verify
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db


def refresh(token: str) -> Any:
    return Api().post("/auth/refresh", {"refreshToken": token})


# -- access tokens --------------------------------------------------------------------------------------------------------


def test_an_access_token_names_user_and_device_and_nothing_personal() -> None:
    person = sign_in()
    claims = jwt.decode(person.token, options={"verify_signature": False})
    assert set(claims) == {"sub", "dev", "iat", "exp", "jti"}
    assert (claims["sub"], claims["dev"]) == (person.user_id, person.device_id)
    assert claims["exp"] - claims["iat"] == pytest.approx(3600)
    access = read_access(person.token)
    assert (access.user_id, access.device_id) == (person.user_id, person.device_id)
    assert access.expires_at == pytest.approx(now_ms() + 3_600_000, abs=5_000)


def test_reading_a_token_asks_no_database(django_assert_num_queries: Any) -> None:
    token, _ = issue_access(user_id=str(uuid.uuid4()), device_id=str(uuid.uuid4()), now=now_ms())
    with django_assert_num_queries(0):
        read_access(token)


def test_keys_change_without_ending_sessions(settings: Any) -> None:
    person = sign_in()
    old = dict(settings.TOKEN_KEYS)
    settings.TOKEN_KEYS = {"next": "n" * 48, **old}
    assert person.api.get("/me").status_code == 200
    assert jwt.get_unverified_header(sign_in().token)["kid"] == "next"
    settings.TOKEN_KEYS = {"next": "n" * 48}
    assert_problem(person.api.get("/me"), "unauthenticated", 401)


def _forged(claims: dict[str, Any], **options: Any) -> str:
    kid, secret = next(iter(settings.TOKEN_KEYS.items()))
    given = {"key": secret, "algorithm": "HS256", "headers": {"kid": kid}, **options}
    return jwt.encode(claims, **given)


def _signed(header: Any) -> str:
    """A token with a header that the library would not write, properly signed."""
    secret = next(iter(settings.TOKEN_KEYS.values()))
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, _claims())]
    mac = hmac.digest(secret.encode(), b".".join(parts), hashlib.sha256)
    return b".".join([*parts, base64.urlsafe_b64encode(mac).rstrip(b"=")]).decode()


def test_the_signing_of_these_tests_is_right() -> None:
    read_access(_signed({"alg": "HS256", "kid": "test"}))


def _claims(**changes: Any) -> dict[str, Any]:
    now = now_ms() / 1000
    claims = {"sub": str(uuid.uuid4()), "dev": str(uuid.uuid4()), "iat": now, "exp": now + 60, "jti": "x"}
    claims.update(changes)
    return {name: value for name, value in claims.items() if value is not None}


@pytest.mark.parametrize(
    "make",
    [
        lambda: "",
        lambda: "x",
        lambda: "a.b.c",
        lambda: "é" * 20,
        lambda: _forged(_claims(), key="another" * 8),
        lambda: _forged(_claims(), headers={"kid": "unknown"}),
        lambda: _signed({"alg": "HS256", "kid": None}),
        lambda: _signed({"alg": "HS256", "kid": ["test"]}),
        lambda: _signed({"alg": "HS256"}),
        lambda: _signed([]),
        lambda: _forged(_claims(), key=None, algorithm="none"),
        lambda: _signed({"alg": "HS512", "kid": "test"}),
        lambda: _forged(_claims(exp=None)),
        lambda: _forged(_claims(exp="soon")),
        lambda: _forged(_claims(exp=[1])),
        lambda: _forged(_claims(sub="me")),
        lambda: _forged(_claims(dev=7)),
        lambda: _forged(_claims(dev=None)),
        lambda: _forged(_claims(exp=1)),
    ],
)
def test_hostile_tokens_are_refused(make: Any) -> None:
    token = make()
    with pytest.raises(TokenError):
        read_access(token)
    if token.isascii():
        answer = Api(token or " ").get("/me")
        assert_problem(answer, "unauthenticated", 401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_good_token_of_no_device_is_refused() -> None:
    token, _ = issue_access(user_id=sign_in().user_id, device_id=sign_in().device_id, now=now_ms())
    assert_problem(Api(token).get("/me"), "unauthenticated", 401)


def test_an_access_token_expires_after_an_hour(clock: Any) -> None:
    person = sign_in()
    clock(3_599_000)
    assert person.api.get("/me").status_code == 200
    clock(1_000)
    assert_problem(person.api.get("/me"), "unauthenticated", 401)


def test_authentication_costs_one_query(django_assert_num_queries: Any) -> None:
    api = sign_in().api
    with django_assert_num_queries(2):  # the other one is the PIN's
        assert api.get("/me").status_code == 200


# -- refresh --------------------------------------------------------------------------------------------------------------


def test_refresh_gives_the_next_pair() -> None:
    person = sign_in()
    body = refresh(person.refresh_token).json()
    assert set(body) == {"token", "refreshToken", "expiresAt", "userId", "deviceId"}
    assert body["refreshToken"] != person.refresh_token
    assert Api(body["token"]).get("/me").status_code == 200
    assert person.api.get("/me").status_code == 200  # the last access token lives until it expires
    assert refresh(body["refreshToken"]).status_code == 200


def test_refresh_tokens_are_stored_as_hashes_only() -> None:
    person = sign_in()
    with connection.cursor() as cursor:
        cursor.execute("SELECT accounts_refreshtoken::text FROM accounts_refreshtoken")
        stored = " ".join(row[0] for row in cursor.fetchall())
    assert person.refresh_token not in stored
    assert person.refresh_token.encode().hex() not in stored


def test_a_refresh_token_used_twice_ends_the_session(
    told: Any, django_capture_on_commit_callbacks: Any
) -> None:
    person = sign_in()
    read = told(person.user_id)
    stolen = person.refresh_token
    newest = refresh(stolen).json()
    with django_capture_on_commit_callbacks(execute=True):
        assert_problem(refresh(stolen), "unauthenticated", 401)
    # Neither the thief's nor the owner's tokens work any more, and the live socket is told.
    assert_problem(refresh(newest["refreshToken"]), "unauthenticated", 401)
    assert_problem(Api(newest["token"]).get("/me"), "unauthenticated", 401)
    assert_problem(person.api.get("/me"), "unauthenticated", 401)
    assert read() == [{"type": "session.revoked", "deviceId": person.device_id}]
    # The device is not unlinked: what is queued for it waits.
    assert Device.objects.get(pk=person.device_id).unlinked_at is None
    assert store.devices([person.user_id])[person.user_id]


def test_after_a_revoked_session_the_number_is_verified_again_on_the_same_device() -> None:
    person = sign_in()
    newest = refresh(person.refresh_token).json()
    refresh(person.refresh_token)
    again = verify(person.phone, refreshToken=newest["refreshToken"]).json()
    assert again["deviceId"] == person.device_id
    assert Api(again["token"]).get("/me").status_code == 200
    assert_problem(Api(newest["token"]).get("/me"), "unauthenticated", 401)  # a copied token stays void


def test_verifying_a_device_again_tells_the_gateways_from_when_its_session_counts(
    told: Any, clock: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        person = sign_in()
    read = told(person.user_id)
    clock(1_000)
    with django_capture_on_commit_callbacks(execute=True):
        again = verify(person.phone, refreshToken=person.refresh_token).json()
    issued = read_access(again["token"]).issued_at
    assert read() == [{"type": "session.revoked", "deviceId": person.device_id, "sessionFrom": issued}]
    # Another device of the account ends nobody's session.
    with django_capture_on_commit_callbacks(execute=True):
        verify(person.phone)
    assert [event["type"] for event in read()] == ["notice"]


@pytest.mark.django_db(transaction=True)
def test_one_refresh_token_used_at_once_by_many_is_one_use_and_a_theft() -> None:
    person = sign_in()
    statuses = parallel(6, lambda: refresh(person.refresh_token).status_code)
    assert sorted(statuses) == [200, 401, 401, 401, 401, 401]
    assert Device.objects.get(pk=person.device_id).revoked_at is not None


def test_a_lost_answer_is_asked_for_again_by_the_same_key() -> None:
    person = sign_in()
    key = {"X-Idempotency-Key": "one"}

    def again(**options: Any) -> Any:
        return Api().post("/auth/refresh", {"refreshToken": person.refresh_token}, **options)

    first = again(headers=key).json()
    second = again(headers=key).json()
    assert second["refreshToken"] == first["refreshToken"]
    assert Api(second["token"]).get("/me").status_code == 200
    assert RefreshToken.objects.filter(device_id=person.device_id).count() == 2
    # Once the answer has been used, nobody may ask for it again.
    assert refresh(first["refreshToken"]).status_code == 200
    assert_problem(again(headers=key), "unauthenticated", 401)
    assert Device.objects.get(pk=person.device_id).revoked_at is not None


@pytest.mark.parametrize("headers", [{}, {"X-Idempotency-Key": "two"}])
def test_another_key_or_none_is_a_theft(headers: dict[str, str]) -> None:
    person = sign_in()
    body = {"refreshToken": person.refresh_token}
    first = Api().post("/auth/refresh", body, headers={"X-Idempotency-Key": "one"}).json()
    assert_problem(Api().post("/auth/refresh", body, headers=headers), "unauthenticated", 401)
    assert_problem(refresh(first["refreshToken"]), "unauthenticated", 401)


def test_a_key_is_kept_for_a_day(clock: Any) -> None:
    person = sign_in()
    body, key = {"refreshToken": person.refresh_token}, {"X-Idempotency-Key": "one"}
    assert Api().post("/auth/refresh", body, headers=key).status_code == 200
    clock(86_400_000)
    assert_problem(Api().post("/auth/refresh", body, headers=key), "unauthenticated", 401)


def test_a_key_is_bounded() -> None:
    answer = Api().post("/auth/refresh", {"refreshToken": "x"}, headers={"X-Idempotency-Key": "k" * 129})
    assert_problem(answer, "bad_request", 400)


@pytest.mark.parametrize(
    "body", [{}, {"refreshToken": ""}, {"refreshToken": "x" * 257}, {"refreshToken": []}]
)
def test_refresh_names_the_field_at_fault(body: dict[str, Any]) -> None:
    assert assert_problem(Api().post("/auth/refresh", body), "bad_request", 400)["details"] == {
        "field": "refreshToken"
    }


def test_an_unknown_or_expired_refresh_token_is_refused(clock: Any) -> None:
    person = sign_in()
    assert_problem(refresh("unknown"), "unauthenticated", 401)
    clock(90 * 86_400_000)
    assert_problem(refresh(person.refresh_token), "unauthenticated", 401)


def test_the_banned_are_told_so_by_refresh_and_by_every_call() -> None:
    person = sign_in()
    Account.objects.filter(pk=person.user_id).update(banned_until=2**52)
    assert_problem(refresh(person.refresh_token), "banned", 403)
    assert assert_problem(person.api.get("/me"), "banned", 403)["details"]["until"] == 2**52
    Account.objects.filter(pk=person.user_id).update(banned_until=now_ms())
    assert refresh(person.refresh_token).status_code == 200  # the token was not used up


def test_refreshing_costs_few_queries(django_assert_max_num_queries: Any) -> None:
    person = sign_in()
    with django_assert_max_num_queries(7):  # two of them are the savepoint
        refresh(person.refresh_token)


# -- logout ---------------------------------------------------------------------------------------------------------------


def test_logout_unlinks_the_device(told: Any, django_capture_on_commit_callbacks: Any) -> None:
    person = sign_in()
    read = told(person.user_id)
    with django_capture_on_commit_callbacks(execute=True):
        assert person.api.post("/auth/logout").status_code == 204
    assert_problem(person.api.get("/me"), "unauthenticated", 401)
    assert_problem(refresh(person.refresh_token), "unauthenticated", 401)
    assert store.devices([person.user_id])[person.user_id] == ()
    removed, told_others = read()
    assert removed == {"type": "device.removed", "deviceId": person.device_id}
    assert (told_others["kind"], told_others["but"]) == ("device_removed", person.device_id)
    assert told_others["data"]["reason"] == "logout"
    assert not RefreshToken.objects.filter(device_id=person.device_id).exists()


def test_logout_needs_a_session() -> None:
    assert_problem(Api().post("/auth/logout"), "unauthenticated", 401)


# -- identify -------------------------------------------------------------------------------------------------------------


def identify(pairs: list[Any]) -> list[str]:
    """``sessions.identify`` on the test's database."""
    parameters = connection.get_connection_params()
    names = {"host", "port", "user", "password", "dbname"}

    async def run() -> list[str]:
        async with AsyncConnectionPool(
            kwargs={name: value for name, value in parameters.items() if name in names},
            min_size=1,
            open=False,
        ) as pool:
            return list(await sessions.identify(pool, pairs))

    return async_to_sync(run)()


@pytest.mark.django_db(transaction=True)
def test_identify_judges_many_sessions_in_one_query() -> None:
    fine, gone, banned, revoked, other = (sign_in() for _ in range(5))
    gone.api.post("/auth/logout")
    Account.objects.filter(pk=banned.user_id).update(banned_until=2**52)
    refresh(revoked.refresh_token)
    refresh(revoked.refresh_token)
    people = [fine, gone, banned, revoked]
    nobody = str(uuid.uuid4())
    pairs = [(person.user_id, person.device_id) for person in people]
    pairs += [(nobody, nobody), (fine.user_id, other.device_id), pairs[0]]
    expected = ["ok", "unlinked", "banned", "revoked", "unlinked", "unlinked", "ok"]
    assert [one.verdict for one in identify(pairs)] == expected
    assert identify([]) == []


@pytest.mark.django_db(transaction=True)
def test_identify_knows_a_token_of_an_earlier_session_of_the_device(clock: Any) -> None:
    person = sign_in()
    issued = read_access(person.token).issued_at
    clock(1_000)
    verify(person.phone, refreshToken=person.refresh_token)
    pair = (person.user_id, person.device_id)
    found = identify([pair, (*pair, issued), (*pair, issued + 1_000_000)])
    assert [one.verdict for one in found] == ["ok", "revoked", "ok"]
