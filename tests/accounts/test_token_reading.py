"""Our reader of access tokens against PyJWT's: it reads what was given out, and nothing that the library would refuse."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.tokens import TokenError, issue_access, read_access
from whatsapp.infra.clock import now_ms

KID, SECRET = "test", "s" * 40


@pytest.fixture(autouse=True, scope="module")
def _key() -> Any:
    from django.test import override_settings

    with override_settings(TOKEN_KEYS={KID: SECRET, "other": "o" * 40}, TOKEN_KEYS_FILE=""):
        yield


def _library_reads(token: str) -> dict[str, Any] | None:
    """What PyJWT takes the claims for; times are not its business."""
    unchecked = ("verify_exp", "verify_iat", "verify_nbf", "verify_aud", "verify_iss")
    options: Any = {"require": ["sub", "dev", "iat", "exp"], **dict.fromkeys(unchecked, False)}
    secrets = {KID: SECRET, "other": "o" * 40}
    try:
        secret = secrets[jwt.get_unverified_header(token)["kid"]]
        return dict(jwt.decode(token, secret, algorithms=["HS256"], options=options))
    except (jwt.PyJWTError, KeyError, ValueError, TypeError):
        return None


def _ours_reads(token: str) -> Any:
    try:
        return read_access(token)
    except TokenError:
        return None


def _issued() -> tuple[str, str, str]:
    user, device = str(uuid.uuid4()), str(uuid.uuid4())
    return issue_access(user_id=user, device_id=device, now=now_ms())[0], user, device


_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(["b64"])
)
_header = st.fixed_dictionaries(
    {},
    optional={
        "alg": st.sampled_from(["HS256", "HS384", "none", "RS256", "hs256"]),
        "kid": st.one_of(st.sampled_from([KID, "other", "third"]), _scalars),
        "typ": st.one_of(st.just("JWT"), _scalars),
        "crit": _scalars,
        "b64": st.booleans(),
    },
)
_id = st.one_of(
    st.uuids().map(str),
    st.uuids().map(lambda one: str(one).upper()),
    st.uuids().map(lambda one: one.hex),
    _scalars,
)
_date = st.one_of(st.just(2_000_000_000), st.just(2_000_000_000.5), _scalars)
_payload = st.fixed_dictionaries(
    {}, optional={"sub": _id, "dev": _id, "iat": _date, "exp": _date, "jti": _scalars}
)


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _signed(header: Any, payload: Any) -> str:
    signed = f"{_part(header)}.{_part(payload)}"
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        signed.encode(), SECRET.encode()
    )
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def test_what_was_given_out_is_read() -> None:
    token, user, device = _issued()
    access = read_access(token)
    claims = _library_reads(token)
    assert claims is not None
    assert (access.user_id, access.device_id) == (user, device) == (claims["sub"], claims["dev"])
    assert access.issued_at == round(claims["iat"] * 1000)
    assert access.expires_at == round(claims["exp"] * 1000)


# How long a busy machine takes to make examples says nothing.
@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
@given(_header, _payload)
def test_nothing_is_read_that_the_library_would_refuse(header: Any, payload: Any) -> None:
    token = _signed(header, payload)
    ours = _ours_reads(token)
    if ours is not None:
        claims = _library_reads(token)
        assert claims is not None
        assert (ours.user_id, ours.device_id) == (claims["sub"], claims["dev"])


@pytest.fixture(scope="module")
def issued(_key: None) -> str:
    return _issued()[0]


@given(st.data())
def test_no_other_text_is_the_same_token(issued: str, data: st.DataObject) -> None:
    token = issued
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="latin-1") | st.sampled_from("AQgw-_=.+/ \n"))
    changed = data.draw(
        st.sampled_from(
            [
                token[:at] + other + token[at + 1 :],
                token[:at] + other + token[at:],
                token[:at] + token[at + 1 :],
            ]
        )
    )
    assert changed == token or _ours_reads(changed) is None


@pytest.mark.parametrize(
    "seconds", [float("inf"), float("nan"), 2**50, 2**63, -1, True, "2000000000"], ids=repr
)
def test_a_date_that_is_no_date_ends_in_an_answer(seconds: Any) -> None:
    user = str(uuid.uuid4())
    token = _signed({"alg": "HS256", "kid": KID}, {"sub": user, "dev": user, "iat": 1, "exp": seconds})
    found = _ours_reads(token)
    assert (found is not None) == (seconds == 2**50)
