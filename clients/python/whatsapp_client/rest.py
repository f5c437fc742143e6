"""The REST side: accounts, contacts, conversations. Standard library only; each call runs in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from typing import IO, Any, TypeVar

from . import proof
from .errors import REST_ERRORS, Forbidden, RestError, Unreachable
from .session import Session, new_key

PROOFS = 2  # of work that are done for one code: the first may come too late
MAX_PROBLEM = 65_536  # bytes of a refusal that are looked at
T = TypeVar("T")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def is_loopback(url: str) -> bool:
    """Whether ``url`` names this machine; then no proxy is asked."""
    return urllib.parse.urlsplit(url).hostname in _LOOPBACK


class Rest:
    """Calls of one server. ``token``: access token of the calls that need one; the client renews it.

    ``renew``: called with a token that was refused, before the one repetition with the new :attr:`token`.
    Every method raises :class:`RestError` for an answer that says no and :class:`Unreachable` for none at
    all.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        renew: Callable[[str], Awaitable[None]] | None = None,
        timeout: float = 15.0,
    ) -> None:
        self.url = url.rstrip("/")
        self.token = token
        self.renew = renew
        self._timeout = timeout
        self._opener = opener_of(url)

    # -- registration --------------------------------------------------------------------------------------
    async def register(self, phone_number: str, *, challenge_answer: str = "") -> dict[str, Any]:
        """Ask for a code by SMS. ``{expiresAt, retryAfter}``. A proof of work that the server asks for is done here, in a thread.
        :class:`CaptchaRequired`: once more, with the token of a CAPTCHA as ``challenge_answer``."""
        body = {"phoneNumber": phone_number}
        for _ in range(PROOFS):
            if challenge_answer:
                body["challengeAnswer"] = challenge_answer
            try:
                return await self.call("POST", "/auth/register", body, authenticated=False)
            except Forbidden as error:
                challenge_answer = await proof.answer(error)
        body["challengeAnswer"] = challenge_answer
        return await self.call("POST", "/auth/register", body, authenticated=False)

    async def verify(
        self,
        phone_number: str,
        code: str,
        *,
        device_name: str,
        refresh_token: str = "",
        pin: str = "",
        start_anew: bool = False,
        terms_version: str = "",
    ) -> Session:
        """Trade the code for a session. With ``refresh_token`` a known device is verified again instead of
        adding one. :class:`Forbidden` with ``details["pinRequired"]``: the same code again, with the ``pin`` of the
        account; or ``start_anew``, with a new account, if the old one was not used for seven days. With
        ``details["termsRequired"]``: the same code again, with ``terms_version``, once the person has agreed to it."""
        body: dict[str, Any] = {"phoneNumber": phone_number, "code": code, "deviceName": device_name}
        if refresh_token:
            body["refreshToken"] = refresh_token
        if pin:
            body["pin"] = pin
        if start_anew:
            body["startAnew"] = True
        if terms_version:
            body["termsVersion"] = terms_version
        answer = await self.call("POST", "/auth/verify", body, authenticated=False)
        self.token = answer["token"]
        return Session(
            phone_number,
            answer["userId"],
            answer["deviceId"],
            answer["token"],
            answer["refreshToken"],
            int(answer.get("expiresAt") or 0),
            new_key(),
        )

    async def refresh(self, session: Session) -> None:
        """Renew ``session``'s tokens in place. After :class:`Unreachable` it may be repeated with the same session:
        the server knows the repetition by ``refresh_key``."""
        session.refresh_key = session.refresh_key or new_key()
        answer = await self.call(
            "POST",
            "/auth/refresh",
            {"refreshToken": session.refresh_token},
            authenticated=False,
            key=session.refresh_key,
        )
        session.token = self.token = answer["token"]
        session.refresh_token = answer.get("refreshToken") or session.refresh_token
        session.expires_at = int(answer.get("expiresAt") or 0)
        session.refresh_key = new_key()

    # -- people and devices --------------------------------------------------------------------------------
    async def me(self) -> dict[str, Any]:
        return await self.call("GET", "/me")

    async def devices(self) -> list[dict[str, Any]]:
        return await self.items("/devices")

    async def remove_device(self, device_id: str) -> None:
        await self.call("DELETE", f"/devices/{device_id}")

    async def add_contact(self, phone_number: str, nickname: str = "") -> dict[str, Any]:
        """The user behind a number: ``{userId, …}``. RestError ``not_found`` while the number is not
        registered."""
        body = {"phoneNumber": phone_number} | ({"nickname": nickname} if nickname else {})
        return await self.call("POST", "/contacts", body)

    async def user(self, user_id: str) -> dict[str, Any]:
        """What anybody with the id may see: ``{userId, name, about}``."""
        return await self.call("GET", f"/users/{user_id}")

    async def contacts(self) -> list[dict[str, Any]]:
        return await self.items("/contacts")

    # -- conversations -------------------------------------------------------------------------------------
    async def direct(self, user_id: str) -> str:
        """The id of the conversation with one user; made on first use."""
        return str((await self.call("PUT", f"/conversations/direct/{user_id}", {}))["conversationId"])

    async def conversations(self) -> list[dict[str, Any]]:
        return await self.items("/conversations")

    async def events(
        self, conversation_id: str, *, after: int | None = None, before: int | None = None, limit: int = 100
    ) -> list[dict[str, Any]]:
        """One page of a conversation's log, ascending."""
        query = {k: v for k, v in {"after": after, "before": before, "limit": limit}.items() if v is not None}
        answer = await self.call(
            "GET", f"/conversations/{conversation_id}/events?{urllib.parse.urlencode(query)}"
        )
        return list(answer["items"])

    # -- one call ------------------------------------------------------------------------------------------
    async def items(self, path: str) -> list[dict[str, Any]]:
        """All items of a list, page by page."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            query = f"?{urllib.parse.urlencode({'after': cursor})}" if cursor else ""
            answer = await self.call("GET", path + query)
            items += answer["items"]
            cursor = answer.get("next")
            if not cursor:
                return items

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        authenticated: bool = True,
        key: str = "",
        media_type: str = "",
        secret: str = "",
    ) -> Any:
        """One request; the decoded JSON answer, ``{}`` for an empty one, bytes for anything else. ``key``: names a POST over
        its repetitions; each has one. ``media_type``: of a ``body`` of bytes; others are sent as JSON.
        ``secret``: of a code that links devices."""
        headers = {"Accept": "application/json, */*;q=0.5"}
        data = None
        if body is not None:
            headers["Content-Type"] = media_type or "application/json"
            data = body if media_type else json.dumps(body).encode()
        if secret:
            headers["X-Link-Secret"] = secret
        if method == "POST":
            headers["X-Idempotency-Key"] = key or new_key()
        return await self._authorized(method, path, data, headers, authenticated, self._perform)

    async def exchange(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: IO[bytes] | None = None,
        *,
        timeout: float = 0,
    ) -> http.client.HTTPMessage:
        """One request of a transfer: the headers of its answer, also of one that leads elsewhere. ``body`` is read while it is
        sent; ``Content-Length`` says how much it is."""

        def perform(request: urllib.request.Request) -> http.client.HTTPMessage:
            with opened(self._opener, request, timeout or self._timeout) as response:
                return response.headers

        return await self._authorized(method, path, body, headers, True, perform)

    async def _authorized(
        self, method: str, path: str, data: Any, headers: dict[str, str], authenticated: bool,
        perform: Callable[[urllib.request.Request], T],
    ) -> T:  # fmt: skip
        """In a thread; once more with a new token if the first is refused. What is read while it is sent goes once."""
        token = self.token
        try:
            return await self._request(method, path, data, headers, token if authenticated else "", perform)
        except RestError as error:
            if error.status != 401 or not authenticated or self.renew is None:
                raise
            await self.renew(token)
            if data is not None and not isinstance(data, bytes):
                raise Unreachable("the access token had ended") from None
            return await self._request(method, path, data, headers, self.token, perform)

    async def _request(
        self, method: str, path: str, data: Any, headers: dict[str, str], token: str,
        perform: Callable[[urllib.request.Request], T],
    ) -> T:  # fmt: skip
        if token:
            headers = {**headers, "Authorization": f"Bearer {token}"}
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        return await asyncio.to_thread(perform, request)

    def _perform(self, request: urllib.request.Request) -> Any:
        with opened(self._opener, request, self._timeout, follow=False) as response:
            raw, kind = response.read(), response.headers.get_content_type()
        if raw and kind != "application/json":
            return raw
        return json.loads(raw) if raw else {}


def opener_of(url: str) -> urllib.request.OpenerDirector:
    """What asks this server. It goes nowhere else by itself."""
    handlers: list[Any] = [_NoRedirect()]
    if is_loopback(url):
        handlers.append(urllib.request.ProxyHandler({}))
    if url.startswith("https"):
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context()))
    return urllib.request.build_opener(*handlers)


@contextlib.contextmanager
def opened(
    opener: urllib.request.OpenerDirector, request: urllib.request.Request, timeout: float, *, follow: bool = True
) -> Iterator[Any]:  # fmt: skip
    """The answer, to be read in the block. ``follow``: one that leads elsewhere is an answer, too. Raises :class:`RestError`,
    and :class:`Unreachable` also for what ends in the block."""
    try:
        with opener.open(request, timeout=timeout) as response:
            yield response
    except urllib.error.HTTPError as error:
        with error:
            if not follow or error.code != 302:
                found = _problem(error.code, error.headers.get("Retry-After"), error.read(MAX_PROBLEM))
                found.url = request.full_url
                raise found from None
            yield error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        where = urllib.parse.urlsplit(request.full_url).netloc
        raise Unreachable(f"{where} does not answer: {getattr(error, 'reason', None) or error}") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could carry the token elsewhere: it is an answer, not followed."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _problem(status: int, retry_after: str | None, raw: bytes) -> RestError:
    try:
        body = json.loads(raw)
    except ValueError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    code = (
        str(body.get("type") or body.get("code") or f"http_{status}")
        .rstrip("/")
        .rsplit("/", 1)[-1]
        .rsplit(":", 1)[-1]
    )
    seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
    message = str(body.get("detail") or body.get("title") or "")
    return REST_ERRORS.get(code, RestError)(
        status, code, message, retry_after=seconds, details=body.get("details")
    )
