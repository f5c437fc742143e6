"""How each app's provider has been, for staff: what worker processes say of themselves on the hot node, for a day.

A hint like everything there: lost with the node, and said anew within seconds by whoever sends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import hiredis
from django.conf import settings

from notifications.lane import Lane
from whatsapp.infra import clock, hot_sync
from whatsapp.infra.breaker import CLOSED, HALF_OPEN, OPEN
from whatsapp.infra.hot import Hot
from whatsapp.infra.valkey import HotUnavailable

log = logging.getLogger(__name__)

_KEY: Final = "push:health"
REPORT_S: Final = 5.0
_KEPT_MS: Final = 86_400_000
#: Circuits of a process that has not said anything for so long may have changed.
_FRESH_MS: Final = 600_000
_STATES: Final = {CLOSED: "closed", HALF_OPEN: "half_open", OPEN: "open"}


class AppHealth(NamedTuple):
    """Of one app, from all processes that sent something within a day. Times are milliseconds since the epoch."""

    app: str
    provider: str
    state: str  # the worst circuit: closed, half_open, open; unknown: nothing was sent for ten minutes
    success_at: int | None
    error_at: int | None
    error: str  # the reason of the last answer that was not an acceptance
    accepted: int  # since the processes began
    failed: int
    processes: int


class Reporter:
    """Writes down how the apps of this process are, at most every :data:`REPORT_S`. For one event loop."""

    def __init__(self, hot: Hot, lanes: Mapping[str, Lane]) -> None:
        self._hot, self._lanes = hot, lanes
        self._process = f"{socket.gethostname()}-{os.getpid()}"
        self._task: asyncio.Task[None] | None = None
        self._tidied = False

    def due(self) -> None:
        """Something was sent. Nobody waits for what this does."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._later())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _later(self) -> None:
        try:
            await asyncio.sleep(REPORT_S)
            await self.report()
        except (HotUnavailable, hiredis.ReplyError, OSError) as error:
            log.info("how push apps are could not be told: %s", type(error).__name__)
        finally:
            self._task = None

    async def report(self) -> None:
        """Raises ``HotUnavailable``."""
        now = clock.now_ms()
        if not self._tidied:
            await self._tidy(now)
            self._tidied = True
        rows: list[str] = []
        for name, lane in self._lanes.items():
            rows += f"{name} {self._process}", json.dumps(_row(lane, now))
        if rows:
            await self._hot.run([("HSET", _KEY, *rows), ("PEXPIRE", _KEY, _KEPT_MS)])

    async def _tidy(self, now: int) -> None:
        """Remove what processes left that ended long ago."""
        (flat,) = await self._hot.run([("HGETALL", _KEY)])
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        old = [name for name, text in pairs if _read(text).get("at", 0) < now - _KEPT_MS]
        if old:
            await self._hot.run([("HDEL", _KEY, *old)])


def _row(lane: Lane, now: int) -> dict[str, Any]:
    return {
        "at": now,
        "state": lane.state,
        "success_at": lane.success_at,
        "error_at": lane.error_at,
        "error": lane.error,
        "accepted": lane.accepted,
        "failed": lane.failed,
    }


def _read(text: bytes | str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def health() -> list[AppHealth]:
    """Of every app in ``settings.PUSH_APPS``. For pages; waits for the hot node up to a second and raises
    ``redis.RedisError`` when it does not answer."""
    with hot_sync.client(settings.HOT_URL, socket_timeout=1, socket_connect_timeout=1) as client:
        found = client.hgetall(_KEY)
    now = clock.now_ms()
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, text in found.items():
        row = _read(text)
        if row.get("at", 0) >= now - _KEPT_MS:
            rows.setdefault(name.decode().partition(" ")[0], []).append(row)
    return [
        _together(app.name, app.provider, rows.get(app.name, ()), now) for app in settings.PUSH_APPS.values()
    ]


def _together(app: str, provider: str, rows: Iterable[dict[str, Any]], now: int) -> AppHealth:
    rows = sorted(rows, key=lambda row: row["error_at"] or 0)
    fresh = [row["state"] for row in rows if row["at"] >= now - _FRESH_MS]
    return AppHealth(
        app,
        provider,
        _STATES[max(fresh)] if fresh else "unknown",
        max((row["success_at"] for row in rows if row["success_at"]), default=None),
        rows[-1]["error_at"] if rows else None,
        rows[-1]["error"] if rows else "",
        sum(row["accepted"] for row in rows),
        sum(row["failed"] for row in rows),
        len(rows),
    )
