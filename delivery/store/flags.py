"""What a user has set for a conversation: mute, pin, archive and draft, the same on all of the user's devices."""

from __future__ import annotations

from delivery.store import door
from delivery.store.operation import Operation, Query
from delivery.store.values import Flags, OwnFlags

#: Columns of a :class:`Flags`, of a row that may be missing.
COLUMNS = """coalesce(f.muted_until, 0), coalesce(f.pinned, false), coalesce(f.archived, false), f.draft,
    coalesce(f.version, 0), coalesce(f.changed_at, 0)"""

# The sums run over what the user has touched, so over a page or two of one index.
_FLAGS = f"""
SELECT {COLUMNS}, coalesce(o.pinned, 0), coalesce(o.draft_bytes, 0)
FROM (SELECT 1 FROM delivery_member
      WHERE conversation = %(conversation)s::uuid AND member = %(user)s::uuid LIMIT 1) m
LEFT JOIN delivery_flags f ON f.member = %(user)s::uuid AND f.conversation = %(conversation)s::uuid
CROSS JOIN (SELECT count(*) FILTER (WHERE pinned) AS pinned, sum(octet_length(draft))::bigint AS draft_bytes
            FROM delivery_flags
            WHERE member = %(user)s::uuid AND conversation <> %(conversation)s::uuid) o"""


def flags(user: str, conversation: str) -> Operation[OwnFlags | None]:
    """See :meth:`Store.flags`."""
    rows = yield Query(_FLAGS, {"user": user, "conversation": conversation})
    if not rows:
        return None
    *own, pinned, draft_bytes = rows[0]
    return OwnFlags(read(own), pinned, draft_bytes)


def read(row: list[object]) -> Flags:
    """From the columns of :data:`COLUMNS`."""
    found = Flags(*row)  # type: ignore[arg-type]
    # Django's connection gives a memoryview.
    return found if found.draft is None else found._replace(draft=bytes(found.draft))


_SET = f"""
INSERT INTO delivery_flags AS f (muted_until, changed_at, version, member, conversation, pinned, archived, draft)
VALUES (%(muted_until)s::bigint, %(now)s::bigint, 1, %(user)s::uuid, %(conversation)s::uuid, %(pinned)s::boolean,
        %(archived)s::boolean, %(draft)s::bytea)
ON CONFLICT (member, conversation) DO UPDATE
SET muted_until = excluded.muted_until, pinned = excluded.pinned, archived = excluded.archived, draft = excluded.draft,
    version = f.version + 1, changed_at = greatest(f.changed_at, excluded.changed_at)
RETURNING {COLUMNS}"""


def set_flags(user: str, conversation: str, new: Flags, now: int) -> Operation[Flags]:
    """See :meth:`Store.set_flags`."""
    door.check(conversation)
    rows = yield Query(
        _SET,
        {
            "user": user,
            "conversation": conversation,
            "muted_until": new.muted_until,
            "pinned": new.pinned,
            "archived": new.archived,
            "draft": new.draft,
            "now": now,
        },
    )
    return read(list(rows[0]))


def forget_flags(user: str) -> Operation[None]:
    """See :meth:`Store.forget_flags`."""
    yield Query("DELETE FROM delivery_flags WHERE member = %s::uuid", (user,))
