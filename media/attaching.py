"""What the engine asks for messages that carry a file (``delivery/attachments.py``): may their sender send it?

Its owner may, and whoever was sent it: was a member of a conversation that it was sent to. One statement for the files of a
batch, one for what others than their owners send on, one that notes all of it, and one more look at the files: what is taken away
meanwhile (``media/services/contents.py``) was either noted in time, and stays, or is seen to be gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from psycopg_pool import AsyncConnectionPool

from delivery.ports import Attached
from delivery.roster import Roster, was_member
from media.models import USABLE, State
from whatsapp.infra import faults
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

#: Messages with a file that are looked through for one that somebody was sent, the last ones, and of them those of one sender:
#: what a refused message would have carried is noted too, and nobody shall bury what others have sent.
LOOKED_THROUGH: Final = 500
OF_ONE_SENDER: Final = 100
_REFUSED: Final[dict[str, str]] = {State.GONE: Code.GONE, State.REFUSED: Code.UNSUPPORTED_MEDIA}
_FILES: Final = "SELECT id::text, owner_id::text, state FROM media_media WHERE id = ANY(%s::uuid[])"
_SENT: Final = """
SELECT DISTINCT conversation_id::text
FROM (
    SELECT conversation_id
    FROM (
        SELECT id, conversation_id, row_number() OVER (PARTITION BY sender_id ORDER BY id DESC) AS nth
        FROM media_reference WHERE media_id = %s::uuid
    ) AS counted
    WHERE nth <= %s ORDER BY id DESC LIMIT %s
) AS latest
"""
_NOTE: Final = """
INSERT INTO media_reference (media_id, conversation_id, sender_id, message_id, created_at)
SELECT media, conversation, sender, message, %(now)s
FROM unnest(%(media)s::uuid[], %(conversation)s::uuid[], %(sender)s::uuid[], %(message_id)s::uuid[])
    AS given (media, conversation, sender, message)
ON CONFLICT DO NOTHING
"""


_FORGET: Final = """
WITH forgotten AS (
    DELETE FROM media_reference AS known
    USING unnest(%s::uuid[], %s::uuid[]) AS gone (conversation, message)
    WHERE known.conversation_id = gone.conversation AND known.message_id = gone.message
    RETURNING known.media_id
)
UPDATE media_media SET look_at = created_at + %s
WHERE id IN (SELECT media_id FROM forgotten) AND state IN ('ready', 'refused')
"""


async def attach(pool: AsyncConnectionPool, roster: Roster, messages: Sequence[Attached]) -> list[str]:
    """For each "" or the code of a refusal, as ``delivery.ports.Attach`` says. Raises psycopg's errors."""
    files = await _files(pool, messages)
    codes = []
    for one in messages:
        owner, state = files.get(one.media, ("", ""))
        code = _judged(state)
        if not code and owner != one.sender and not await _was_sent(pool, roster, one):
            code = Code.NOT_FOUND
        codes.append(code)
    good = [one for one, code in zip(messages, codes, strict=True) if not code]
    if good:
        fields = ("media", "conversation", "sender", "message_id")
        values: dict[str, Any] = {field: [getattr(one, field) for one in good] for field in fields}
        async with pool.connection() as link:
            await link.execute(_NOTE, {**values, "now": now_ms()})
        if not faults.off("look_again"):
            files = await _files(pool, good)
            codes = [
                code or _judged(files.get(one.media, ("", ""))[1])
                for one, code in zip(messages, codes, strict=True)
            ]
    return codes


async def detach(pool: AsyncConnectionPool, messages: Sequence[tuple[str, str]]) -> None:
    """These messages carry nothing any more: what no other one does goes (``services/contents.py``). Raises psycopg's errors."""
    conversations, ids = zip(*messages, strict=True)
    async with pool.connection() as link:
        await link.execute(_FORGET, (list(conversations), list(ids), LIMITS.media_unused_ms))


async def _files(pool: AsyncConnectionPool, messages: Sequence[Attached]) -> dict[str, tuple[str, str]]:
    """media → (owner, state)"""
    async with pool.connection() as link:
        rows = await (await link.execute(_FILES, ([one.media for one in messages],))).fetchall()
    return {media: (owner, state) for media, owner, state in rows}


def _judged(state: str) -> str:
    """Of a file in this state, "" for one that is not there."""
    if state in USABLE:
        return ""
    return _REFUSED.get(state, Code.NOT_FOUND)


async def _was_sent(pool: AsyncConnectionPool, roster: Roster, one: Attached) -> bool:
    async with pool.connection() as link:
        rows = await (await link.execute(_SENT, (one.media, OF_ONE_SENDER, LOOKED_THROUGH))).fetchall()
    lists = await roster.lists({conversation: 0 for (conversation,) in rows})
    return any(was_member(known, one.sender) for known in lists.values())
