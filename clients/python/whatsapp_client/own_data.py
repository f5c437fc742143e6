"""What the server holds of this user: what was agreed to, and an archive of everything."""

from __future__ import annotations

import asyncio
import hashlib
import os
import pathlib
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import ClientError, RestError
from .fetching import Download, Part, checked_address
from .rest import Rest
from .retry import Backoff
from .signals import Signals
from .transfers import Progress

ASK_EVERY = 5.0  # s at most between two questions how far it is


@dataclass(frozen=True, slots=True)
class Consent:
    """A yes. ``withdrawn_at``: when it was taken back, ms; None: it holds."""

    document: str
    version: str
    given_at: int
    withdrawn_at: int | None = None


@dataclass(frozen=True, slots=True)
class Consents:
    """``documents``: what can be agreed to here. ``terms_version``: that of now, "" for none. ``given``: the newest first."""

    documents: tuple[str, ...]
    terms_version: str
    given: tuple[Consent, ...]

    def holds(self, document: str) -> bool:
        return any(one.document == document and one.withdrawn_at is None for one in self.given)


class OwnData(Signals):
    """The part of a :class:`Client` that asks for what is held of its user. Raises :class:`RestError`, :class:`Unreachable`."""

    async def consents(self) -> Consents:
        return _consents(await self._read("/me/consents"))

    async def agree(self, document: str, version: str) -> Consents:
        """Raises :class:`Forbidden` (``details``: ``termsRequired``) for terms that are not those of now."""
        body = {"document": document, "given": "yes", "version": version}
        return _consents(await self._do("POST", "/me/consents", body))

    async def withdraw_consent(self, document: str) -> Consents:
        """Raises :class:`Forbidden` (``details``: ``deleteAccount``) for the terms."""
        return _consents(await self._do("POST", "/me/consents", {"document": document, "given": "no"}))

    async def export(
        self,
        to: str | os.PathLike[str],
        *,
        waiting: Callable[[], None] | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Ask for an archive of everything that is held of this user, wait until it is made, and fetch it into the file ``to``,
        which is written as a whole or not at all; its size. One a day is made: asked again, it is the same one. ``waiting`` is
        called each time that it is not there yet. What came before a cut is not fetched again. Raises besides
        :class:`ClientError` (it was given up), OSError."""
        export_id = str((await self._do("POST", "/me/export"))["exportId"])
        backoff = Backoff(first=0.2, ceiling=ASK_EVERY)
        while (said := await self._read(f"/me/export/{export_id}"))["state"] != "ready":
            if said["state"] != "waiting":
                raise ClientError("the archive could not be made; ask again later")
            if waiting is not None:
                waiting()
            await asyncio.sleep(backoff.next())
        target = pathlib.Path(to)
        mark = hashlib.sha256(export_id.encode()).hexdigest()[:16]
        part = Part(target.with_name(f".{target.name[:80]}.{mark}.part"))
        size = await _Archive(
            self.rest,
            f"/me/export/{export_id}",
            part,
            Backoff(),
            int(said["size"]),
            progress,
            most=int(said["size"]),
        ).run(asyncio.Semaphore(1))
        await asyncio.to_thread(part.keep_as, target)
        return size


class _Archive(Download):
    """The address is in the answer, and new with each question."""

    def __init__(
        self,
        rest: Rest,
        path: str,
        part: Part,
        backoff: Backoff,
        size: int,
        progress: Progress | None,
        most: int,
    ) -> None:
        super().__init__(rest, path, part, backoff, size, progress, most, limit=None)

    async def _where(self) -> str:
        said: Any = await self._rest.call("GET", self._content)
        if not said.get("url"):
            raise RestError(410, "gone", "The archive is gone.")
        return checked_address(self._rest.url, urllib.parse.urljoin(self._rest.url + "/", str(said["url"])))


def _consents(item: Any) -> Consents:
    given = tuple(
        Consent(
            str(one["document"]),
            str(one["version"]),
            int(one["givenAt"]),
            None if one.get("withdrawnAt") is None else int(one["withdrawnAt"]),
        )
        for one in item.get("items") or ()
    )
    documents = tuple(str(name) for name in item.get("documents") or ())
    return Consents(documents, str(item.get("termsVersion") or ""), given)
