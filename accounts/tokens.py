"""Access tokens: JWT (RFC 7519) in the compact form of JWS (RFC 7515), HS256, one hour, with nothing personal inside.

The key is named by ``kid``: the first of the keys (``accounts/keys.py``) signs, all of them verify, so keys are changed by
putting a new one in front and removing the old one an hour later. Reading a token asks no database; whether its device still
lives is asked from PostgreSQL by the caller (``opening.ask``, ``rest.authentication``).

PyJWT makes them. Reading is ours: every connect of a herd reads one, and the library takes the secret for a possible public key,
and each character of the token in turn, every time; that was a quarter of what a connect cost its gateway (ADR 0125). What is
read here is what PyJWT would read, and less: ``tests/accounts/test_token_reading.py``.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final

import jwt
import msgspec
from django.conf import settings

from accounts import keys
from whatsapp.infra.clock import now_ms
from whatsapp.wire.frames import Id

_ALGORITHM: Final = "HS256"
_MAX_LENGTH: Final = 2_048  # ours have about 330
_COMPACT: Final = re.compile(r"([\w-]+\.[\w-]+)\.([\w-]+)", re.ASCII)


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


class _Header(msgspec.Struct):
    """``crit`` and ``b64`` would change how the rest is read (RFC 7515, section 4.1.11; RFC 7797): nobody of ours writes them."""

    alg: str
    kid: str
    crit: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    b64: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_SAFE: Final = msgspec.Meta(ge=0, le=2**53)
#: Seconds since the epoch (RFC 7519, section 2).
NumericDate = Annotated[int, _SAFE] | Annotated[float, _SAFE]


class _Claims(msgspec.Struct, gc=False):
    sub: Id
    dev: Id
    iat: NumericDate
    exp: NumericDate


_claims: Final = msgspec.json.Decoder(_Claims)


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@lru_cache(maxsize=64)
def _kid(header: str) -> str:
    """The key that the first part of a token names, not verified yet. The same for all tokens of a key; whether the key is still
    good is asked each time. Raises ``ValueError``."""
    found = msgspec.json.decode(_decoded(header), type=_Header)
    if found.alg != _ALGORITHM or found.crit is not msgspec.UNSET or found.b64 is not msgspec.UNSET:
        raise ValueError
    return found.kid


def read_access(token: str) -> Access:
    """Verify signature, form and expiry. Raises :class:`TokenError`; touches no database."""
    if len(token) > _MAX_LENGTH:
        raise TokenError("the token is not valid")  # before anything is computed over it
    compact = _COMPACT.fullmatch(token)
    if compact is None:
        raise TokenError("the token is not valid")
    signed, signature = compact.groups()
    header, _, payload = signed.partition(".")
    try:
        secret = keys.secret_of(_kid(header))
        if secret is None:
            raise TokenError("the token's key is not known")
        mac = hmac.digest(secret.encode(), signed.encode(), "sha256")
        # As text: of one signature there are several texts that decode to the same bytes, and this is the one that was given out.
        if not hmac.compare_digest(base64.urlsafe_b64encode(mac).rstrip(b"="), signature.encode()):
            raise TokenError("the token is not valid")
        claims = _claims.decode(_decoded(payload))
        access = Access(claims.sub, claims.dev, round(claims.exp * 1000), round(claims.iat * 1000))
    except (ValueError, OverflowError, RecursionError):
        raise TokenError("the token is not valid") from None
    if access.expires_at <= now_ms():
        raise TokenError("the token has expired")
    return access
