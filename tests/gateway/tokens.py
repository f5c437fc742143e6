"""Access tokens as the server would have signed them, with other times or other secrets."""

from __future__ import annotations

import time
from typing import Any

import jwt

from tests.gateway.phone import Phone


def token(phone: Phone, *, lives_ms: int = 60_000, secret: str = "", **claims: Any) -> str:
    """A token of this device that expires ``lives_ms`` from now (negative: has expired)."""
    keys = phone.system.env["TOKEN_KEYS"]  # type: ignore[attr-defined]
    kid, _, known = keys.split(",")[0].partition(":")
    now = time.time()
    usual = {"sub": phone.user, "dev": phone.device, "iat": now, "exp": now + lives_ms / 1000, "jti": "test"}
    return jwt.encode({**usual, **claims}, secret or known, algorithm="HS256", headers={"kid": kid})
