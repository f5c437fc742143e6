"""What one user may see of another: blocks, privacy settings and message requests, in one query for any number of pairs.
Where the log is outside this database, whether a request is accepted is asked of its store.

A block hides both from each other. Who has not accepted a stranger who opened a conversation shows the stranger neither
presence nor typing nor receipts. The audience ``contacts`` is who stands in the owner's address book, whatever stands in the
viewer's. Last seen and read receipts are reciprocal: who hides theirs from somebody does not see that somebody's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from django.db import connection
from psycopg_pool import AsyncConnectionPool

from delivery.store import chosen

#: (user, viewer)
Pair = tuple[str, str]


class Visible(NamedTuple):
    """What a viewer may see of a user."""

    typing: bool
    online: bool
    last_seen: bool
    photo: bool
    about: bool


NOTHING: Final = Visible(False, False, False, False, False)
#: The empty set of most: each of its own would be 216 bytes of a session.
NOBODY: Final[frozenset[str]] = frozenset()
EVERYTHING: Final = Visible(True, True, True, True, True)

# 0 everyone, 1 contacts, 2 nobody (accounts.models.Audience); ``known``: the viewer is a contact of the user, ``knows``: the
# user is one of the viewer.
_VISIBLE: Final = """
SELECT asked.user_id <> asked.viewer_id AND blocked.yes,
       delivery_unaccepted(asked.user_id, asked.viewer_id),
       (u.online IS NULL OR u.online = 0 OR u.online = 1 AND known.yes),
       (u.last_seen IS NULL OR u.last_seen = 0 OR u.last_seen = 1 AND known.yes)
           AND (v.last_seen IS NULL OR v.last_seen = 0 OR v.last_seen = 1 AND knows.yes),
       (u.photo IS NULL OR u.photo = 0 OR u.photo = 1 AND known.yes),
       (u.about IS NULL OR u.about = 0 OR u.about = 1 AND known.yes)
FROM unnest(%(users)s::uuid[], %(viewers)s::uuid[]) WITH ORDINALITY AS asked (user_id, viewer_id, place)
LEFT JOIN accounts_privacy u ON u.account_id = asked.user_id
LEFT JOIN accounts_privacy v ON v.account_id = asked.viewer_id
CROSS JOIN LATERAL (SELECT EXISTS (
    SELECT FROM accounts_block b WHERE b.owner_id = asked.user_id AND b.user_id = asked.viewer_id
    UNION ALL
    SELECT FROM accounts_block b WHERE b.owner_id = asked.viewer_id AND b.user_id = asked.user_id) AS yes) blocked
CROSS JOIN LATERAL (SELECT EXISTS (
    SELECT FROM accounts_contact c
    WHERE c.owner_id = asked.user_id AND c.user_id = asked.viewer_id AND NOT c.removed) AS yes) known
CROSS JOIN LATERAL (SELECT EXISTS (
    SELECT FROM accounts_contact c
    WHERE c.owner_id = asked.viewer_id AND c.user_id = asked.user_id AND NOT c.removed) AS yes) knows
ORDER BY asked.place
"""


# Blocks have a way of their own: while one is in force receipts stand still, and what was shown before stays.
_READS_SHOWN: Final = """
SELECT (u.read_receipts IS NULL OR u.read_receipts = 0 OR u.read_receipts = 1 AND EXISTS (
            SELECT FROM accounts_contact c
            WHERE c.owner_id = asked.user_id AND c.user_id = asked.viewer_id AND NOT c.removed))
       AND (v.read_receipts IS NULL OR v.read_receipts = 0 OR v.read_receipts = 1 AND EXISTS (
            SELECT FROM accounts_contact c
            WHERE c.owner_id = asked.viewer_id AND c.user_id = asked.user_id AND NOT c.removed))
FROM unnest(%(users)s::uuid[], %(viewers)s::uuid[]) WITH ORDINALITY AS asked (user_id, viewer_id, place)
LEFT JOIN accounts_privacy u ON u.account_id = asked.user_id
LEFT JOIN accounts_privacy v ON v.account_id = asked.viewer_id
ORDER BY asked.place
"""

# The address book only of who shows it to contacts.
_READS_OF: Final = """
SELECT coalesce(p.read_receipts, 0), CASE p.read_receipts WHEN 1 THEN ARRAY (
           SELECT c.user_id::text FROM accounts_contact c WHERE c.owner_id = asked.user_id AND NOT c.removed) END
FROM unnest(%(users)s::uuid[]) WITH ORDINALITY AS asked (user_id, place)
LEFT JOIN accounts_privacy p ON p.account_id = asked.user_id
ORDER BY asked.place
"""


class Readers(NamedTuple):
    """To whom a user shows what the user has read."""

    everybody: bool
    users: frozenset[str]  # if not everybody, these


def _parameters(pairs: Sequence[Pair]) -> dict[str, list[str]]:
    return {"users": [user for user, _ in pairs], "viewers": [viewer for _, viewer in pairs]}


def _answer(pair: Pair, row: tuple[bool, bool, bool, bool, bool, bool], stranger: bool | None) -> Visible:
    """``stranger``: whether the user has not accepted the viewer, by a store outside this database. What this one says of it is
    then nothing, or, where the log has moved, of long ago."""
    blocked, unaccepted, online, last_seen, photo, about = row
    if stranger is not None:
        unaccepted = stranger
    if pair[0] == pair[1]:
        return EVERYTHING
    if blocked:
        return NOTHING
    if unaccepted:
        return Visible(False, False, False, photo, about)
    return Visible(True, online, last_seen, photo, about)


def visible(pairs: Sequence[Pair]) -> list[Visible]:
    """For each pair, in order. Raises ``Unavailable`` where the log is elsewhere."""
    if not pairs:
        return []
    strangers: Sequence[bool | None] = [None] * len(pairs)
    if chosen.elsewhere():
        strangers = chosen.background.ask(lambda store: store.unaccepted(pairs))
    with connection.cursor() as cursor:
        cursor.execute(_VISIBLE, _parameters(pairs))
        rows = cursor.fetchall()
    return [_answer(pair, row, stranger) for pair, row, stranger in zip(pairs, rows, strangers, strict=True)]


async def visible_async(
    pool: AsyncConnectionPool,
    pairs: Sequence[Pair],
    unaccepted: Callable[[Sequence[Pair]], Awaitable[list[bool]]] | None = None,
) -> list[Visible]:
    """The same for the gateway. ``unaccepted``: asks the store, where the log is elsewhere. Raises its ``Unavailable`` and
    psycopg's errors; the caller shows nothing then."""
    if not pairs:
        return []
    strangers: Sequence[bool | None] = [None] * len(pairs) if unaccepted is None else await unaccepted(pairs)
    async with pool.connection() as link:
        rows = await (await link.execute(_VISIBLE, _parameters(pairs))).fetchall()
    return [_answer(pair, row, stranger) for pair, row, stranger in zip(pairs, rows, strangers, strict=True)]


def reads_shown(pairs: Sequence[Pair]) -> list[bool]:
    """For each pair, in order: whether both show each other what they have read. Without blocks and message requests."""
    if not pairs:
        return []
    with connection.cursor() as cursor:
        cursor.execute(_READS_SHOWN, _parameters(pairs))
        return [row[0] for row in cursor.fetchall()]


async def reads_shown_async(pool: AsyncConnectionPool, pairs: Sequence[Pair]) -> list[bool]:
    """The same for the gateway. Raises psycopg's errors."""
    async with pool.connection() as link:
        return [row[0] for row in await (await link.execute(_READS_SHOWN, _parameters(pairs))).fetchall()]


async def readers_async(pool: AsyncConnectionPool, users: Sequence[str]) -> list[Readers]:
    """For each user, in order. Raises psycopg's errors."""
    async with pool.connection() as link:
        rows = await (await link.execute(_READS_OF, {"users": list(users)})).fetchall()
        return [Readers(audience == 0, frozenset(users) if users else NOBODY) for audience, users in rows]
