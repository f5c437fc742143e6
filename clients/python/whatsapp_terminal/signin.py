"""From a number to a session, in two steps that a screen can show. Development reads the code by itself."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from whatsapp_client import ClientError, Rest, Session, SmsFile, link

AGAIN = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds, after no answer


class Registrar(Protocol):
    """What the sign-in screen needs."""

    async def request(self, number: str) -> dict[str, Any]: ...
    async def code(self, number: str) -> str: ...
    async def verify(self, number: str, code: str, *, pin: str = "", terms: str = "") -> Session:
        """``terms``: the version of those that the person has agreed to."""
        ...

    def link(self) -> AbstractAsyncContextManager[Offer]:
        """A code for another device to read."""
        ...

    async def keep(self, session: Session) -> None:
        """Save a session that came by a code, with the number it belongs to. Raises :class:`ClientError`."""
        ...


class Offer(Protocol):
    """What is shown until it is approved."""

    @property
    def qr(self) -> str: ...
    async def wait(self) -> Session: ...


class ServerRegistrar:
    """Registers at a server. ``sms``: the ``sms.jsonl`` of a development system, or None.

    ``sessions``: folder of the saved sessions; a known device is verified again instead of adding one.
    """

    def __init__(
        self,
        url: str,
        sessions: pathlib.Path,
        *,
        sms: pathlib.Path | None = None,
        device_name: str = "terminal",
    ) -> None:
        self._rest = Rest(url)
        self._sessions = sessions
        self._sms = sms
        self._device_name = device_name
        self._files: dict[str, SmsFile] = {}

    async def request(self, number: str) -> dict[str, Any]:
        """Ask for a code. Raises :class:`ClientError`."""
        if self._sms is not None:
            with contextlib.suppress(OSError):
                self._files[number] = SmsFile(self._sms, number)  # from here on: not an older code
        return await self._rest.register(number)

    def link(self) -> AbstractAsyncContextManager[Offer]:
        """A code for another device to read. Raises :class:`ClientError` when it is asked for, and in ``wait``."""
        return link.request(self._rest.url, self._device_name)

    async def keep(self, session: Session) -> None:
        """Save a session that came by a code. It is given once: where the number could not be read, it is asked for until
        there is an answer."""
        self._rest.token = session.token
        for pause in (*AGAIN, None):
            if is_number(session.phone_number):
                session.save(session_path(self._sessions, session.phone_number))
                return
            try:
                session.phone_number = str((await self._rest.me())["phoneNumber"])
            except ClientError:
                if pause is None:
                    raise
                await asyncio.sleep(pause)

    async def code(self, number: str) -> str:
        """The code from the development file; empty where there is none."""
        file = self._files.get(number)
        if file is None:
            return ""
        try:
            return await file.code()
        except ClientError:
            return ""

    async def verify(self, number: str, code: str, *, pin: str = "", terms: str = "") -> Session:
        """Trade the code for a session and save it. Raises :class:`ClientError`."""
        path = session_path(self._sessions, number)
        known = Session.load(path)
        session = await self._rest.verify(
            number,
            code,
            device_name=self._device_name,
            refresh_token=known.refresh_token if known is not None else "",
            pin=pin,
            terms_version=terms,
        )
        session.save(path)
        return session


def session_path(sessions: pathlib.Path, number: str) -> pathlib.Path:
    """Where the session of a number is kept; the number must be one (:func:`is_number`)."""
    return sessions / f"{number}.json"


def is_number(number: str) -> bool:
    """Whether it looks like ``+`` and digits; the server knows more. Also keeps it from being a path."""
    return number.startswith("+") and number[1:].isascii() and number[1:].isdigit() and 4 <= len(number) <= 20
