"""The provider token of APNs: a JWT (RFC 7519) that says which developer team sends, signed by ES256 with the team's key.

Apple, "Establishing a token-based connection to APNs": it is refused when it is older than an hour, and so are new ones that
come more often than every 20 minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_RENEWED_AFTER_MS: Final = 40 * 60_000
#: A token this young that is refused for its age shows that a clock is wrong: the next one would be refused as well.
_YOUNG_MS: Final = 60_000


class ProviderToken:
    """One for all pushes of an app, made anew in time."""

    def __init__(self, key: str, key_id: str, team_id: str, now_ms: Callable[[], int]) -> None:
        """``key``: the text of the ``.p8`` file. Raises ``ValueError``: it is no private key on P-256."""
        private = load_pem_private_key(key.encode(), password=None)
        if not isinstance(private, EllipticCurvePrivateKey) or not isinstance(private.curve, SECP256R1):
            raise ValueError("not a private key on P-256")
        self._key, self._key_id, self._team_id, self._now_ms = private, key_id, team_id, now_ms
        self._token = ""
        self._made_ms = 0

    def current(self) -> str:
        if not self._token or not 0 <= self._now_ms() - self._made_ms < _RENEWED_AFTER_MS:
            self._make()
        return self._token

    def renew(self, refused: str) -> bool:
        """After ``refused`` was too old for APNs: whether there is another one now. Of all pushes that were refused together,
        the first makes it."""
        if refused == self._token:
            if 0 <= self._now_ms() - self._made_ms < _YOUNG_MS:
                return False
            self._make()
        return True

    def _make(self) -> None:
        self._made_ms = self._now_ms()
        claims = {"iss": self._team_id, "iat": self._made_ms // 1_000}
        self._token = jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": self._key_id})
