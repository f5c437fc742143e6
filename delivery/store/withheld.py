"""Blocks in direct conversations: from which append on what is withheld from whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from delivery.store.operation import Operation, Query, uuids

#: The empty set of most users: each of its own would be 216 bytes of a session.
NONE: Final[frozenset[str]] = frozenset()

_WITHHOLD = "SELECT delivery_withhold(%s::uuid, %s::uuid, %s::boolean, %s::bigint)::text"


def withhold(member: str, sender: str, on: bool, now: int) -> Operation[str]:
    """See :meth:`Store.withhold`."""
    rows = yield Query(_WITHHOLD, (member, sender, on, now))
    return rows[0][0] or ""


_HOLD = """SELECT pg_advisory_xact_lock(hashtextextended(
    least(%(a)s::uuid, %(b)s::uuid)::text || greatest(%(a)s::uuid, %(b)s::uuid)::text, 0))::text"""


def hold_direct(a: str, b: str) -> Operation[None]:
    """As :meth:`Store.withhold` does."""
    yield Query(_HOLD, {"a": a, "b": b})


_SILENT = """
SELECT u.id::text, w.conversation::text
FROM unnest(%s::uuid[]) u (id) CROSS JOIN LATERAL (
    SELECT b.conversation FROM delivery_withheld b WHERE b.member = u.id AND b.active
    UNION SELECT b.conversation FROM delivery_withheld b WHERE b.sender = u.id AND b.active) w"""


def silent(users: Sequence[str]) -> Operation[dict[str, frozenset[str]]]:
    """See :meth:`Store.silent`."""
    found: dict[str, set[str]] = {user: set() for user in users}
    if found:
        for user, conversation in (yield Query(_SILENT, (uuids(found),))):
            found[user].add(conversation)
    return {user: frozenset(found[user]) if found[user] else NONE for user in found}


_AFTER = """SELECT conversation::text, member::text, owed, through FROM delivery_withheld
WHERE conversation = ANY (%s::uuid[])"""


def withheld_after(conversations: Sequence[str]) -> Operation[dict[tuple[str, str], tuple[int, int]]]:
    """See :meth:`Store.withheld_after`."""
    if not conversations:
        return {}
    rows = yield Query(_AFTER, (uuids(conversations),))
    return {(conversation, member): (owed, through) for conversation, member, owed, through in rows}
