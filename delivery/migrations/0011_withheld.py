"""What one user of a direct conversation writes and the other, having blocked the first, must never get.

An event is withheld or not from its append on: a block and an append both hold the head's row, so one comes before the other. It
is owed to its sender alone, and counts in nobody's unread number, because it takes no ordinal.
"""

from __future__ import annotations

from django.db import migrations, models

WITHHOLD = """
-- p_member blocks p_sender, or does so no more. Returns their direct conversation, null when there is none: then the lock keeps
-- it from being opened before this transaction has ended.
CREATE FUNCTION delivery_withhold(p_member uuid, p_sender uuid, p_on boolean, p_now bigint) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    v_conversation uuid;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(
        least(p_member, p_sender)::text || greatest(p_member, p_sender)::text, 0));
    SELECT conversation INTO v_conversation FROM delivery_direct
    WHERE low = least(p_member, p_sender) AND high = greatest(p_member, p_sender);
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM 1 FROM delivery_head WHERE conversation = v_conversation FOR NO KEY UPDATE;
    IF p_on THEN
        INSERT INTO delivery_withheld AS w (owed, through, conversation, member, sender, active)
        VALUES (0, 0, v_conversation, p_member, p_sender, true)
        ON CONFLICT (conversation, member) DO UPDATE SET active = true;
        UPDATE delivery_head SET withholds = true WHERE conversation = v_conversation AND NOT withholds;
        -- What each is shown of the other's receipts stays as it is.
        INSERT INTO delivery_receipt AS r (conversation, member, shown_delivered, shown_read, shown_at)
        VALUES (v_conversation, least(p_member, p_sender), 0, 0, 0), (v_conversation, greatest(p_member, p_sender), 0, 0, 0)
        ON CONFLICT (conversation, member) DO UPDATE
        SET shown_delivered = r.delivered, shown_read = r.read, shown_at = r.changed_at WHERE r.shown_at IS NULL;
    ELSE
        UPDATE delivery_withheld SET active = false WHERE conversation = v_conversation AND member = p_member AND active;
        IF FOUND AND NOT EXISTS (SELECT FROM delivery_withheld WHERE conversation = v_conversation AND active) THEN
            -- In the order in which receipts are saved.
            PERFORM 1 FROM delivery_receipt WHERE conversation = v_conversation ORDER BY member FOR NO KEY UPDATE;
            UPDATE delivery_receipt
            SET changed_at = CASE WHEN delivered > shown_delivered OR read > shown_read
                                  THEN greatest(changed_at, p_now) ELSE changed_at END,
                shown_delivered = NULL, shown_read = NULL, shown_at = NULL
            WHERE conversation = v_conversation AND shown_at IS NOT NULL;
        END IF;
    END IF;
    RETURN v_conversation;
END $$;

-- The last seq that is owed to a member of a conversation that withholds something.
CREATE FUNCTION delivery_owed(p_conversation uuid, p_member uuid, p_head bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN coalesce((SELECT w.owed FROM delivery_withheld w
                     WHERE w.conversation = p_conversation AND w.member = p_member AND w.through >= p_head), p_head);
END $$;

-- Called by delivery_append behind its writes, only for a batch with a conversation that withholds something: which of the sends
-- that it stored are withheld.
CREATE FUNCTION delivery_hide(
    p_conversation uuid[], p_place integer[], p_sender uuid[], p_message_id uuid[],
    p_outcome integer[]  -- null: all were stored
) RETURNS integer[] LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_found integer[];
    v_one record;
BEGIN
    FOR v_one IN
        WITH sent AS (
            SELECT i, e.conversation, e.seq, e.sender, w.sender IS NOT NULL AS hidden,
                   count(*) FILTER (WHERE w.sender IS NOT NULL AND e.kind <> ALL
                       ('{edit,delete,reaction,member_added,member_removed,role,info,timer}'))
                       OVER (PARTITION BY e.conversation ORDER BY e.seq) AS less
            FROM generate_series(1, array_length(p_message_id, 1)) i
            JOIN delivery_head h ON h.conversation = p_conversation[p_place[i]] AND h.withholds
            JOIN delivery_event e ON e.message_id = p_message_id[i] AND e.sender = p_sender[i]
            LEFT JOIN delivery_withheld w ON w.conversation = h.conversation AND w.sender = e.sender AND w.active
            WHERE p_outcome IS NULL OR p_outcome[i] = 0
        ), events AS (
            UPDATE delivery_event e SET withheld = CASE WHEN s.hidden THEN true END, ordinal = e.ordinal - s.less
            FROM sent s WHERE e.conversation = s.conversation AND e.seq = s.seq AND (s.hidden OR s.less > 0)
        ), heads AS (
            UPDATE delivery_head h SET ordinal = h.ordinal - m.less
            FROM (SELECT conversation, max(less) AS less FROM sent GROUP BY conversation) m
            WHERE h.conversation = m.conversation AND m.less > 0
        )
        SELECT i, conversation, seq, sender FROM sent WHERE hidden ORDER BY conversation, seq
    LOOP
        v_found := v_found || v_one.i;
        UPDATE delivery_withheld
        SET owed = CASE WHEN through = v_one.seq - 1 THEN owed ELSE v_one.seq - 1 END, through = v_one.seq
        WHERE conversation = v_one.conversation AND sender = v_one.sender;
    END LOOP;
    RETURN v_found;
END $$;
"""

# As 0003_append and 0009_amendments, and: the head says whether something is withheld.
APPEND = """
DROP FUNCTION delivery_append;
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
    OUT o_seq bigint[], OUT o_outcome integer[], OUT o_at bigint[], OUT o_expected bigint[],  -- one item a send
    OUT o_withheld integer[]  -- sends that are withheld from the other user; null: none
) LANGUAGE plpgsql
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_size integer := array_length(p_message_id, 1);
    v_ordinal bigint[];
    v_locked uuid[];
    v_plain boolean;
    v_withholds boolean;
BEGIN
    IF p_lock_ms > 0 THEN
        PERFORM set_config('lock_timeout', p_lock_ms::text, true);
    END IF;

    IF p_skip THEN
        SELECT array_agg(l.conversation), bool_or(l.withholds) INTO v_locked, v_withholds FROM (
            SELECT conversation, withholds FROM delivery_head WHERE conversation = ANY (p_conversation)
            ORDER BY conversation FOR NO KEY UPDATE SKIP LOCKED) l;
    ELSE
        SELECT array_agg(l.head), array_agg(l.ordinal), bool_or(l.withholds) INTO o_head, v_ordinal, v_withholds FROM (
            SELECT head, ordinal, withholds FROM delivery_head WHERE conversation = ANY (p_conversation)
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
        IF v_withholds THEN
            o_withheld := delivery_hide(p_conversation, p_place, p_sender, p_message_id, NULL);
        END IF;
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
    IF v_withholds THEN
        o_withheld := delivery_hide(p_conversation, p_place, p_sender, p_message_id, o_outcome);
    END IF;
END $$;
"""

AMEND = """
DROP FUNCTION delivery_amend;
CREATE FUNCTION delivery_amend(
    p_writer uuid, p_now bigint,
    p_lock_ms integer,        -- longest wait for a lock, 0: the session's
    p_skip boolean,           -- leave out conversations that others hold: outcome 5
    p_conversation uuid[],    -- distinct and ascending
    -- One item a send, in list order.
    p_place integer[],        -- of its conversation in p_conversation
    p_sender uuid[], p_device uuid[], p_message_id uuid[], p_sent_at bigint[], p_seq_num bigint[], p_kind text[],
    p_target uuid[],          -- message_id of the message it is about, null: it is a message itself
    p_oldest bigint[],        -- the target must not have been appended before
    p_distinct integer[],     -- distinct reactions a message may have
    -- Send i in p_body as for delivery_append.
    p_body bytea, p_offset integer[], p_content integer[], p_extra integer[], p_envelopes integer[],
    OUT o_row bigint, OUT o_head bigint[],  -- always null
    OUT o_seq bigint[], OUT o_outcome integer[], OUT o_at bigint[], OUT o_expected bigint[],
    OUT o_withheld integer[]  -- as of delivery_append
) LANGUAGE plpgsql
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_size integer := array_length(p_message_id, 1);
    v_held uuid[];  -- with p_skip: what is locked here
    v_head bigint[]; v_ordinal bigint[]; v_direct boolean[];  -- null: no such conversation
    v_before bigint[];
    v_k integer; v_c uuid; v_outcome integer; v_place bigint; v_last bigint;
    v_hash bytea; v_content bytea; v_extra bytea;
    v_first_c uuid; v_first_hash bytea; v_first_at bigint;
    v_withholds boolean[]; v_hidden boolean;
    v_t bigint; v_t_sender uuid; v_t_at bigint; v_t_gone boolean; v_t_edited bigint; v_t_message boolean;
    v_t_hidden boolean; v_t_replaced bigint;
    v_old bigint; v_old_content bytea;
BEGIN
    o_row := 0;
    IF p_lock_ms > 0 THEN
        PERFORM set_config('lock_timeout', p_lock_ms::text, true);
    END IF;
    IF p_skip THEN
        SELECT array_agg(l.conversation) INTO v_held FROM (
            SELECT conversation FROM delivery_head WHERE conversation = ANY (p_conversation)
            ORDER BY conversation FOR NO KEY UPDATE SKIP LOCKED) l;
    ELSE
        PERFORM 1 FROM delivery_head WHERE conversation = ANY (p_conversation) ORDER BY conversation FOR NO KEY UPDATE;
        v_held := p_conversation;
    END IF;
    -- A later snapshot than the locks': what was committed before them is seen.
    SELECT array_agg(h.head ORDER BY c.i), array_agg(h.ordinal ORDER BY c.i), array_agg(h.kind = 'direct' ORDER BY c.i),
           array_agg(h.withholds ORDER BY c.i)
    INTO v_head, v_ordinal, v_direct, v_withholds
    FROM unnest(p_conversation) WITH ORDINALITY c (id, i) LEFT JOIN delivery_head h ON h.conversation = c.id;
    v_before := v_head;

    FOR i IN 1 .. v_size LOOP
        v_k := p_place[i];
        v_c := p_conversation[v_k];
        v_hash := substr(p_body, p_offset[i] + 1, 16);
        v_content := substr(p_body, p_offset[i] + 17, p_content[i]);
        v_extra := substr(p_body, p_offset[i] + 17 + coalesce(p_content[i], 0), p_extra[i]);
        v_outcome := 0;
        v_last := 0;
        o_expected[i] := 0;
        v_t_hidden := false;

        SELECT e.seq, e.at, e.conversation, e.body_hash INTO v_place, v_first_at, v_first_c, v_first_hash
        FROM delivery_event e WHERE e.message_id = p_message_id[i] AND e.sender = p_sender[i];
        IF FOUND THEN
            v_outcome := CASE WHEN v_first_c = v_c AND v_first_hash = v_hash THEN 1 ELSE 2 END;
        ELSIF v_head[v_k] IS NULL THEN
            v_outcome := 4;
        ELSIF v_c <> ALL (coalesce(v_held, '{}')) THEN
            v_outcome := 5;
        ELSIF p_seq_num[i] > 0 THEN
            SELECT coalesce(max(q.last), 0) INTO v_last FROM delivery_seqnum q
            WHERE q.device = p_device[i] AND q.conversation = v_c;
            IF p_seq_num[i] <> v_last + 1 THEN
                v_outcome := 3;
                o_expected[i] := v_last + 1;
            END IF;
        END IF;

        IF v_outcome = 0 AND p_target[i] IS NOT NULL THEN
            -- OFFSET 0: by the message id, never by a walk along the log.
            SELECT t.seq, t.sender, t.at, t.content IS NULL, t.edited,
                   t.kind <> ALL ('{edit,delete,reaction,member_added,member_removed,role,info,timer}'),
                   t.withheld IS NOT NULL, t.replaced
            INTO v_t, v_t_sender, v_t_at, v_t_gone, v_t_edited, v_t_message, v_t_hidden, v_t_replaced
            FROM (SELECT * FROM delivery_event WHERE message_id = p_target[i] OFFSET 0) t
            WHERE t.conversation = v_c ORDER BY t.seq LIMIT 1;
            IF NOT FOUND OR NOT v_t_message OR v_t_hidden AND v_t_sender <> p_sender[i] OR NOT EXISTS (
                    SELECT FROM delivery_member m WHERE m.conversation = v_c AND m.member = p_sender[i]
                    AND m.joined_seq <= v_t AND (m.left_seq = 0 OR m.left_seq >= v_t)) THEN
                v_outcome := 6;
            ELSIF p_kind[i] = 'edit' AND v_t_sender <> p_sender[i] THEN
                v_outcome := 7;
            ELSIF p_kind[i] = 'delete' AND v_t_sender <> p_sender[i] AND (v_direct[v_k] OR NOT EXISTS (
                    SELECT FROM delivery_member m WHERE m.conversation = v_c AND m.member = p_sender[i]
                    AND m.left_seq = 0 AND m.speaker)) THEN
                v_outcome := 7;
            ELSIF v_t_gone THEN
                v_outcome := 8;
            ELSIF v_t_at < p_oldest[i] THEN
                v_outcome := 9;
            ELSIF p_kind[i] = 'reaction' THEN
                SELECT e.seq, e.content INTO v_old, v_old_content FROM delivery_event e
                WHERE e.conversation = v_c AND e.target = v_t AND e.sender = p_sender[i] AND e.superseded IS NULL
                  AND e.kind = 'reaction' ORDER BY e.seq DESC LIMIT 1;
                IF v_content = '' AND (v_old IS NULL OR v_old_content = '') THEN
                    v_outcome := 6;
                ELSIF v_content <> '' AND NOT EXISTS (
                        SELECT FROM delivery_event e WHERE e.conversation = v_c AND e.target = v_t
                        AND e.superseded IS NULL AND e.kind = 'reaction' AND e.content = v_content
                        AND (e.withheld IS NULL OR e.sender = p_sender[i]))
                    AND (SELECT count(DISTINCT e.content) FROM delivery_event e WHERE e.conversation = v_c
                         AND e.target = v_t AND e.superseded IS NULL AND e.kind = 'reaction' AND e.content <> ''
                         AND e.withheld IS NULL AND e.sender <> p_sender[i]) >= p_distinct[i] THEN
                    v_outcome := 10;
                END IF;
            END IF;
        END IF;

        IF v_outcome = 0 THEN
            v_place := v_head[v_k] + 1;
            v_head[v_k] := v_place;
            -- What is said about a withheld message would reveal it, also after an unblock.
            v_hidden := v_withholds[v_k] AND (coalesce(v_t_hidden, false) OR EXISTS (
                SELECT FROM delivery_withheld w WHERE w.conversation = v_c AND w.sender = p_sender[i] AND w.active));
            IF NOT v_hidden
               AND p_kind[i] <> ALL ('{edit,delete,reaction,member_added,member_removed,role,info,timer}') THEN
                v_ordinal[v_k] := v_ordinal[v_k] + 1;
            END IF;
            INSERT INTO delivery_event (seq, ordinal, at, sent_at, seq_num, conversation, sender, device, message_id, kind,
                                        body_hash, content, extra, envelopes, target, withheld)
            VALUES (v_place, v_ordinal[v_k], p_now, p_sent_at[i], p_seq_num[i], v_c, p_sender[i], p_device[i],
                    p_message_id[i], p_kind[i], v_hash, v_content, v_extra,
                    substr(p_body, p_offset[i] + 17 + coalesce(p_content[i], 0) + coalesce(p_extra[i], 0), p_envelopes[i]),
                    CASE WHEN p_target[i] IS NOT NULL THEN v_t END, CASE WHEN v_hidden THEN true END);
            IF v_hidden THEN
                o_withheld := o_withheld || i;
                UPDATE delivery_withheld SET owed = CASE WHEN through = v_place - 1 THEN owed ELSE v_place - 1 END,
                       through = v_place
                WHERE conversation = v_c AND sender = p_sender[i];
            END IF;
            IF p_seq_num[i] > 0 THEN
                INSERT INTO delivery_seqnum (last, device, conversation) VALUES (p_seq_num[i], p_device[i], v_c)
                ON CONFLICT (device, conversation) DO UPDATE SET last = excluded.last;
            END IF;
            IF p_target[i] IS NULL THEN
                NULL;
            ELSIF v_hidden AND NOT v_t_hidden AND p_kind[i] <> 'delete' THEN
                -- The other user has what it is about, and keeps it as it was: the sender alone reads it as changed.
                UPDATE delivery_event SET content = NULL, extra = NULL, superseded = true
                WHERE conversation = v_c AND target = v_t AND sender = p_sender[i] AND kind = p_kind[i]
                  AND superseded IS NULL AND withheld AND seq <> v_place;
                UPDATE delivery_event SET replaced = v_place
                WHERE conversation = v_c AND target = v_t AND sender = p_sender[i] AND kind = p_kind[i]
                  AND superseded IS NULL AND withheld IS NULL;
                IF p_kind[i] = 'edit' THEN
                    UPDATE delivery_event SET replaced = v_place WHERE conversation = v_c AND seq = v_t;
                END IF;
            ELSIF p_kind[i] = 'edit' THEN
                UPDATE delivery_event SET content = NULL, extra = NULL, superseded = true
                WHERE conversation = v_c AND seq IN (v_t_edited, v_t_replaced);
                UPDATE delivery_event SET content = v_content, edited = v_place, replaced = NULL
                WHERE conversation = v_c AND seq = v_t;
            ELSIF p_kind[i] = 'delete' THEN
                UPDATE delivery_event SET content = NULL, extra = NULL, envelopes = NULL, edited = NULL, replaced = NULL
                WHERE conversation = v_c AND seq = v_t;
                UPDATE delivery_event SET content = NULL, extra = NULL, superseded = true
                WHERE conversation = v_c AND target = v_t AND superseded IS NULL AND seq <> v_place;
            ELSIF p_kind[i] = 'reaction' THEN
                UPDATE delivery_event SET content = NULL, extra = NULL, superseded = true
                WHERE conversation = v_c AND target = v_t AND sender = p_sender[i] AND kind = 'reaction'
                  AND superseded IS NULL AND seq <> v_place;
            END IF;
        END IF;
        o_outcome[i] := v_outcome;
        o_seq[i] := CASE WHEN v_outcome <= 1 THEN v_place ELSE 0 END;
        o_at[i] := CASE v_outcome WHEN 0 THEN p_now WHEN 1 THEN v_first_at ELSE 0 END;
    END LOOP;

    IF v_head IS DISTINCT FROM v_before THEN
        UPDATE delivery_head h SET head = v_head[k], ordinal = v_ordinal[k], oldest_at = coalesce(h.oldest_at, p_now)
        FROM generate_series(1, array_length(p_conversation, 1)) k
        WHERE h.conversation = p_conversation[k] AND v_head[k] > v_before[k];
        INSERT INTO delivery_outbox (at, writer, conversations, seqs)
        SELECT p_now, p_writer, array_agg(p_conversation[k] ORDER BY k), array_agg(v_head[k] ORDER BY k)
        FROM generate_series(1, array_length(p_conversation, 1)) k WHERE v_head[k] > v_before[k]
        RETURNING "row" INTO o_row;
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("delivery", "0010_vanishing")]

    operations = [
        migrations.AddField(
            model_name="head",
            name="withholds",
            field=models.BooleanField(
                db_default=False, help_text="something is, or may be, withheld from a member"
            ),
        ),
        migrations.AddField(
            model_name="event",
            name="withheld",
            field=models.BooleanField(help_text="owed to its sender alone", null=True),
        ),
        migrations.AddField(
            model_name="event",
            name="replaced",
            field=models.BigIntegerField(
                help_text="seq of the withheld event that for its sender stands in its place", null=True
            ),
        ),
        migrations.AddField(
            model_name="memberreceipt",
            name="shown_delivered",
            field=models.BigIntegerField(
                help_text="what others are shown, if it is something else", null=True
            ),
        ),
        migrations.AddField(
            model_name="memberreceipt", name="shown_read", field=models.BigIntegerField(null=True)
        ),
        migrations.AddField(
            model_name="memberreceipt",
            name="shown_at",
            field=models.BigIntegerField(help_text="when that last moved", null=True),
        ),
        migrations.CreateModel(
            name="Withheld",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "conversation",
                        "member",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("owed", models.BigIntegerField(help_text="the seq before the latest run of withheld ones")),
                ("through", models.BigIntegerField(help_text="the end of that run, 0: there was none")),
                ("conversation", models.UUIDField()),
                ("member", models.UUIDField(help_text="who has blocked")),
                ("sender", models.UUIDField(help_text="whom")),
                ("active", models.BooleanField(help_text="the block is in force")),
            ],
            options={
                "db_table": "delivery_withheld",
                "indexes": [
                    models.Index(
                        fields=["member"], name="delivery_withheld_by", condition=models.Q(("active", True))
                    ),
                    models.Index(
                        fields=["sender"], name="delivery_withheld_of", condition=models.Q(("active", True))
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            WITHHOLD,
            reverse_sql="DROP FUNCTION delivery_withhold, delivery_owed, delivery_hide",
        ),
        # No way back: without these columns the earlier functions would show what is withheld.
        migrations.RunSQL(APPEND),
        migrations.RunSQL(AMEND),
    ]
