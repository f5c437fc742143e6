"""What becomes of an upload at the server: asked for, and told by its notices while there is a connection."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .errors import MediaRefused, RestError, Unreachable
from .rest import Rest
from .retry import Backoff
from .transfers import passes

LOOK, SELDOM = 0.2, 2.0  # s between two looks at a file that is worked on: the first, the last
TOLD = 10.0  # the last, while the server tells by itself


@dataclass(frozen=True, slots=True)
class MediaState:
    """What became of an upload. ``state``: ``uploading``, ``stored``, ``processing`` (with ``percent``), ``ready`` or ``refused``
    (with ``reason``); ``expires_at`` (ms): when it is deleted unless somebody is sent it."""

    media_id: str
    state: str
    percent: int
    reason: str
    media_type: str
    size: int
    thumbnail: bool
    expires_at: int


class States:
    """The part of :class:`Media` that waits for the server. ``online``: whether its notices come."""

    def __init__(self, rest: Rest, backoff: Callable[[], Backoff], online: Callable[[], bool]) -> None:
        self._rest, self._backoff, self._online = rest, backoff, online
        self._news: dict[str, asyncio.Event] = {}  # by the id of what somebody waits for

    async def status(self, media_id: str) -> MediaState:
        """Of an own upload. Raises :class:`NotFound`, :class:`Gone`, other :class:`RestError`, :class:`Unreachable`."""
        found = await self._rest.call("GET", f"/media/{uuid.UUID(media_id)}")
        return MediaState(
            media_id, str(found["state"]), int(found["percent"]), str(found.get("reason") or ""), str(found["mediaType"]),
            int(found["size"]), bool(found.get("thumbnailUrl")), int(found["expiresAt"]),
        )  # fmt: skip

    async def ready(self, media_id: str, progress: Callable[[int], None] | None = None) -> MediaState:
        """Wait until the server has looked into a file and made of it what is shown. ``progress(percent)``, ascending. Raises
        :class:`MediaRefused`, :class:`RestError`."""
        with self._waiting(media_id) as news:
            return await self._ready(media_id, progress, news)

    def told(self, data: dict[str, Any]) -> None:
        """A notice ``media`` of the server's: who waits for that file looks at once."""
        news = self._news.get(str(data.get("mediaId")))
        if news is not None:
            news.set()

    @contextlib.contextmanager
    def _waiting(self, media_id: str) -> Iterator[asyncio.Event]:
        news = self._news.setdefault(media_id, asyncio.Event())
        try:
            yield news
        finally:
            self._news.pop(media_id, None)

    async def _ready(
        self, media_id: str, progress: Callable[[int], None] | None, news: asyncio.Event
    ) -> MediaState:
        backoff, pause, best = self._backoff(), LOOK, -1
        while True:
            wait = pause
            news.clear()
            try:
                state = await self.status(media_id)
                backoff.reset()
                if state.state == "refused":
                    raise MediaRefused(state.reason)
                percent = 100 if state.state == "ready" else min(99, state.percent)
                if progress is not None and percent > best:
                    best = percent
                    progress(percent)
                if state.state == "ready":
                    return state
                pause = min(TOLD if self._online() else SELDOM, 1.5 * pause)
            except Unreachable:
                wait = backoff.next()
            except RestError as error:
                if not passes(error):
                    raise
                wait = backoff.next(at_least=error.retry_after or 0.0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await news.wait()
