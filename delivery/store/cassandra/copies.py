"""Copies of state documents on the hot node.

A copy is a key of its own for each token, in the slot of its conversation: a hash of the packed document (``d``), a version
that nothing else ever had (``v``), and ``f`` once it was called back: then nothing changes it any more, whoever calls it back
folds the same document into the durable one, and deletes it. So no step of that can be lost with the process that did it.

Whether a copy counts is for :mod:`delivery.store.cassandra.leases` to say. Its node has an epoch, under which alone it is looked
at and changed: a copy of that key at another node, or at the same one in another time, may be behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import hiredis

from delivery.store.cassandra.document import Document, pack, unpack
from delivery.store.cassandra.document import Hot as Mark
from delivery.store.interface import Unavailable
from whatsapp.infra.hot import Hot
from whatsapp.infra.valkey import Command, HotUnavailable

#: A node that does not answer for so long is gone on without: what it does of it yet, it does under a lease that is closed.
PATIENCE_S = 1.5

_SWAP = """local c = redis.call('HMGET', KEYS[1], 'v', 'd', 'f')
if not c[1] then return 0 end
if c[1] == ARGV[2] then return 1 end
if c[3] or c[1] ~= ARGV[1] then return c end
redis.call('HSET', KEYS[1], 'v', ARGV[2], 'd', ARGV[3])
return 1"""
_FREEZE = """local c = redis.call('HMGET', KEYS[1], 'v', 'd', 'f')
if not c[1] then return 0 end
if c[1] ~= ARGV[1] then return c end
redis.call('HSET', KEYS[1], 'f', '1')
return 1"""


def key_of(conversation: str, token: int) -> str:
    return f"document:{{{conversation}}}:{token}"


class Copy(NamedTuple):
    """A copy as it is now."""

    version: bytes
    document: Document
    frozen: bool


class Swap(NamedTuple):
    """A change of a copy: of this version, to that document."""

    conversation: str
    version: bytes
    document: Document


#: What became of a change: its new version; the copy as it is instead; None: there is none; an error: nobody knows.
Outcome = bytes | Copy | None | HotUnavailable


class Copies:
    def __init__(self, hot: Hot) -> None:
        self._hot = hot
        self._swap = hot.script(_SWAP)
        self._freeze = hot.script(_FREEZE)

    async def put(self, conversation: str, document: Document) -> bytes:
        """A new copy of a document whose mark names it; its version."""
        assert document.hot is not None
        version = _version()
        key = key_of(conversation, document.hot.token)
        put = (document.hot.epoch, ("HSET", key, "v", version, "d", pack(document)))
        (answer,) = await self._each([put])
        if isinstance(answer, Exception):
            raise Unavailable(f"hot node: {answer}") from answer
        return version

    async def read(self, asked: Sequence[tuple[str, Mark]]) -> list[Copy | HotUnavailable | None]:
        """The copies of these (conversation, its mark)."""
        if not asked:
            return []
        commands = [
            (mark.epoch, ("HMGET", key_of(conversation, mark.token), "v", "d", "f"))
            for conversation, mark in asked
        ]
        return [_copy(answer) for answer in await self._each(commands)]

    async def swap(self, changes: Sequence[Swap]) -> list[Outcome]:
        """Change copies, all in one pipeline."""
        if not changes:
            return []
        versions = [_version() for _ in changes]
        commands = []
        for (conversation, old, document), new in zip(changes, versions, strict=True):
            assert document.hot is not None
            key = key_of(conversation, document.hot.token)
            commands.append((document.hot.epoch, self._swap.call([key], [old, new, pack(document)])))
        answers = await self._each(commands)
        return [
            new if answer == 1 else None if answer == 0 else _copy(answer)
            for new, answer in zip(versions, answers, strict=True)
        ]

    async def freeze(self, conversation: str, mark: Mark, version: bytes) -> bool:
        """Call a copy back; False if it is not of this version any more. Raises :class:`Unavailable`."""
        freeze = (mark.epoch, self._freeze.call([key_of(conversation, mark.token)], [version]))
        (answer,) = await self._each([freeze])
        if isinstance(answer, Exception):
            raise Unavailable(f"hot node: {answer}") from answer
        return bool(answer == 1)

    async def drop(self, conversation: str, token: int) -> None:
        """Nobody needs it any more, wherever it is: what cannot be deleted now stays there, and counts for nothing."""
        with contextlib.suppress(HotUnavailable, hiredis.ReplyError, TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self._hot.run([("DEL", key_of(conversation, token))])

    async def _each(self, asked: Sequence[tuple[str, Command]]) -> list[Any]:
        """Commands by the epochs under which they count; what failed is ``HotUnavailable`` in its place."""
        answers = await self._hot.run_under(asked, PATIENCE_S)
        return [
            HotUnavailable(str(answer)) if isinstance(answer, hiredis.ReplyError) else answer
            for answer in answers
        ]


def _version() -> bytes:
    return secrets.token_bytes(9)


def _copy(answer: Any) -> Copy | HotUnavailable | None:
    if isinstance(answer, HotUnavailable):
        return answer
    version, data, frozen = answer
    if version is None:
        return None
    return Copy(version, unpack(data), frozen is not None)
