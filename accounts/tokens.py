"""Access tokens: JWT (RFC 7519), HS256, one hour, with nothing personal inside.

The key is named by ``kid``: the first of the keys (``accounts/keys.py``) signs, all of them verify, so keys are changed by
putting a new one in front and removing the old one an hour later. Reading a token asks no database; whether its device still
lives is asked from PostgreSQL by the caller (``sessions.identify``, ``rest.authentication``).
"""

from __future__ import annotations

import base64
import secrets
import uuid
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import jwt
from django.conf import settings

from accounts import keys
from whatsapp.infra.clock import now_ms

_ALGORITHM: Final = "HS256"
_MAX_LENGTH: Final = 2_048  # ours have about 330
# Times are checked here against the one clock, not by the library against the machine's.
_OPTIONS: Final[jwt.types.Options] = {
    "require": ["sub", "dev", "iat", "exp"],
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_aud": False,
    "verify_iss": False,
}


class TokenError(Exception):
    """The token is malformed, signed by an unknown key, or expired. The text is safe to show."""


@dataclass(frozen=True, slots=True)
class Access:
    """A verified access token. Times in ms since the epoch."""

    user_id: str
    device_id: str
    expires_at: int
    issued_at: int


def issue_access(*, user_id: str, device_id: str, now: int) -> tuple[str, int]:
    """A new token and when it expires (ms)."""
    expires_at = now + settings.ACCESS_TOKEN_MS
    kid, secret = keys.signing()
    claims = {
        "sub": user_id,
        "dev": device_id,
        "iat": now / 1000,  # NumericDate may have a fraction; ms tell two sessions of one device apart
        "exp": expires_at / 1000,
        "jti": secrets.token_urlsafe(12),
    }
    return jwt.encode(claims, secret, algorithm=_ALGORITHM, headers={"kid": kid}), expires_at


def _ms(date: Any) -> int:
    """A NumericDate (RFC 7519, section 2). Raises ``TypeError`` and ``ValueError``; text is none, though ``float`` reads it."""
    if type(date) not in (int, float):
        raise TypeError
    return round(date * 1000)


# Both are the same for all tokens of a key, and half of what reading one costs. Whether a key is still good is asked each time.


@lru_cache(maxsize=64)
def _kid(header: str) -> str | None:
    """The key that the first part of a token names, not verified yet. Raises what the library raises."""
    kid = jwt.get_unverified_header(f"{header}.e30.").get("kid")
    return kid if isinstance(kid, str) else None


@lru_cache(maxsize=16)
def _prepared(secret: str) -> jwt.PyJWK:
    """The secret, looked at once: whether it is long enough, and no public key by mistake."""
    encoded = base64.urlsafe_b64encode(secret.encode()).rstrip(b"=").decode()
    return jwt.PyJWK({"kty": "oct", "k": encoded, "alg": _ALGORITHM})


def read_access(token: str) -> Access:
    """Verify signature, form and expiry. Raises :class:`TokenError`; touches no database."""
    if len(token) > _MAX_LENGTH:
        raise TokenError("the token is not valid")  # before anything is computed over it
    try:
        kid = _kid(token.partition(".")[0])
        secret = keys.secret_of(kid) if kid is not None else None
        if secret is None:
            raise TokenError("the token's key is not known")
        claims = jwt.decode(token, _prepared(secret), algorithms=[_ALGORITHM], options=_OPTIONS)
        access = Access(
            user_id=str(uuid.UUID(claims["sub"])),
            device_id=str(uuid.UUID(claims["dev"])),
            expires_at=_ms(claims["exp"]),
            issued_at=_ms(claims["iat"]),
        )
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise TokenError("the token is not valid") from None
    if access.expires_at <= now_ms():
        raise TokenError("the token has expired")
    return access
