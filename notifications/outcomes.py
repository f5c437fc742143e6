"""What providers answered, written down: up to where devices were told, badges, successes and errors; dead tokens removed."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Sequence
from typing import Final, NamedTuple

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from notifications.plans import Told
from whatsapp.infra.batcher import AskBatcher

log = logging.getLogger(__name__)

#: Waits before a statement is repeated, seconds; then it is given up.
_REPEATS_S: Final = (0.1, 0.5, 2.0)
_AT_ONCE: Final = 512

# Targets are locked in one order, so that two workers cannot wait for each other, and so that none is removed before its states
# are written. What a device was told stays true when it has a new token; badge, success and error were the old token's.
# NULL for what is shown: nothing was accepted, the device shows what it did.
_WRITE: Final = """
WITH held AS MATERIALIZED (
    SELECT target.device_id, r.token_hash = target.token_hash AS same, r.badge, r.success_at, r.error_at, r.error
    FROM unnest(%(devices)s::uuid[], %(hashes)s::bytea[], %(badges)s::int[], %(successes)s::bigint[], %(errors_at)s::bigint[],
        %(errors)s::text[]) AS r (device, token_hash, badge, success_at, error_at, error)
    JOIN notifications_pushtarget AS target ON target.device_id = r.device
    ORDER BY target.device_id FOR UPDATE OF target
), shown AS (
    UPDATE notifications_pushtarget AS target SET badge = COALESCE(held.badge, target.badge),
        success_at = GREATEST(held.success_at, target.success_at),
        error_at = COALESCE(held.error_at, target.error_at), error = COALESCE(held.error, target.error)
    FROM held WHERE target.device_id = held.device_id AND held.same
)
INSERT INTO notifications_pushstate AS state (target_id, conversation, seq, shown, until, told_at)
SELECT held.device_id, told.conversation, told.seq, COALESCE(told.shown, before.shown, 0),
    COALESCE(told.until, before.until, 0), told.told_at
FROM unnest(%(told_devices)s::uuid[], %(conversations)s::uuid[], %(seqs)s::bigint[], %(shown)s::bigint[], %(untils)s::bigint[],
    %(told_at)s::bigint[]) AS told (device, conversation, seq, shown, until, told_at)
JOIN held ON held.device_id = told.device
LEFT JOIN notifications_pushstate AS before ON before.target_id = held.device_id AND before.conversation = told.conversation
ORDER BY held.device_id, told.conversation
ON CONFLICT (target_id, conversation) DO UPDATE SET seq = GREATEST(state.seq, excluded.seq), shown = excluded.shown,
    until = excluded.until, told_at = excluded.told_at
"""

_REMOVE: Final = """
WITH dead AS (
    SELECT target.device_id FROM notifications_pushtarget AS target
    JOIN unnest(%(devices)s::uuid[], %(hashes)s::bytea[]) AS r (device, token_hash)
        ON target.device_id = r.device AND target.token_hash = r.token_hash
    ORDER BY target.device_id FOR UPDATE OF target
), states AS (
    DELETE FROM notifications_pushstate USING dead WHERE target_id = dead.device_id
)
DELETE FROM notifications_pushtarget USING dead WHERE notifications_pushtarget.device_id = dead.device_id
"""


class Unwritten(Exception):
    """The database does not answer. The same push may be sent again: its id says that it is the same."""


class Answer(NamedTuple):
    """What one send came to."""

    device: str
    token_hash: bytes  # of the token that was sent to
    at: int  # ms since the epoch
    accepted: bool = False
    told: tuple[Told, ...] = ()  # empty when it is to be sent again
    badge: int | None = None  # that the device shows now
    error: str | None = None  # the reason of what was not accepted
    gone: bool = False  # the token is dead


class Outcomes:
    """Writes what came of sends; those that end together in one statement each."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool
        self._writes: AskBatcher[Answer] = AskBatcher(self._write, _AT_ONCE)
        self._removals: AskBatcher[Answer] = AskBatcher(self._remove, _AT_ONCE)

    async def write(self, answer: Answer) -> None:
        """Durable when it returns. Raises :class:`Unwritten`."""
        await (self._removals if answer.gone else self._writes).ask(answer)

    async def _write(self, answers: Sequence[Answer]) -> list[None]:
        devices: dict[str, Answer] = {}
        told: dict[tuple[str, str], tuple[int, int | None, int | None, int]] = {}
        for answer in answers:  # in the order in which they came
            devices[answer.device] = _together(devices.get(answer.device), answer)
            for conversation, seq, shown, until in answer.told:
                before = told.get((answer.device, conversation), (0, None, None, 0))
                # A withdrawal that is refused for good is not tried again with every look.
                kept = (shown, until) if answer.accepted or not shown else before[1:3]
                told[answer.device, conversation] = (max(before[0], seq), *kept, answer.at)
        rows = list(devices.values())
        await self._execute(
            _WRITE,
            {
                "devices": [uuid.UUID(row.device) for row in rows],
                "hashes": [row.token_hash for row in rows],
                "badges": [row.badge for row in rows],
                "successes": [row.at if row.accepted else None for row in rows],
                "errors_at": [row.at if row.error is not None else None for row in rows],
                "errors": [row.error[:64] if row.error is not None else None for row in rows],
                "told_devices": [uuid.UUID(device) for device, _ in told],
                "conversations": [uuid.UUID(conversation) for _, conversation in told],
                "seqs": [row[0] for row in told.values()],
                "shown": [row[1] for row in told.values()],
                "untils": [row[2] for row in told.values()],
                "told_at": [row[3] for row in told.values()],
            },
        )
        return [None] * len(answers)

    async def _remove(self, answers: Sequence[Answer]) -> list[None]:
        await self._execute(
            _REMOVE,
            {
                "devices": [uuid.UUID(answer.device) for answer in answers],
                "hashes": [answer.token_hash for answer in answers],
            },
        )
        return [None] * len(answers)

    async def _execute(self, statement: str, values: dict[str, object]) -> None:
        for wait in (*_REPEATS_S, None):
            try:
                async with self._pool.connection() as connection:
                    await connection.execute(statement, values)
                return
            except (psycopg.Error, PoolTimeout, OSError) as error:
                if wait is None:
                    raise Unwritten(type(error).__name__) from error
                log.info("what providers answered is not written yet: %s", type(error).__name__)
                await asyncio.sleep(wait)


def _together(before: Answer | None, answer: Answer) -> Answer:
    """One row of a device from two answers."""
    if before is None or before.token_hash != answer.token_hash:
        return answer
    return answer._replace(badge=before.badge if answer.badge is None else answer.badge)
