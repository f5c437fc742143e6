"""Storage settings of the hot tables and the functions that append to the log and expire it."""

from __future__ import annotations

from django.db import migrations

STORAGE = """
ALTER TABLE delivery_outbox ALTER COLUMN "row" ADD GENERATED ALWAYS AS IDENTITY;

-- Content is encrypted by the client: compressing it costs time and gains nothing.
ALTER TABLE delivery_event ALTER COLUMN content SET STORAGE EXTERNAL;
ALTER TABLE delivery_event ALTER COLUMN envelopes SET STORAGE EXTERNAL;

-- Rows updated over and over: room in the page for HOT updates, and vacuum by a fixed number of dead rows.
ALTER TABLE delivery_head SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE delivery_seqnum SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE delivery_receipt SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE delivery_position SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE delivery_progress SET (fillfactor = 50, autovacuum_vacuum_threshold = 200);
-- Insert-only: freeze in small steps, keep the visibility map fresh.
ALTER TABLE delivery_event SET (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
ALTER TABLE delivery_outbox SET (autovacuum_vacuum_insert_scale_factor = 0.1);
"""

# One round trip a batch. The caller guarantees: no (sender, message_id) twice in one call, and the counted sends of a
# (device, conversation) ascend. Statement 1 takes the heads' locks in sorted order; statement 2 runs under a snapshot taken
# after them, so it sees every event committed before it in these conversations. Numbers of outcomes: store/interface.py,
# and 5: the head is locked by another transaction (only with p_skip).
APPEND = """
CREATE FUNCTION delivery_append(
    p_writer uuid, p_now bigint, p_lock_ms integer, p_skip boolean,
    p_conversation uuid[], p_sender uuid[], p_device uuid[], p_message_id uuid[], p_kind text[],
    p_sent_at bigint[], p_seq_num bigint[],
    -- Row i of the batch in p_body, from byte p_offset[i]: 16 bytes of hash, then content, extra and envelopes of these
    -- lengths. A null length, or a null array for a column nobody uses, is a null value.
    p_body bytea, p_offset integer[], p_content integer[], p_extra integer[], p_envelopes integer[],
    -- Out: outbox row, seqs; the others are null when everything was stored.
    OUT o_row bigint, OUT o_seq bigint[], OUT o_outcome integer[], OUT o_at bigint[], OUT o_expected bigint[]
) LANGUAGE plpgsql
  SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off
AS $$
DECLARE
    v_locked uuid[];
BEGIN
    IF p_lock_ms > 0 THEN
        PERFORM set_config('lock_timeout', p_lock_ms::text, true);
    END IF;
    IF p_skip THEN
        SELECT array_agg(l.conversation) INTO v_locked FROM (
            SELECT h.conversation FROM delivery_head h WHERE h.conversation = ANY (p_conversation)
            ORDER BY h.conversation FOR NO KEY UPDATE SKIP LOCKED) l;
    ELSE
        PERFORM 1 FROM delivery_head h WHERE h.conversation = ANY (p_conversation)
            ORDER BY h.conversation FOR NO KEY UPDATE;
    END IF;

    WITH send AS (
        SELECT s.*, h.head, h.ordinal AS head_ordinal, e.seq AS first_seq, e.at AS first_at,
               CASE WHEN e.seq IS NOT NULL THEN
                        CASE WHEN e.conversation = s.conversation AND e.body_hash = substr(p_body, s.start + 1, 16)
                             THEN 1 ELSE 2 END
                    WHEN h.conversation IS NULL THEN 4
                    WHEN p_skip AND s.conversation <> ALL (v_locked) THEN 5
                    ELSE 0 END AS known,
               coalesce(q.last, 0) AS last
        FROM unnest(p_conversation, p_sender, p_device, p_message_id, p_kind, p_sent_at, p_seq_num, p_offset, p_content,
                    p_extra, p_envelopes) WITH ORDINALITY
             AS s (conversation, sender, device, message_id, kind, sent_at, seq_num, start, content, extra, envelopes, i)
        LEFT JOIN delivery_head h ON h.conversation = s.conversation
        LEFT JOIN delivery_event e ON e.message_id = s.message_id AND e.sender = s.sender
        LEFT JOIN delivery_seqnum q ON s.seq_num > 0 AND q.device = s.device AND q.conversation = s.conversation
    ), judged AS (
        SELECT s.*,
               CASE WHEN known = 0 AND seq_num > 0 AND seq_num <> last + row_number() OVER (
                        PARTITION BY device, conversation, known = 0 AND seq_num > last ORDER BY i)
                    THEN 3 ELSE known END AS outcome
        FROM send s
    ), numbered AS (
        SELECT j.*,
               head + row_number() OVER w AS seq,
               head_ordinal + count(*) FILTER (WHERE kind <> ALL
                   ('{edit,delete,reaction,member_added,member_removed,role,info,timer}')) OVER w AS ordinal,
               count(*) FILTER (WHERE outcome = 0 AND seq_num > 0) OVER (PARTITION BY device, conversation
                   ORDER BY i ROWS UNBOUNDED PRECEDING) AS counted
        FROM judged j
        WINDOW w AS (PARTITION BY conversation, outcome = 0 ORDER BY i ROWS UNBOUNDED PRECEDING)
    ), stored AS (
        INSERT INTO delivery_event (seq, ordinal, at, sent_at, seq_num, conversation, sender, device, message_id, kind,
                                    body_hash, content, extra, envelopes)
        SELECT seq, ordinal, p_now, sent_at, seq_num, conversation, sender, device, message_id, kind,
               substr(p_body, start + 1, 16), substr(p_body, start + 17, content),
               substr(p_body, start + 17 + coalesce(content, 0), extra),
               substr(p_body, start + 17 + coalesce(content, 0) + coalesce(extra, 0), envelopes)
        FROM numbered WHERE outcome = 0
    ), moved AS (
        SELECT conversation, max(seq) AS seq, max(ordinal) AS ordinal FROM numbered WHERE outcome = 0 GROUP BY conversation
    ), heads AS (
        UPDATE delivery_head h SET head = m.seq, ordinal = m.ordinal, oldest_at = coalesce(h.oldest_at, p_now)
        FROM moved m WHERE h.conversation = m.conversation
    ), lasts AS (
        INSERT INTO delivery_seqnum AS q (last, device, conversation)
        SELECT max(seq_num), device, conversation FROM numbered WHERE outcome = 0 AND seq_num > 0
        GROUP BY device, conversation ORDER BY device, conversation
        ON CONFLICT (device, conversation) DO UPDATE SET last = excluded.last
    ), outboxed AS (
        INSERT INTO delivery_outbox (at, writer, conversations, seqs)
        SELECT p_now, p_writer, array_agg(conversation), array_agg(seq) FROM moved HAVING count(*) > 0
        RETURNING "row"
    )
    SELECT coalesce((SELECT "row" FROM outboxed), 0),
           array_agg(CASE WHEN outcome = 0 THEN seq WHEN outcome = 1 THEN first_seq ELSE 0 END ORDER BY i),
           CASE WHEN max(outcome) > 0 THEN array_agg(outcome ORDER BY i) END,
           CASE WHEN max(outcome) > 0 THEN
               array_agg(CASE WHEN outcome = 0 THEN p_now WHEN outcome = 1 THEN first_at ELSE 0 END ORDER BY i) END,
           CASE WHEN max(outcome) > 0 THEN
               array_agg(CASE WHEN outcome = 3 THEN last + counted + 1 ELSE 0 END ORDER BY i) END
    INTO o_row, o_seq, o_outcome, o_at, o_expected FROM numbered;
END $$;
"""

# Oldest events first, in one transaction with the floor that hides them and the positions that pass them. Heads are locked in
# sorted order, as an append does; devices and positions in the order in which "save" locks them.
EXPIRE = """
CREATE FUNCTION delivery_expire(p_before bigint, p_limit bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_ids uuid[];
    v_floors bigint[];
    v_count bigint;
BEGIN
    LOOP
        SELECT array_agg(c.conversation) INTO v_ids FROM (
            SELECT conversation FROM delivery_head WHERE oldest_at < p_before ORDER BY oldest_at LIMIT least(p_limit, 500)) c;
        IF v_ids IS NULL THEN
            RETURN 0;
        END IF;
        PERFORM 1 FROM delivery_head WHERE conversation = ANY (v_ids) ORDER BY conversation FOR NO KEY UPDATE;

        -- What expires is the part of the log before its first younger event, so that a floor says it all.
        SELECT array_agg(conversation), array_agg(floor + least(size, p_limit - before)), sum(least(size, p_limit - before))
        INTO v_ids, v_floors, v_count
        FROM (
            SELECT conversation, floor, size, sum(size) OVER (ORDER BY conversation) - size AS before
            FROM (
                SELECT h.conversation, h.floor, coalesce((
                    SELECT v.seq - 1 FROM delivery_event v
                    WHERE v.conversation = h.conversation AND v.seq > h.floor AND v.seq <= h.floor + p_limit
                      AND v.at >= p_before
                    ORDER BY v.seq LIMIT 1), least(h.head, h.floor + p_limit)) - h.floor AS size
                FROM delivery_head h WHERE h.conversation = ANY (v_ids)) s) t
        WHERE before < p_limit;

        UPDATE delivery_head h
        SET floor = c.floor,
            floor_ordinal = coalesce((SELECT v.ordinal FROM delivery_event v
                                      WHERE v.conversation = h.conversation AND v.seq = c.floor), h.floor_ordinal),
            oldest_at = (SELECT v.at FROM delivery_event v WHERE v.conversation = h.conversation AND v.seq = c.floor + 1)
        FROM unnest(v_ids, v_floors) AS c (conversation, floor) WHERE h.conversation = c.conversation;

        -- Nothing expired: only the time of an oldest event was stale. Look for others.
        CONTINUE WHEN v_count = 0;

        WITH device AS MATERIALIZED (
            SELECT device, member FROM delivery_device
            WHERE member IN (SELECT member FROM delivery_member WHERE conversation = ANY (v_ids))
            ORDER BY device FOR KEY SHARE
        ), owed AS (
            SELECT m.conversation, m.member, c.floor, min(m.joined_seq) - 1 AS start,
                   max(least(c.floor, CASE m.left_seq WHEN 0 THEN c.floor ELSE m.left_seq END)) AS last
            FROM unnest(v_ids, v_floors) AS c (conversation, floor)
            JOIN delivery_member m ON m.conversation = c.conversation AND m.joined_seq <= c.floor
            GROUP BY m.conversation, m.member, c.floor
        )
        INSERT INTO delivery_position AS p (acked, expired, device, conversation)
        SELECT o.floor, o.floor, d.device, o.conversation
        FROM owed o JOIN device d ON d.member = o.member
        LEFT JOIN delivery_position q ON q.device = d.device AND q.conversation = o.conversation
        WHERE o.last > greatest(q.acked, o.start)
        ORDER BY d.device, o.conversation
        ON CONFLICT (device, conversation) DO UPDATE SET acked = excluded.acked, expired = excluded.expired
        WHERE p.acked < excluded.acked;

        DELETE FROM delivery_event e USING unnest(v_ids, v_floors) AS c (conversation, floor)
        WHERE e.conversation = c.conversation AND e.seq <= c.floor;
        RETURN v_count;
    END LOOP;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("delivery", "0001_initial")]

    operations = [
        migrations.RunSQL(STORAGE, reverse_sql=migrations.RunSQL.noop),
        migrations.RunSQL(APPEND, reverse_sql="DROP FUNCTION delivery_append"),
        migrations.RunSQL(EXPIRE, reverse_sql="DROP FUNCTION delivery_expire"),
    ]
