"""From a phone number to a session. Development servers write their SMS into a file instead of sending
them."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import re
from collections.abc import Awaitable, Callable

from .errors import ClientError, Forbidden, RestError
from .rest import Rest
from .session import Session

SMS_TIMEOUT = 15.0


async def sign_up(
    rest: Rest,
    phone_number: str,
    read_code: Callable[[], Awaitable[str]],
    *,
    device_name: str,
    known: Session | None = None,
    read_pin: Callable[[bool], Awaitable[str]] | None = None,
    agree: Callable[[str], Awaitable[bool]] | None = None,
) -> Session:
    """Register ``phone_number`` and verify it with the code that ``read_code`` brings.

    ``read_pin``: asked for the PIN if the account has one; its argument says whether the one before was wrong. Without it,
    :class:`Forbidden` is raised then.
    ``agree``: asked whether the person agrees to the terms of this version, where there are some. Without it, or with a no,
    :class:`Forbidden` is raised.
    ``known``: an earlier session of this device, which is then verified again instead of adding a device.
    Raises
    :class:`RestError`, :class:`Unreachable`.
    """
    await rest.register(phone_number)
    code = await read_code()
    terms = pin = ""
    token = known.refresh_token if known is not None else ""
    while True:
        try:
            return await rest.verify(
                phone_number, code, device_name=device_name, refresh_token=token, pin=pin, terms_version=terms
            )
        except Forbidden as error:
            details = error.details if isinstance(error.details, dict) else {}
            wanted = str(details.get("termsRequired") or "")
            if wanted and wanted != terms and agree is not None and await agree(wanted):
                terms = wanted
            elif read_pin is not None and details.get("pinRequired"):
                pin = await read_pin(bool(details.get("pinWrong")))
            else:
                raise
        except RestError as error:
            if not token or error.status not in (400, 401, 404, 410):
                raise
            token = ""
            await rest.register(phone_number)  # that device is gone, and the code is used up: a new one
            code = await read_code()


class SmsFile:
    """The ``sms.jsonl`` of a development server: codes for one number, newer than this object."""

    def __init__(self, path: str | os.PathLike[str], phone_number: str) -> None:
        self._path = path = pathlib.Path(path)
        self._number = phone_number
        self._offset = path.stat().st_size if path.exists() else 0

    async def code(self) -> str:
        """Wait for the next code. Raises :class:`ClientError` when none comes."""
        try:
            async with asyncio.timeout(SMS_TIMEOUT):
                while True:
                    for code in self._read():
                        return code
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise ClientError(f"no code for {self._number} came to {self._path}") from None

    def _read(self) -> list[str]:
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]  # the last line may be half written
        self._offset += len(whole)
        messages = [json.loads(line) for line in whole.splitlines() if line.strip()]
        codes = [re.search(r"\b\d{6}\b", m["body"]) for m in messages if m["to"] == self._number]
        return [found.group() for found in codes if found]
