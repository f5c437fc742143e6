"""Renewing the tokens of a session so that a lost answer does not end it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from .errors import RestError, Unreachable
from .rest import Rest
from .session import Session, new_key

REFRESH_BEFORE_MS = 60_000


class Tokens:
    """A refresh token works once. Whoever repeats a refresh whose answer was lost must name it by the same key, also
    in another process: so the key of the next refresh is part of the session and is saved before it is used.
    """

    def __init__(self, session: Session, rest: Rest, on_session: Callable[[Session], None] | None) -> None:
        self._session = session
        self._rest = rest
        self._on_session = on_session
        self._renewing = asyncio.Lock()

    async def renew_if_old(self) -> None:
        """Before the access token ends; a failure is left to the server to mind (4401)."""
        left = self._session.expires_at - time.time_ns() // 1_000_000
        if self._session.expires_at and left < REFRESH_BEFORE_MS:
            with contextlib.suppress(RestError, Unreachable):
                await self.renew(self._session.token)

    async def renew(self, rejected: str) -> None:
        """New tokens, once for all who found ``rejected`` too old. Raises :class:`RestError`,
        :class:`Unreachable`."""
        async with self._renewing:
            if self._session.token != rejected:
                return
            if not self._session.refresh_key:
                self._session.refresh_key = new_key()
                self.save()
            await self._rest.refresh(self._session)
            self.save()

    def save(self) -> None:
        """Keep the session, if the application wants to."""
        if self._on_session is not None:
            self._on_session(self._session)
