"""Access tokens of a Google service account: OAuth 2.0 by a signed assertion (RFC 7523; Google's "Using OAuth 2.0 for server to
server applications").

google-auth reads the key and signs. Its own way to the token endpoint blocks a thread; a POST on a connection of ours does not.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import google.auth.exceptions
import google.auth.jwt
from google.auth.crypt import RSASigner

from notifications.senders.address import Address
from notifications.senders.http2 import Client, Lost, Times, Unsent
from notifications.senders.interface import Outcome, Result
from notifications.senders.retry_after import retry_after_ms
from whatsapp.infra import clock

_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_S: Final = 3_600  # the longest that Google takes
#: Of a token's life: from then on a new one is fetched while this one is still used, and from then on it is not used any more.
_RENEW: Final = 0.5
_END: Final = 0.9
#: Who is refused, or finds nobody there, does not ask again for each notification.
_REST_MS: Final = 5_000
#: What the endpoint may say (RFC 6749, 5.2; RFC 7523, 3.1), as labels of a metric.
_REASONS: Final = frozenset(
    {"invalid_grant", "invalid_client", "invalid_request", "invalid_scope", "unauthorized_client"}
    | {"unsupported_grant_type"}
)


class ServiceAccount(NamedTuple):
    """From the JSON file that the console of Google gives out."""

    project: str
    email: str
    token_uri: str
    signer: RSASigner

    @classmethod
    def read(cls, text: str) -> ServiceAccount:
        """Raises ``ValueError``, which never shows the key."""
        try:
            info = json.loads(text)
        except ValueError:
            raise ValueError("The credentials are not JSON.") from None
        if not isinstance(info, dict) or info.get("type") != "service_account":
            raise ValueError(
                'The credentials are not those of a service account ("type": "service_account").'
            )
        for name in ("project_id", "client_email", "token_uri", "private_key", "private_key_id"):
            if not isinstance(info.get(name), str) or not info[name]:
                raise ValueError(f"The credentials have no {name}.")
        try:
            Address(info["token_uri"])
        except ValueError as error:
            raise ValueError(f"The token_uri of the credentials: {error}") from None
        try:
            signer = RSASigner.from_service_account_info(info)
        except (ValueError, google.auth.exceptions.GoogleAuthError):
            raise ValueError("The private_key of the credentials cannot be read.") from None
        return cls(info["project_id"], info["client_email"], info["token_uri"], signer)

    @classmethod
    def from_file(cls, path: str) -> ServiceAccount:
        """Raises ``ValueError``."""
        try:
            return cls.read(Path(path).read_text())
        except OSError as error:
            raise ValueError(f"The file of the credentials cannot be read: {error.strerror}.") from None

    def assertion(self, scope: str) -> str:
        """A JWT, RS256, to be exchanged within an hour."""
        now = clock.now_ms() // 1_000
        claims = {
            "iss": self.email,
            "scope": scope,
            "aud": self.token_uri,
            "iat": now,
            "exp": now + _ASSERTION_S,
        }
        return google.auth.jwt.encode(self.signer, claims).decode()


class _Token(NamedTuple):
    value: str
    renew_at: float  # seconds of ``now``
    ends_at: float


class AccessTokens:
    """The token of one scope. Whoever needs one while it is fetched waits for the same answer."""

    def __init__(
        self,
        account: ServiceAccount,
        scope: str,
        tls: ssl.SSLContext,
        times: Times,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._account = account
        self._scope = scope
        self._address = address = Address(account.token_uri)
        self._client = Client(address.host, address.port, tls, times)
        self._now = now
        self._token: _Token | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._failure: Result | None = None
        self._rest_until = 0.0

    async def get(self) -> str | Result:
        """A token, or why there is none: ``LATER`` or ``MISCONFIGURED``, of the whole app."""
        now = self._now()
        token = self._token
        if token is not None and now < token.ends_at:
            if now >= token.renew_at and now >= self._rest_until:
                self._fetch()
            return token.value
        if self._failure is not None and now < self._rest_until:
            return self._failure
        # Shielded: who gives up leaves the others their answer.
        await asyncio.shield(self._fetch())
        if self._token is not None and self._now() < self._token.ends_at:
            return self._token.value
        return self._failure or _later("token_expired", 0)

    def rejected(self, value: str) -> None:
        """The token was not accepted: it is not used again, unless another one is there already."""
        if self._token is not None and self._token.value == value:
            self._token = None

    async def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        await self._client.close()

    def _fetch(self) -> asyncio.Task[None]:
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.get_running_loop().create_task(self._exchange())
        return self._fetching

    async def _exchange(self) -> None:
        asked_at = self._now()
        got = await self._ask()
        if isinstance(got, Result):
            self._failure = got
            self._rest_until = self._now() + (got.retry_after_ms or _REST_MS) / 1_000
            return
        value, life_s = got
        self._token = _Token(value, asked_at + life_s * _RENEW, asked_at + life_s * _END)
        self._failure, self._rest_until = None, 0.0

    async def _ask(self) -> tuple[str, float] | Result:
        form = {"grant_type": _GRANT, "assertion": self._account.assertion(self._scope)}
        headers = self._address.post({"content-type": "application/x-www-form-urlencoded"})
        try:
            answer = await self._client.post(headers, urlencode(form).encode())
        except (Unsent, Lost):
            return _later("token_unreachable", 0)
        body = _object(answer.body)
        if answer.status == 200:
            value, life_s = body.get("access_token"), body.get("expires_in")
            if isinstance(value, str) and value and isinstance(life_s, int) and life_s > 0:
                return value, float(life_s)
            return _later("token_unreadable", 200)
        asked = retry_after_ms(answer.headers.get("retry-after"), clock.now_ms())
        if answer.status >= 500 or answer.status in (408, 429):
            return _later("token_unavailable", answer.status, asked)
        error = body.get("error")
        reason = error if isinstance(error, str) and error in _REASONS else "token_refused"
        return Result(Outcome.MISCONFIGURED, reason, answer.status, of_app=True)


def _later(reason: str, status: int, asked_ms: int | None = None) -> Result:
    return Result(Outcome.LATER, reason, status, asked_ms, of_app=True)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
