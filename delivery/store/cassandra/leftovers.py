"""Copies that nobody looks after: their process died or has forgotten them, or no document names them (any more).

One process at a time walks over the keys of the hot nodes, some at a time. A copy that nobody has read or changed for LEFT_S is
called back, as by the process that made it; one that its document does not name is deleted. Neither can lose anything: should a
document name it after all, it counts as lost (:mod:`.lost`).
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Sequence
from typing import Any

import hiredis

from delivery.store.cassandra.copied import HotDocuments
from delivery.store.cassandra.documents import Documents
from delivery.store.interface import Unavailable
from whatsapp.infra.hot import Hot
from whatsapp.infra.valkey import HotUnavailable

#: More than what a process waits before it calls a copy back that it does not use (:data:`.documents.COOL_S`), seconds.
LEFT_S = 600
#: Steps of one round on each node, keys of one step, and copies that are looked after in one round.
STEPS = 8
KEYS = 500
AT_ONCE = 32
#: Who walks goes on walking; after so long without a round another does.
_TURN_MS = 60_000
_TURN_KEY = "{documents}:leftovers"

_TURN = """local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1"""

_COPY = re.compile(r"document:\{([0-9a-f-]{36})\}:(\d+)")


class Leftovers:
    """The walk of one process."""

    def __init__(self, documents: Documents, there: HotDocuments, hot: Hot) -> None:
        self._documents = documents
        self._copies = there.copies
        self._hot = hot
        self._turn = hot.script(_TURN)
        self._me = secrets.token_hex(8)
        self._cursors: dict[Any, bytes] = {}

    async def once(self) -> int:
        """One round; how many copies are gone."""
        with contextlib.suppress(HotUnavailable, Unavailable, hiredis.ReplyError):
            (mine,) = await self._hot.run([self._turn.call([_TURN_KEY], [self._me, _TURN_MS])])
            if mine == 1:
                return await self._round()
        return 0

    async def _round(self) -> int:
        parts = self._hot.parts()
        self._cursors = {part: self._cursors.get(part, b"0") for part in parts}
        gone = 0
        for part in parts:
            with contextlib.suppress(HotUnavailable, hiredis.ReplyError):
                gone += await self._end(await self._left(part))
        return gone

    async def _left(self, part: Any) -> list[tuple[str, int]]:
        """(conversation, token) of copies on this node that nobody uses, from where the last round has ended."""
        left: list[tuple[str, int]] = []
        for _ in range(STEPS):
            step = ("SCAN", self._cursors[part], "MATCH", "document:{*}:*", "COUNT", KEYS)
            ((self._cursors[part], keys),) = await self._hot.run_at(part, [step])
            idle = await self._hot.ask_at(part, [("OBJECT", "IDLETIME", key) for key in keys]) if keys else []
            for key, seconds in zip(keys, idle, strict=True):
                named = _COPY.fullmatch(key.decode())
                # No number: it is gone, or its slot is not the node's (any more).
                if named is not None and isinstance(seconds, int) and seconds >= LEFT_S:
                    left.append((named[1], int(named[2])))
            if len(left) >= AT_ONCE or self._cursors[part] == b"0":
                break
        return left

    async def _end(self, left: Sequence[tuple[str, int]]) -> int:
        gone = 0
        for conversation, token in left:
            with contextlib.suppress(Unavailable):
                if await self._documents.token(conversation) == token:
                    await self._documents.recall(conversation)
                else:
                    await self._copies.drop(conversation, token)
                gone += 1
        return gone
