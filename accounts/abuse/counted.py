"""The counts of abuse for code that may wait: what services add to them, and what judges read. Nothing here raises because Valkey
is away; readers are told by ``None``."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import redis
from django.conf import settings
from django.db import transaction

from accounts.abuse import buckets
from accounts.abuse.triggers import Counts, table
from whatsapp.infra import hot_sync, metrics
from whatsapp.infra.clock import now_ms

log = logging.getLogger(__name__)

_TIMEOUT_S: Final = 1.0
#: After a call that failed nobody waits for another one for so long.
_LEFT_ALONE_S: Final = 5.0
_failed_at = float("-inf")  # monotonic


@lru_cache(maxsize=2)
def _client(url: str) -> Any:
    return hot_sync.client(
        url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, decode_responses=True
    )


def _run(commands: Sequence[buckets.Command]) -> list[Any] | None:
    """Answers, or None when Valkey is away. On a cluster the commands may be about many users."""
    global _failed_at
    if time.monotonic() - _failed_at < _LEFT_ALONE_S:
        return None
    try:
        pipeline = _client(settings.HOT_URL).pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        found: list[Any] = pipeline.execute()
    except (redis.RedisError, OSError):
        _failed_at = time.monotonic()
        metrics.count("abuse", "unreachable")
        return None
    return found


def added(*, user_id: uuid.UUID, number: int) -> None:
    """The user has added so many members to groups; counted once the transaction has committed."""
    if settings.ABUSE and number > 0:
        transaction.on_commit(lambda: _add(str(user_id), number))


def _add(user: str, number: int) -> None:
    known = table()
    asked = list(buckets.adding(user, {"adds": number}, {}, known, now_ms()))
    answers = _run([command for command, _ in asked]) if asked else None
    if answers is not None and buckets.reaches_a_mark(asked, answers, known):
        _run(
            [
                ("SADD", buckets.CANDIDATES, user),
                ("PEXPIRE", buckets.CANDIDATES, buckets.CANDIDATES_MS),
            ]
        )


def take_candidates(most: int) -> list[str]:
    """Accounts to look at, each for one caller: two at once share them. One that is lost comes back with its next messages."""
    answers = _run([("SPOP", buckets.CANDIDATES, most)])
    return sorted(answers[0] or ()) if answers is not None else []


def read(users: Sequence[str], now: int) -> dict[str, Counts] | None:
    """The counts of each; None when Valkey is away."""
    known = table()
    asked = [list(buckets.reading(user, known, now)) for user in users]
    commands = [command for one in asked for command, _ in one]
    answers = _run(commands) if commands else []
    if answers is None:
        return None
    found: dict[str, Counts] = {}
    place = 0
    for user, one in zip(users, asked, strict=True):
        found[user] = buckets.counts(one, answers[place : place + len(one)], now)
        place += len(one)
    return found


def forget(user: str, now: int) -> bool:
    """Begin anew with an account: what it was sanctioned for counts no second time. False: Valkey is away."""
    return _run([("DEL", name) for name in buckets.keys(user, table(), now)]) is not None
