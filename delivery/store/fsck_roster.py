"""Checks of the roster, and of what is kept for each member of a conversation or for each device."""

from __future__ import annotations

from typing import Final

from delivery.store.fsck import Check

_HEADS = "FROM delivery_head h WHERE h.conversation = ANY (%(keys)s::uuid[])"

INTERVAL = Check(
    "roster.interval",
    ("member", "joined", "left", "next"),
    """SELECT m.conversation::text, m.member::text, m.joined_seq, m.left_seq, m.next FROM (
        SELECT m.*, h.head, lead(m.joined_seq) OVER (PARTITION BY m.conversation, m.member ORDER BY m.joined_seq) AS next
        FROM delivery_head h JOIN delivery_member m ON m.conversation = h.conversation
        WHERE h.conversation = ANY (%(keys)s::uuid[])) m
    WHERE m.joined_seq NOT BETWEEN 1 AND greatest(m.head, 1) OR m.left_seq <> 0 AND m.left_seq NOT BETWEEN m.joined_seq AND m.head
       OR m.next IS NOT NULL AND (m.left_seq = 0 OR m.left_seq >= m.next)""",
    (
        # An interval of events that never were is none.
        """DELETE FROM delivery_member m USING delivery_head h
        WHERE h.conversation = %(key)s::uuid AND m.conversation = h.conversation AND m.member = %(member)s::uuid
          AND m.joined_seq = %(joined)s::bigint AND (m.joined_seq NOT BETWEEN 1 AND greatest(h.head, 1)
          OR m.left_seq <> 0 AND m.left_seq < m.joined_seq)""",
        # Two that overlap owe the same when the first ends where the second begins.
        """UPDATE delivery_member m SET left_seq = least(
            CASE m.left_seq WHEN 0 THEN h.head ELSE m.left_seq END, h.head, coalesce(%(next)s::bigint - 1, h.head))
        FROM delivery_head h
        WHERE h.conversation = %(key)s::uuid AND m.conversation = h.conversation AND m.member = %(member)s::uuid
          AND m.joined_seq = %(joined)s::bigint AND (m.left_seq > h.head OR %(next)s::bigint IS NOT NULL)""",
    ),
)

# By it lists of members that were read before are known to be old.
ROSTER_SEQ = Check(
    "head.roster_seq",
    ("is", "should"),
    """SELECT h.conversation::text, h.roster_seq, least(h.head, greatest(h.roster_seq, m.last)) FROM delivery_head h
    CROSS JOIN LATERAL (
        SELECT CASE h.kind WHEN 'group' THEN coalesce(max(greatest(m.joined_seq, m.left_seq)), 0) ELSE 0 END AS last
        FROM delivery_member m WHERE m.conversation = h.conversation) m
    WHERE h.conversation = ANY (%(keys)s::uuid[]) AND (h.roster_seq < m.last OR h.roster_seq > h.head)""",
    ("UPDATE delivery_head SET roster_seq = %(should)s::bigint WHERE conversation = %(key)s::uuid",),
)

MEMBERS = Check(
    "head.members",
    ("is", "should"),
    """SELECT h.conversation::text, h.members, m.number FROM delivery_head h CROSS JOIN LATERAL (
        SELECT count(DISTINCT m.member) AS number FROM delivery_member m
        WHERE m.conversation = h.conversation AND m.left_seq = 0) m
    WHERE h.conversation = ANY (%(keys)s::uuid[]) AND h.kind = 'group' AND h.members <> m.number""",
    ("UPDATE delivery_head SET members = %(should)s::integer WHERE conversation = %(key)s::uuid",),
)

# Or the two would get a second conversation the next time one of them opens it.
UNLISTED = Check(
    "direct.unlisted",
    ("low", "high"),
    """SELECT h.conversation::text, m.low::text, m.high::text FROM delivery_head h CROSS JOIN LATERAL (
        SELECT min(m.member::text)::uuid AS low, max(m.member::text)::uuid AS high, count(DISTINCT m.member) AS number
        FROM delivery_member m WHERE m.conversation = h.conversation) m
    WHERE h.conversation = ANY (%(keys)s::uuid[]) AND h.kind = 'direct' AND m.number BETWEEN 1 AND 2 AND NOT EXISTS (
        SELECT FROM delivery_direct d WHERE d.low = m.low AND d.high = m.high AND d.conversation = h.conversation)
      AND (m.number = 2 OR NOT EXISTS (
        SELECT FROM delivery_direct d WHERE d.conversation = h.conversation))""",
    (
        """INSERT INTO delivery_direct (low, high, conversation)
        SELECT %(low)s::uuid, %(high)s::uuid, %(key)s::uuid WHERE %(low)s <> %(high)s ON CONFLICT DO NOTHING""",
    ),
)

# -- receipts ---------------------------------------------------------------------------------------------------------------

RECEIPT_STRANGER = Check(
    "receipt.stranger",
    ("member",),
    f"""SELECT r.conversation::text, r.member::text FROM delivery_receipt r
    WHERE r.conversation IN (SELECT h.conversation {_HEADS}) AND NOT EXISTS (
        SELECT FROM delivery_member m WHERE m.conversation = r.conversation AND m.member = r.member)""",
    ("DELETE FROM delivery_receipt WHERE conversation = %(key)s::uuid AND member = %(member)s::uuid",),
)

RECEIPT_BEYOND = Check(
    "receipt.beyond",
    ("member", "delivered", "read", "sent", "head"),
    """SELECT r.conversation::text, r.member::text, r.delivered, r.read, r.sent, h.head
    FROM delivery_head h JOIN delivery_receipt r ON r.conversation = h.conversation
    WHERE h.conversation = ANY (%(keys)s::uuid[])
      AND greatest(r.delivered, r.read, r.sent, r.shown_delivered, r.shown_read) > h.head""",
    (
        """UPDATE delivery_receipt SET delivered = least(delivered, %(head)s::bigint), read = least(read, %(head)s::bigint),
            sent = least(sent, %(head)s::bigint),
            shown_delivered = CASE WHEN shown_at IS NOT NULL THEN least(shown_delivered, %(head)s::bigint) END,
            shown_read = CASE WHEN shown_at IS NOT NULL THEN least(shown_read, %(head)s::bigint) END
        WHERE conversation = %(key)s::uuid AND member = %(member)s::uuid""",
    ),
)

# While a block is in force the two are shown of each other's receipts what was so when it began.
RECEIPT_SHOWN = Check(
    "receipt.shown",
    ("member", "blocked"),
    """SELECT h.conversation::text, m.member::text, b.active FROM delivery_head h
    CROSS JOIN LATERAL (SELECT EXISTS (
        SELECT FROM delivery_withheld w WHERE w.conversation = h.conversation AND w.active) AS active) b
    JOIN delivery_member m ON m.conversation = h.conversation
    LEFT JOIN delivery_receipt r ON r.conversation = m.conversation AND r.member = m.member
    WHERE h.conversation = ANY (%(keys)s::uuid[]) AND b.active <> (r.shown_at IS NOT NULL)""",
    (
        """INSERT INTO delivery_receipt AS r (conversation, member, shown_delivered, shown_read, shown_at)
        SELECT %(key)s::uuid, %(member)s::uuid, 0, 0, 0 WHERE %(blocked)s::boolean
        ON CONFLICT (conversation, member) DO UPDATE
        SET shown_delivered = r.delivered, shown_read = r.read, shown_at = r.changed_at WHERE r.shown_at IS NULL""",
        """UPDATE delivery_receipt SET shown_delivered = NULL, shown_read = NULL, shown_at = NULL
        WHERE conversation = %(key)s::uuid AND member = %(member)s::uuid AND NOT %(blocked)s::boolean""",
    ),
)

# -- blocks -----------------------------------------------------------------------------------------------------------------

WITHHOLDS = Check(
    "head.withholds",
    (),
    f"""SELECT h.conversation::text {_HEADS} AND NOT h.withholds
      AND EXISTS (SELECT FROM delivery_withheld w WHERE w.conversation = h.conversation)""",
    ("UPDATE delivery_head SET withholds = true WHERE conversation = %(key)s::uuid",),
)

# The latest run of events of the blocked: pages of who has blocked end before it.
_RUN = """CROSS JOIN LATERAL (
        SELECT max(v.seq) AS through FROM delivery_event v
        WHERE v.conversation = h.conversation AND v.seq > h.floor AND v.withheld AND v.sender = w.sender) l
    CROSS JOIN LATERAL (
        SELECT coalesce(max(v.seq), h.floor) AS owed FROM delivery_event v
        WHERE v.conversation = h.conversation AND v.seq > h.floor AND v.seq < l.through
          AND NOT (v.withheld IS NOT NULL AND v.sender = w.sender)) b"""

WITHHELD_RUN = Check(
    "withheld.run",
    ("member", "owed", "through"),
    f"""SELECT h.conversation::text, w.member::text, coalesce(b.owed, 0), coalesce(l.through, least(w.through, h.floor))
    FROM delivery_head h JOIN delivery_withheld w ON w.conversation = h.conversation {_RUN}
    WHERE h.conversation = ANY (%(keys)s::uuid[]) AND %(tail)s::bigint >= h.head - h.floor AND CASE
        WHEN l.through IS NULL THEN w.through > h.floor
        ELSE w.through <> l.through OR greatest(w.owed, h.floor) <> b.owed END""",
    (
        """UPDATE delivery_withheld SET owed = %(owed)s::bigint, through = %(through)s::bigint
        WHERE conversation = %(key)s::uuid AND member = %(member)s::uuid""",
    ),
)

MENTION_BEYOND = Check(
    "mention.beyond",
    ("member", "seq"),
    """SELECT h.conversation::text, n.member::text, n.seq
    FROM delivery_head h JOIN delivery_mention n ON n.conversation = h.conversation
    WHERE h.conversation = ANY (%(keys)s::uuid[]) AND n.seq > h.head""",
    (
        """DELETE FROM delivery_mention
        WHERE conversation = %(key)s::uuid AND member = %(member)s::uuid AND seq = %(seq)s::bigint""",
    ),
)

ROSTER: Final = (
    INTERVAL,
    ROSTER_SEQ,
    MEMBERS,
    UNLISTED,
    RECEIPT_STRANGER,
    RECEIPT_BEYOND,
    RECEIPT_SHOWN,
    WITHHOLDS,
    WITHHELD_RUN,
    MENTION_BEYOND,
)

# -- by pair of users -------------------------------------------------------------------------------------------------------

_PAIRS = """FROM unnest(%(low)s::uuid[], %(high)s::uuid[]) p (low, high)
    JOIN delivery_direct d ON d.low = p.low AND d.high = p.high"""
_KEY = "d.low::text || ':' || d.high::text"

DIRECT_HEAD = Check(
    "direct.head",
    ("conversation",),
    f"""SELECT {_KEY}, d.conversation::text {_PAIRS} LEFT JOIN delivery_head h ON h.conversation = d.conversation
    WHERE h.kind IS DISTINCT FROM 'direct'""",
    (
        """INSERT INTO delivery_head (conversation, kind, created_at) VALUES (%(conversation)s::uuid, 'direct', 0)
        ON CONFLICT (conversation) DO UPDATE SET kind = 'direct'""",
    ),
)

DIRECT_MEMBER = Check(
    "direct.member",
    ("conversation", "member"),
    f"""SELECT DISTINCT {_KEY}, d.conversation::text, u.member::text {_PAIRS}
    CROSS JOIN LATERAL (VALUES (d.low), (d.high)) u (member)
    WHERE NOT EXISTS (SELECT FROM delivery_member m WHERE m.conversation = d.conversation AND m.member = u.member)""",
    (
        """INSERT INTO delivery_member (conversation, member, joined_seq)
        VALUES (%(conversation)s::uuid, %(member)s::uuid, 1) ON CONFLICT DO NOTHING""",
    ),
)

DIRECT_STRANGER = Check(
    "direct.stranger",
    ("conversation", "member"),
    f"""SELECT DISTINCT {_KEY}, d.conversation::text, m.member::text {_PAIRS}
    JOIN delivery_member m ON m.conversation = d.conversation AND m.member NOT IN (d.low, d.high)""",
    (
        "DELETE FROM delivery_member WHERE conversation = %(conversation)s::uuid AND member = %(member)s::uuid",
        "DELETE FROM delivery_receipt WHERE conversation = %(conversation)s::uuid AND member = %(member)s::uuid",
    ),
)

DIRECTS: Final = (DIRECT_HEAD, DIRECT_MEMBER, DIRECT_STRANGER)

# -- by device --------------------------------------------------------------------------------------------------------------


def _unlinked(kind: str, table: str) -> Check:
    return Check(
        kind,
        ("number",),
        f"""SELECT p.device::text, count(*) FROM {table} p
        WHERE p.device = ANY (%(keys)s::uuid[]) AND NOT EXISTS (SELECT FROM delivery_device d WHERE d.device = p.device)
        GROUP BY 1""",
        (
            f"""DELETE FROM {table} p WHERE p.device = %(key)s::uuid
            AND NOT EXISTS (SELECT FROM delivery_device d WHERE d.device = p.device)""",
        ),
    )


_POSITIONS = """FROM delivery_device d JOIN delivery_position p ON p.device = d.device
    LEFT JOIN delivery_head h ON h.conversation = p.conversation WHERE d.device = ANY (%(keys)s::uuid[])"""

POSITION_STRANGER = Check(
    "position.stranger",
    ("conversation",),
    f"""SELECT d.device::text, p.conversation::text {_POSITIONS} AND NOT EXISTS (
        SELECT FROM delivery_member m WHERE m.conversation = p.conversation AND m.member = d.member)""",
    ("DELETE FROM delivery_position WHERE device = %(key)s::uuid AND conversation = %(conversation)s::uuid",),
)

# What is appended next would never reach the device. Who has everything has it up to the head.
POSITION_BEYOND = Check(
    "position.beyond",
    ("conversation", "acked", "head"),
    f"SELECT d.device::text, p.conversation::text, p.acked, h.head {_POSITIONS} AND p.acked > h.head",
    (
        """UPDATE delivery_position p SET acked = h.head FROM delivery_head h
        WHERE h.conversation = p.conversation AND p.acked > h.head
          AND p.device = %(key)s::uuid AND p.conversation = %(conversation)s::uuid""",
    ),
)

POSITION_EXPIRED = Check(
    "position.expired",
    ("conversation", "expired", "acked"),
    f"SELECT d.device::text, p.conversation::text, p.expired, p.acked {_POSITIONS} AND p.expired > p.acked",
    (
        """UPDATE delivery_position SET expired = acked
        WHERE device = %(key)s::uuid AND conversation = %(conversation)s::uuid AND expired > acked""",
    ),
)

DEVICES: Final = (
    _unlinked("position.unlinked", "delivery_position"),
    _unlinked("seqnum.unlinked", "delivery_seqnum"),
    POSITION_STRANGER,
    POSITION_BEYOND,
    POSITION_EXPIRED,
)

# -- by writer --------------------------------------------------------------------------------------------------------------

# A watermark above every row there has been would pass rows that are still to come.
PROGRESS_AHEAD = Check(
    "progress.ahead",
    ("row",),
    """SELECT p.writer::text, max(p."row") FROM delivery_progress p
    WHERE p.writer = ANY (%(keys)s::uuid[]) AND p."row" > coalesce(
        pg_sequence_last_value(pg_get_serial_sequence('delivery_outbox', 'row')::regclass), 0)
    GROUP BY 1""",
    ("""DELETE FROM delivery_progress WHERE writer = %(key)s::uuid AND "row" >= %(row)s::bigint""",),
)

PROGRESS: Final = (PROGRESS_AHEAD,)
