"""The function that appends a batch to the logs."""

from __future__ import annotations

from django.db import migrations

# One round trip a batch. The caller guarantees: no (sender, message_id) twice in one call, and the counted sends of one
# (device, conversation) ascend. First the heads are locked in sorted order; every later statement has a snapshot taken after
# that, so it sees each event committed before it in these conversations. A batch without a retry, a wrong number or an unknown
# conversation, which is nearly every one, is written as it was numbered by the caller; the rest is judged send by send.
# Planner: generic plans, because planning costs more than running, and only the plans that stay right when the tables grow.
APPEND = """
CREATE FUNCTION delivery_append(
    p_writer uuid, p_now bigint,
    p_lock_ms integer,        -- longest wait for a lock, 0: the session's
    p_skip boolean,           -- leave out conversations that others hold: outcome 5
    p_conversation uuid[],    -- distinct and ascending
    -- One item a send, in list order. A null array stands for the value in brackets in every row.
    p_place integer[],        -- of its conversation in p_conversation
    p_sender uuid[], p_device uuid[], p_message_id uuid[], p_sent_at bigint[],
    p_seq_num bigint[],       -- (0)
    p_kinds text[], p_kind integer[],  -- its kind in p_kinds (1)
    p_rank integer[],         -- sends to its conversation up to and including it (1)
    p_ordinal integer[],      -- those of them that are messages (p_rank)
    p_turn integer[],         -- counted sends of its device to its conversation up to and including it (1)
    p_final boolean[],        -- the last of them (true)
    -- One item a conversation.
    p_count integer[],        -- sends (1)
    p_messages integer[],     -- messages (p_count)
    -- Send i in p_body, from byte p_offset[i]: 16 bytes of hash, then content, extra and envelopes of these lengths. A null
    -- length, or a null array, is a null value.
    p_body bytea, p_offset integer[], p_content integer[], p_extra integer[], p_envelopes integer[],
    OUT o_row bigint,         -- of the outbox, 0 when nothing was stored
    OUT o_head bigint[],      -- of p_conversation before the batch: everything was stored as numbered. Otherwise null, and
    OUT o_seq bigint[], OUT o_outcome integer[], OUT o_at bigint[], OUT o_expected bigint[]  -- one item a send
) LANGUAGE plpgsql
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_size integer := array_length(p_message_id, 1);
    v_ordinal bigint[];
    v_locked uuid[];
    v_plain boolean;
BEGIN
    IF p_lock_ms > 0 THEN
        PERFORM set_config('lock_timeout', p_lock_ms::text, true);
    END IF;

    IF p_skip THEN
        SELECT array_agg(l.conversation) INTO v_locked FROM (
            SELECT conversation FROM delivery_head WHERE conversation = ANY (p_conversation)
            ORDER BY conversation FOR NO KEY UPDATE SKIP LOCKED) l;
    ELSE
        SELECT array_agg(l.head), array_agg(l.ordinal) INTO o_head, v_ordinal FROM (
            SELECT head, ordinal FROM delivery_head WHERE conversation = ANY (p_conversation)
            ORDER BY conversation FOR NO KEY UPDATE) l;
        IF array_length(o_head, 1) = array_length(p_conversation, 1) THEN
            SELECT NOT EXISTS (
                    SELECT FROM generate_series(1, v_size) i
                    JOIN delivery_event e ON e.message_id = p_message_id[i] AND e.sender = p_sender[i])
                AND (p_seq_num IS NULL OR NOT EXISTS (
                    SELECT FROM generate_series(1, v_size) i
                    LEFT JOIN delivery_seqnum q ON q.device = p_device[i] AND q.conversation = p_conversation[p_place[i]]
                    WHERE p_seq_num[i] > 0 AND p_seq_num[i] <> coalesce(q.last, 0) + coalesce(p_turn[i], 1)))
            INTO v_plain;
        END IF;
    END IF;

    IF v_plain THEN
        INSERT INTO delivery_event (seq, ordinal, at, sent_at, seq_num, conversation, sender, device, message_id, kind,
                                    body_hash, content, extra, envelopes)
        SELECT o_head[p_place[i]] + coalesce(p_rank[i], 1), v_ordinal[p_place[i]] + coalesce(p_ordinal[i], p_rank[i], 1),
               p_now, p_sent_at[i], coalesce(p_seq_num[i], 0), p_conversation[p_place[i]], p_sender[i], p_device[i],
               p_message_id[i], p_kinds[coalesce(p_kind[i], 1)],
               substr(p_body, p_offset[i] + 1, 16), substr(p_body, p_offset[i] + 17, p_content[i]),
               substr(p_body, p_offset[i] + 17 + coalesce(p_content[i], 0), p_extra[i]),
               substr(p_body, p_offset[i] + 17 + coalesce(p_content[i], 0) + coalesce(p_extra[i], 0), p_envelopes[i])
        FROM generate_series(1, v_size) i;

        UPDATE delivery_head h
        SET head = h.head + coalesce(p_count[k], 1), ordinal = h.ordinal + coalesce(p_messages[k], p_count[k], 1),
            oldest_at = coalesce(h.oldest_at, p_now)
        FROM generate_series(1, array_length(p_conversation, 1)) k WHERE h.conversation = p_conversation[k];

        IF p_seq_num IS NOT NULL THEN
            INSERT INTO delivery_seqnum (last, device, conversation)
            SELECT p_seq_num[i], p_device[i], p_conversation[p_place[i]]
            FROM generate_series(1, v_size) i WHERE p_seq_num[i] > 0 AND coalesce(p_final[i], true)
            ON CONFLICT (device, conversation) DO UPDATE SET last = excluded.last;
        END IF;

        INSERT INTO delivery_outbox (at, writer, conversations, seqs)
        VALUES (p_now, p_writer, p_conversation, (
            SELECT array_agg(o_head[k] + coalesce(p_count[k], 1)) FROM generate_series(1, array_length(o_head, 1)) k))
        RETURNING "row" INTO o_row;
        RETURN;
    END IF;

    o_head := NULL;
    WITH send AS (
        SELECT i, p_conversation[p_place[i]] AS conversation, p_device[i] AS device, coalesce(p_seq_num[i], 0) AS seq_num,
               p_kinds[coalesce(p_kind[i], 1)] AS kind
        FROM generate_series(1, v_size) i
    ), known AS (
        SELECT s.*, h.head, h.ordinal AS head_ordinal, e.seq AS first_seq, e.at AS first_at, coalesce(q.last, 0) AS last,
               CASE WHEN e.seq IS NOT NULL THEN
                        CASE WHEN e.conversation = s.conversation AND e.body_hash = substr(p_body, p_offset[s.i] + 1, 16)
                             THEN 1 ELSE 2 END
                    WHEN h.conversation IS NULL THEN 4
                    WHEN p_skip AND s.conversation <> ALL (coalesce(v_locked, '{}')) THEN 5
                    ELSE 0 END AS before
        FROM send s
        LEFT JOIN delivery_head h ON h.conversation = s.conversation
        LEFT JOIN delivery_event e ON e.message_id = p_message_id[s.i] AND e.sender = p_sender[s.i]
        LEFT JOIN delivery_seqnum q ON s.seq_num > 0 AND q.device = s.device AND q.conversation = s.conversation
    ), judged AS (
        -- The new numbers of a group ascend, so those that run on from the last one are last + 1, last + 2 …
        SELECT k.*,
               CASE WHEN before = 0 AND seq_num > 0 AND seq_num <> last + row_number() OVER (
                        PARTITION BY device, conversation, before = 0 AND seq_num > last ORDER BY i)
                    THEN 3 ELSE before END AS outcome
        FROM known k
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
        SELECT seq, ordinal, p_now, p_sent_at[i], seq_num, conversation, p_sender[i], device, p_message_id[i], kind,
               substr(p_body, p_offset[i] + 1, 16), substr(p_body, p_offset[i] + 17, p_content[i]),
               substr(p_body, p_offset[i] + 17 + coalesce(p_content[i], 0), p_extra[i]),
               substr(p_body, p_offset[i] + 17 + coalesce(p_content[i], 0) + coalesce(p_extra[i], 0), p_envelopes[i])
        FROM numbered WHERE outcome = 0
    ), moved AS (
        SELECT conversation, max(seq) AS seq, max(ordinal) AS ordinal FROM numbered WHERE outcome = 0 GROUP BY conversation
    ), heads AS (
        UPDATE delivery_head h SET head = m.seq, ordinal = m.ordinal, oldest_at = coalesce(h.oldest_at, p_now)
        FROM moved m WHERE h.conversation = m.conversation
    ), lasts AS (
        INSERT INTO delivery_seqnum (last, device, conversation)
        SELECT max(seq_num), device, conversation FROM numbered WHERE outcome = 0 AND seq_num > 0
        GROUP BY device, conversation
        ON CONFLICT (device, conversation) DO UPDATE SET last = excluded.last
    ), outboxed AS (
        INSERT INTO delivery_outbox (at, writer, conversations, seqs)
        SELECT p_now, p_writer, array_agg(conversation), array_agg(seq) FROM moved HAVING count(*) > 0
        RETURNING "row"
    )
    SELECT coalesce((SELECT "row" FROM outboxed), 0),
           array_agg(CASE outcome WHEN 0 THEN seq WHEN 1 THEN first_seq ELSE 0 END ORDER BY i),
           array_agg(outcome ORDER BY i),
           array_agg(CASE outcome WHEN 0 THEN p_now WHEN 1 THEN first_at ELSE 0 END ORDER BY i),
           array_agg(CASE outcome WHEN 3 THEN last + counted + 1 ELSE 0 END ORDER BY i)
    INTO o_row, o_seq, o_outcome, o_at, o_expected FROM numbered;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("delivery", "0002_functions")]

    operations = [migrations.RunSQL(APPEND, reverse_sql="DROP FUNCTION delivery_append")]
