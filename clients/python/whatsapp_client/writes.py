"""Writes over REST whose answer may be lost.

A POST that makes something has a name (``X-Idempotency-Key``), which the server knows for 24 hours. The name is in the file
before the request goes out and stays until there is an answer. So the same call again, also of another process, is the
repetition of the first and not a second one.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from typing import Any

from .database import Database
from .errors import RestError, Unreachable
from .rest import Rest
from .session import new_key

KEPT_MS = 23 * 3_600_000  # less than the server's 24 h
#: A lost answer is asked for again by itself, after these seconds each, unless that would take longer than PATIENCE.
AGAIN = (0.3, 1.0)
PATIENCE = 10.0


class Writes:
    def __init__(self, rest: Rest, database: Database) -> None:
        self._rest = rest
        self._database = database
        self._running: set[str] = set()

    async def post(self, path: str, body: Any) -> Any:
        """A POST that is done once. Raises :class:`RestError`; :class:`Unreachable` when there is no answer: then it may have
        been done, and the same call again finds out."""
        name = self._name(path, body)
        if name in self._running:  # two at once are meant to be two
            return await repeated(lambda key=new_key(): self._rest.call("POST", path, body, key=key))  # type: ignore[misc]
        self._running.add(name)
        try:
            key = self._key(name)
            answer = await repeated(lambda: self._rest.call("POST", path, body, key=key))
        except RestError as error:
            if error.status < 500 and error.status != 429:
                self._forget(name)  # refused: nothing was done, and the next call is another one
            raise
        finally:
            self._running.discard(name)
        self._forget(name)
        return answer

    def _name(self, path: str, body: Any) -> str:
        return hashlib.sha256(json.dumps([path, body], sort_keys=True).encode()).hexdigest()

    def _key(self, name: str) -> str:
        now = time.time_ns() // 1_000_000
        self._database.write("DELETE FROM writes WHERE at < ? OR at > ?", (now - KEPT_MS, now + KEPT_MS))
        row = self._database.read("SELECT key FROM writes WHERE name = ?", (name,)).fetchone()
        key = str(row[0]) if row else new_key()
        if not row:
            self._database.write("INSERT INTO writes VALUES (?, ?, ?)", (name, key, now))
        self._database.commit()  # before the server hears of it
        return key

    def _forget(self, name: str) -> None:
        self._database.write("DELETE FROM writes WHERE name = ?", (name,))


async def repeated(call: Any) -> Any:
    """``call()``, and again when its answer was lost; for what may be repeated."""
    began = time.monotonic()
    for pause in AGAIN:
        try:
            return await call()
        except Unreachable:
            if time.monotonic() - began + pause > PATIENCE:
                raise
        await asyncio.sleep(pause)
    return await call()
