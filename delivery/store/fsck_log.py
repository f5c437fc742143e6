"""Checks of a conversation's log against its head. Later ones rely on what earlier ones have mended: keep the order."""

from __future__ import annotations

from typing import Final

from delivery.store.fsck import NIL, Check

#: Holes longer than this are not filled in one go.
FILL: Final = 10_000

#: Where a look at a log begins; ``h`` is its head.
_START = "greatest(h.floor, h.head - %(tail)s::bigint)"
_EVENTS = f"""FROM delivery_head h JOIN delivery_event v ON v.conversation = h.conversation AND v.seq > {_START}
    WHERE h.conversation = ANY (%(keys)s::uuid[])"""
_HEADS = "FROM delivery_head h WHERE h.conversation = ANY (%(keys)s::uuid[])"
_FIRST = """LEFT JOIN LATERAL (SELECT v.* FROM delivery_event v WHERE v.conversation = h.conversation
    ORDER BY v.seq LIMIT 1) first ON true"""
_LAST = """LEFT JOIN LATERAL (SELECT v.* FROM delivery_event v WHERE v.conversation = h.conversation
    ORDER BY v.seq DESC LIMIT 1) last ON true"""


def _counts(row: str) -> str:
    """SQL: whether a row takes an ordinal."""
    return f"""({row}.sender <> '{NIL}' AND {row}.withheld IS NULL AND {row}.kind <> ALL
        ('{{edit,delete,reaction,member_added,member_removed,role,info,timer,vote}}'))"""


# A conversation's id says of which kind it is (delivery.ids).
_KIND = """CASE WHEN substr(%(key)s, 15, 1) = '8' AND substr(%(key)s, 16, 1) BETWEEN '0' AND '3'
    OR EXISTS (SELECT FROM delivery_direct d WHERE d.conversation = %(key)s::uuid) THEN 'direct' ELSE 'group' END"""

HEAD_MISSING = Check(
    "head.missing",
    (),
    """SELECT k.id::text FROM unnest(%(keys)s::uuid[]) k (id)
    WHERE NOT EXISTS (SELECT FROM delivery_head h WHERE h.conversation = k.id)
      AND (EXISTS (SELECT FROM delivery_event v WHERE v.conversation = k.id)
           OR EXISTS (SELECT FROM delivery_member m WHERE m.conversation = k.id))""",
    (
        # Head, ordinals and the rest follow by the checks below. It begins where nothing that is there is below its floor.
        f"""INSERT INTO delivery_head (conversation, kind, created_at, head, floor, withholds)
        SELECT %(key)s::uuid, {_KIND}, coalesce(min(v.at), 0), coalesce(max(v.seq), 0), coalesce(min(v.seq) - 1, 0), false
        FROM delivery_event v WHERE v.conversation = %(key)s::uuid ON CONFLICT DO NOTHING""",
    ),
)

HEAD_BEHIND = Check(
    "head.behind",
    ("head", "last"),
    f"""SELECT h.conversation::text, h.head, last.seq FROM delivery_head h {_LAST}
    WHERE h.conversation = ANY (%(keys)s::uuid[]) AND last.seq > h.head""",
    ("UPDATE delivery_head SET head = %(last)s::bigint WHERE conversation = %(key)s::uuid",),
)

# A seq is never given out twice, so what was expired stays below the head.
HEAD_BELOW_FLOOR = Check(
    "head.below_floor",
    ("head", "floor"),
    f"""SELECT h.conversation::text, h.head, h.floor {_HEADS} AND h.floor > h.head
      AND NOT EXISTS (SELECT FROM delivery_event v WHERE v.conversation = h.conversation)""",
    (
        """UPDATE delivery_head SET head = floor, ordinal = greatest(ordinal, floor_ordinal)
        WHERE conversation = %(key)s::uuid""",
    ),
)

# Below the floor nothing is left, above it nothing is missing: the floor follows the log.
LOG_START = Check(
    "log.start",
    ("floor", "first"),
    f"""SELECT h.conversation::text, h.floor, coalesce(first.seq, h.head + 1) FROM delivery_head h {_FIRST}
    WHERE h.conversation = ANY (%(keys)s::uuid[]) AND coalesce(first.seq, h.head + 1) <> h.floor + 1""",
    (
        f"""UPDATE delivery_head h SET floor = %(first)s::bigint - 1, floor_ordinal = coalesce((
            SELECT greatest(0, v.ordinal - CASE WHEN {_counts("v")} THEN 1 ELSE 0 END) FROM delivery_event v
            WHERE v.conversation = h.conversation AND v.seq = %(first)s::bigint), h.ordinal)
        WHERE h.conversation = %(key)s::uuid""",
    ),
)

# What is gone cannot be had back; rows that are owed to nobody stand in its place, so that every seq leads somewhere. The lost
# messages among them still count as such.
LOG_HOLE = Check(
    "log.hole",
    ("first", "last"),
    f"""SELECT s.conversation::text, s.before + 1, s.seq - 1 FROM (
        SELECT v.conversation, v.seq, lag(v.seq) OVER (PARTITION BY v.conversation ORDER BY v.seq) AS before {_EVENTS}) s
    WHERE s.seq > s.before + 1
    UNION ALL
    SELECT h.conversation::text, last.seq + 1, h.head FROM delivery_head h {_LAST}
    WHERE h.conversation = ANY (%(keys)s::uuid[]) AND last.seq < h.head
    ORDER BY 1, 2""",
    (
        f"""INSERT INTO delivery_event (seq, ordinal, at, sent_at, seq_num, conversation, sender, device, message_id, kind,
                                       body_hash, superseded)
        SELECT s, below.ordinal + greatest(0, least(s - below.seq, coalesce(
                   above.ordinal - CASE WHEN {_counts("above")} THEN 1 ELSE 0 END, h.ordinal) - below.ordinal)),
               below.at, below.at, 0, h.conversation, '{NIL}', '{NIL}', gen_random_uuid(), 'info',
               decode(repeat('00', 16), 'hex'), true
        FROM delivery_head h
        JOIN delivery_event below ON below.conversation = h.conversation AND below.seq = %(first)s::bigint - 1
        LEFT JOIN delivery_event above ON above.conversation = h.conversation AND above.seq = %(last)s::bigint + 1
        CROSS JOIN generate_series(%(first)s::bigint, least(%(last)s::bigint, %(first)s::bigint + {FILL - 1})) s
        WHERE h.conversation = %(key)s::uuid ON CONFLICT DO NOTHING""",
    ),
)

FLOOR_ORDINAL = Check(
    "floor.ordinal",
    ("is", "should"),
    f"""SELECT h.conversation::text, h.floor_ordinal, w.should FROM delivery_head h {_FIRST}
    CROSS JOIN LATERAL (SELECT greatest(0, first.ordinal - CASE WHEN {_counts("first")} THEN 1 ELSE 0 END) AS should) w
    WHERE h.conversation = ANY (%(keys)s::uuid[]) AND first.seq = h.floor + 1 AND first.sender <> '{NIL}'
      AND h.floor_ordinal <> w.should""",
    ("UPDATE delivery_head SET floor_ordinal = %(should)s::bigint WHERE conversation = %(key)s::uuid",),
)

LOG_ORDINAL = Check(
    "log.ordinal",
    ("seq",),
    f"""SELECT s.conversation::text, min(s.seq) FROM (
        SELECT v.conversation, v.seq, v.ordinal, v.sender = '{NIL}' AS void, {_counts("v")} AS counts,
               coalesce(lag(v.ordinal) OVER (PARTITION BY v.conversation ORDER BY v.seq),
                        CASE WHEN v.seq = h.floor + 1 THEN h.floor_ordinal END) AS before {_EVENTS}) s
    WHERE s.before IS NOT NULL AND NOT CASE WHEN s.void THEN s.ordinal BETWEEN s.before AND s.before + 1
        WHEN s.counts THEN s.ordinal = s.before + 1 ELSE s.ordinal = s.before END
    GROUP BY s.conversation""",
    (
        f"""UPDATE delivery_event e SET ordinal = n.ordinal FROM (
            SELECT v.seq, coalesce((SELECT b.ordinal FROM delivery_event b
                                    WHERE b.conversation = h.conversation AND b.seq = %(seq)s::bigint - 1), h.floor_ordinal)
                   + count(*) FILTER (WHERE {_counts("v")}) OVER (ORDER BY v.seq) AS ordinal
            FROM delivery_head h JOIN delivery_event v ON v.conversation = h.conversation AND v.seq >= %(seq)s::bigint
            WHERE h.conversation = %(key)s::uuid) n
        WHERE e.conversation = %(key)s::uuid AND e.seq = n.seq AND e.ordinal <> n.ordinal""",
    ),
)

HEAD_ORDINAL = Check(
    "head.ordinal",
    ("is", "should"),
    """SELECT h.conversation::text, h.ordinal, w.should FROM delivery_head h CROSS JOIN LATERAL (
        SELECT CASE WHEN h.head = h.floor THEN h.floor_ordinal ELSE (
            SELECT v.ordinal FROM delivery_event v WHERE v.conversation = h.conversation AND v.seq = h.head) END AS should) w
    WHERE h.conversation = ANY (%(keys)s::uuid[]) AND h.ordinal <> w.should""",
    ("UPDATE delivery_head SET ordinal = %(should)s::bigint WHERE conversation = %(key)s::uuid",),
)

# Retention looks for it.
HEAD_OLDEST = Check(
    "head.oldest_at",
    ("is", "should"),
    """SELECT h.conversation::text, h.oldest_at, v.at FROM delivery_head h
    LEFT JOIN delivery_event v ON v.conversation = h.conversation AND v.seq = h.floor + 1
    WHERE h.conversation = ANY (%(keys)s::uuid[]) AND h.oldest_at IS DISTINCT FROM v.at""",
    ("UPDATE delivery_head SET oldest_at = %(should)s::bigint WHERE conversation = %(key)s::uuid",),
)

# -- what events say of each other ------------------------------------------------------------------------------------------

EDITED = Check(
    "event.edited",
    ("seq", "edited"),
    f"""SELECT v.conversation::text, v.seq, v.edited {_EVENTS} AND v.edited IS NOT NULL AND NOT EXISTS (
        SELECT FROM delivery_event e
        WHERE e.conversation = v.conversation AND e.seq = v.edited AND (e.target = v.seq OR e.sender = '{NIL}'))""",
    (
        """UPDATE delivery_event v SET edited = (
            SELECT max(e.seq) FROM delivery_event e WHERE e.conversation = v.conversation AND e.target = v.seq
            AND e.superseded IS NULL AND e.withheld IS NULL AND e.kind = 'edit')
        WHERE v.conversation = %(key)s::uuid AND v.seq = %(seq)s::bigint""",
    ),
)

SUPERSEDED = Check(
    "event.superseded",
    ("seq",),
    f"SELECT v.conversation::text, v.seq {_EVENTS} AND v.superseded AND (v.content IS NOT NULL OR v.extra IS NOT NULL)",
    (
        """UPDATE delivery_event SET content = NULL, extra = NULL
        WHERE conversation = %(key)s::uuid AND seq = %(seq)s::bigint AND superseded""",
    ),
)

ABOUT_GONE = Check(
    "event.about_gone",
    ("seq", "target"),
    f"""SELECT v.conversation::text, v.seq, v.target {_EVENTS} AND v.target IS NOT NULL AND v.superseded IS NULL
      AND v.kind <> 'delete' AND EXISTS (
        SELECT FROM delivery_event t WHERE t.conversation = v.conversation AND t.seq = v.target AND t.content IS NULL)""",
    (
        """UPDATE delivery_event SET content = NULL, extra = NULL, superseded = true
        WHERE conversation = %(key)s::uuid AND seq = %(seq)s::bigint""",
    ),
)

# Or it would be kept for longer than its sender said.
VANISHING = Check(
    "vanishing.missing",
    ("seq", "until"),
    f"""SELECT v.conversation::text, v.seq, v.until {_EVENTS} AND v.until IS NOT NULL AND v.target IS NULL
      AND v.content IS NOT NULL AND NOT EXISTS (
        SELECT FROM delivery_vanishing d
        WHERE d.at = v.until AND d.conversation = v.conversation AND d.seq = v.seq)""",
    (
        """INSERT INTO delivery_vanishing (at, seq, conversation)
        VALUES (%(until)s::bigint, %(seq)s::bigint, %(key)s::uuid) ON CONFLICT DO NOTHING""",
    ),
)

SEQNUM_BEHIND = Check(
    "seqnum.behind",
    ("device", "is", "should"),
    f"""SELECT s.conversation::text, s.device::text, coalesce(q.last, 0), s.should FROM (
        SELECT v.conversation, v.device, max(v.seq_num) AS should {_EVENTS} AND v.seq_num > 0 GROUP BY 1, 2) s
    JOIN delivery_device d ON d.device = s.device
    LEFT JOIN delivery_seqnum q ON q.device = s.device AND q.conversation = s.conversation
    WHERE s.should > coalesce(q.last, 0)""",
    (
        """INSERT INTO delivery_seqnum AS q (last, device, conversation)
        VALUES (%(should)s::bigint, %(device)s::uuid, %(key)s::uuid)
        ON CONFLICT (device, conversation) DO UPDATE SET last = greatest(q.last, excluded.last)""",
    ),
)

LOG: Final = (
    HEAD_MISSING,
    HEAD_BEHIND,
    HEAD_BELOW_FLOOR,
    LOG_START,
    LOG_HOLE,
    FLOOR_ORDINAL,
    LOG_ORDINAL,
    HEAD_ORDINAL,
    HEAD_OLDEST,
    EDITED,
    SUPERSEDED,
    ABOUT_GONE,
    VANISHING,
    SEQNUM_BEHIND,
)
