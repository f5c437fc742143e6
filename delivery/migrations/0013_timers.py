"""The timer of a conversation, when what a message says is gone, and votes.

``until`` stands with the event: what is about a message that goes has it too, nothing shows either when their time has come,
and a message that has gone still says for how long it was kept. The timer is a column of the head, which an append reads with
the lock that it takes anyway, so a message behind a change of the timer has the new one, whoever sent it over whichever gateway.
"""

from __future__ import annotations

from django.db import migrations, models

TIMER = """
-- Called by delivery_append behind its writes, only for a batch with a conversation that has a timer or withholds something: the
-- messages it stored there end by the timer, as their senders know it. Returns when, one item a send; null: none does.
CREATE FUNCTION delivery_time(
    p_conversation uuid[], p_place integer[], p_sender uuid[], p_message_id uuid[],
    p_outcome integer[],  -- null: all were stored
    p_now bigint
) RETURNS bigint[] LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_found bigint[];
    v_any boolean;
BEGIN
    WITH timed AS (
        SELECT i, e.conversation, e.seq, p_now + 1000 * coalesce(w.timer, h.timer)::bigint AS until
        FROM generate_series(1, array_length(p_message_id, 1)) i
        JOIN delivery_head h ON h.conversation = p_conversation[p_place[i]] AND (h.timer IS NOT NULL OR h.withholds)
        JOIN delivery_event e ON e.message_id = p_message_id[i] AND e.sender = p_sender[i]
        LEFT JOIN delivery_withheld w ON h.withholds AND w.conversation = h.conversation AND w.sender = e.sender
        WHERE (p_outcome IS NULL OR p_outcome[i] = 0) AND coalesce(w.timer, h.timer) > 0
          AND e.kind <> ALL ('{edit,delete,reaction,member_added,member_removed,role,info,timer,vote}')
    ), kept AS (
        UPDATE delivery_event e SET until = t.until FROM timed t WHERE e.conversation = t.conversation AND e.seq = t.seq
    ), ends AS (
        INSERT INTO delivery_vanishing (at, seq, conversation) SELECT until, seq, conversation FROM timed
    )
    SELECT array_agg(coalesce(t.until, 0) ORDER BY s.i), count(t.until) > 0 INTO v_found, v_any
    FROM generate_series(1, array_length(p_message_id, 1)) s (i) LEFT JOIN timed t ON t.i = s.i;
    RETURN CASE WHEN v_any THEN v_found END;
END $$;

-- One member sets it for all. What somebody sets whom the other has blocked is an event for the sender alone, and the timer of the
-- sender's own messages, until a change that both are told.
CREATE FUNCTION delivery_set_timer(
    p_writer uuid, p_conversation uuid, p_sender uuid, p_device uuid, p_message_id uuid,
    p_timer integer,          -- seconds, 0: none
    p_extra bytea, p_now bigint,
    OUT o_seq bigint,         -- null: the sender is no member. 0: it was set to that before
    OUT o_row bigint,         -- of the outbox
    OUT o_withheld boolean
) LANGUAGE plpgsql AS $$
DECLARE
    v_head delivery_head;
    v_own integer;
BEGIN
    SELECT * INTO v_head FROM delivery_head WHERE conversation = p_conversation FOR NO KEY UPDATE;
    IF NOT FOUND OR NOT EXISTS (
            SELECT FROM delivery_member WHERE conversation = p_conversation AND member = p_sender AND left_seq = 0) THEN
        RETURN;
    END IF;
    o_seq := 0;
    o_row := 0;
    o_withheld := false;
    IF v_head.withholds THEN
        SELECT active, timer INTO o_withheld, v_own FROM delivery_withheld
        WHERE conversation = p_conversation AND sender = p_sender;
        o_withheld := coalesce(o_withheld, false);
    END IF;
    IF o_withheld THEN
        IF p_timer = coalesce(v_own, v_head.timer, 0) THEN
            RETURN;
        END IF;
    ELSIF p_timer = coalesce(v_head.timer, 0) AND NOT (v_head.withholds AND EXISTS (
            SELECT FROM delivery_withheld
            WHERE conversation = p_conversation AND timer <> p_timer AND NOT active)) THEN
        RETURN;  -- and nobody believes something else since a block that is over
    END IF;
    o_seq := v_head.head + 1;
    INSERT INTO delivery_event (seq, ordinal, at, sent_at, seq_num, conversation, sender, device, message_id, kind, body_hash,
                                content, extra, withheld)
    VALUES (o_seq, v_head.ordinal, p_now, p_now, 0, p_conversation, p_sender, p_device, p_message_id, 'timer',
            decode(repeat('00', 16), 'hex'), '', p_extra, CASE WHEN o_withheld THEN true END);
    UPDATE delivery_head SET head = o_seq, oldest_at = coalesce(oldest_at, p_now),
           timer = CASE WHEN o_withheld THEN timer ELSE nullif(p_timer, 0) END
    WHERE conversation = p_conversation;
    IF o_withheld THEN
        UPDATE delivery_withheld
        SET timer = p_timer, owed = CASE WHEN through = o_seq - 1 THEN owed ELSE o_seq - 1 END, through = o_seq
        WHERE conversation = p_conversation AND sender = p_sender;
    ELSIF v_head.withholds THEN
        UPDATE delivery_withheld SET timer = NULL WHERE conversation = p_conversation AND timer IS NOT NULL;
    END IF;
    INSERT INTO delivery_outbox (at, writer, conversations, seqs)
    VALUES (p_now, p_writer, ARRAY[p_conversation], ARRAY[o_seq]) RETURNING "row" INTO o_row;
END $$;
"""

# As 0010_vanishing, and: the event has it too, and of two ends the earlier one holds.
KEEP = """
DROP FUNCTION delivery_keep_until;
CREATE FUNCTION delivery_keep_until(
    p_head bigint[], p_seq bigint[], p_outcome integer[],  -- of the append
    p_now bigint,
    -- One item a message that ends.
    p_send integer[],          -- its send in the list of sends
    p_conversation uuid[],
    p_place integer[],         -- of the conversation in p_head
    p_rank integer[],          -- of the send among those to its conversation
    p_lasts bigint[]           -- ms
) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    WITH ending AS (
        SELECT p_now + p_lasts[i] AS at, p_conversation[i] AS conversation,
               CASE WHEN p_head IS NOT NULL THEN p_head[p_place[i]] + p_rank[i]
                    WHEN p_outcome[p_send[i]] = 0 THEN p_seq[p_send[i]] END AS seq
        FROM generate_series(1, array_length(p_send, 1)) i
    ), kept AS (
        UPDATE delivery_event e SET until = v.at FROM ending v
        WHERE e.conversation = v.conversation AND e.seq = v.seq AND (e.until IS NULL OR e.until > v.at)
        RETURNING e.until, e.seq, e.conversation
    )
    INSERT INTO delivery_vanishing (at, seq, conversation) SELECT until, seq, conversation FROM kept;
    RETURN 0;
END $$;
"""

# As 0010_vanishing, and: what has gone says for how long it was kept.
VANISH = """
CREATE OR REPLACE FUNCTION delivery_vanish(p_now bigint, p_limit bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_ids uuid[];
    v_count bigint;
BEGIN
    SELECT array_agg(DISTINCT c.conversation) INTO v_ids FROM (
        SELECT conversation FROM delivery_vanishing WHERE at <= p_now ORDER BY at LIMIT p_limit) c;
    IF v_ids IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM 1 FROM delivery_head WHERE conversation = ANY (v_ids) ORDER BY conversation FOR NO KEY UPDATE;
    WITH due AS (
        DELETE FROM delivery_vanishing d USING (
            SELECT at, conversation, seq FROM delivery_vanishing
            WHERE at <= p_now AND conversation = ANY (v_ids) ORDER BY at LIMIT p_limit) x
        WHERE d.at = x.at AND d.conversation = x.conversation AND d.seq = x.seq
        RETURNING d.conversation, d.seq
    ), gone AS (
        UPDATE delivery_event e SET content = NULL, extra = NULL, envelopes = NULL, edited = NULL, replaced = NULL
        FROM due d WHERE e.conversation = d.conversation AND e.seq = d.seq AND e.content IS NOT NULL
    ), about AS (
        UPDATE delivery_event e SET content = NULL, extra = NULL, superseded = true
        FROM due d WHERE e.conversation = d.conversation AND e.target = d.seq AND e.superseded IS NULL
          AND e.kind <> 'delete'
    )
    SELECT count(*) INTO v_count FROM due;
    RETURN v_count;
END $$;
"""

# As 0011_withheld, and: the head says whether there is a timer.
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
    OUT o_withheld integer[], -- sends that are withheld from the other user; null: none
    OUT o_until bigint[]      -- one item a send: when its conversation's timer ends it, 0: never; null: nothing ends
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
    v_timed boolean;
BEGIN
    IF p_lock_ms > 0 THEN
        PERFORM set_config('lock_timeout', p_lock_ms::text, true);
    END IF;

    IF p_skip THEN
        SELECT array_agg(l.conversation), bool_or(l.withholds), bool_or(l.timed)
        INTO v_locked, v_withholds, v_timed FROM (
            SELECT conversation, withholds, timer IS NOT NULL AS timed FROM delivery_head WHERE conversation = ANY (p_conversation)
            ORDER BY conversation FOR NO KEY UPDATE SKIP LOCKED) l;
    ELSE
        SELECT array_agg(l.head), array_agg(l.ordinal), bool_or(l.withholds), bool_or(l.timed)
        INTO o_head, v_ordinal, v_withholds, v_timed FROM (
            SELECT head, ordinal, withholds, timer IS NOT NULL AS timed FROM delivery_head WHERE conversation = ANY (p_conversation)
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
        IF v_timed OR v_withholds THEN
            o_until := delivery_time(p_conversation, p_place, p_sender, p_message_id, NULL, p_now);
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
                   ('{edit,delete,reaction,member_added,member_removed,role,info,timer,vote}')) OVER w AS ordinal,
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
    IF v_timed OR v_withholds THEN
        o_until := delivery_time(p_conversation, p_place, p_sender, p_message_id, o_outcome, p_now);
    END IF;
END $$;
"""

# As 0011_withheld, and: votes, of which a sender has one for each poll; a timer; what is about a message has its end.
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
    p_lasts bigint[],         -- ms that it is kept, 0: nothing is said
    -- Send i in p_body as for delivery_append.
    p_body bytea, p_offset integer[], p_content integer[], p_extra integer[], p_envelopes integer[],
    OUT o_row bigint, OUT o_head bigint[],  -- always null
    OUT o_seq bigint[], OUT o_outcome integer[], OUT o_at bigint[], OUT o_expected bigint[],
    OUT o_withheld integer[], -- as of delivery_append
    OUT o_until bigint[]      -- one item a send: when its content goes, 0: never
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
    v_t_hidden boolean; v_t_replaced bigint; v_t_kind text; v_t_until bigint;
    v_timer integer[]; v_own integer; v_message boolean; v_until bigint;
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
           array_agg(h.withholds ORDER BY c.i), array_agg(h.timer ORDER BY c.i)
    INTO v_head, v_ordinal, v_direct, v_withholds, v_timer
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
        v_t_until := NULL;
        v_until := NULL;
        v_message := p_kind[i] <> ALL ('{edit,delete,reaction,member_added,member_removed,role,info,timer,vote}');

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
                   t.kind <> ALL ('{edit,delete,reaction,member_added,member_removed,role,info,timer,vote}'),
                   t.withheld IS NOT NULL, t.replaced, t.kind, t.until
            INTO v_t, v_t_sender, v_t_at, v_t_gone, v_t_edited, v_t_message, v_t_hidden, v_t_replaced, v_t_kind, v_t_until
            FROM (SELECT * FROM delivery_event WHERE message_id = p_target[i] OFFSET 0) t
            WHERE t.conversation = v_c ORDER BY t.seq LIMIT 1;
            IF NOT FOUND OR NOT v_t_message OR v_t_hidden AND v_t_sender <> p_sender[i]
               OR p_kind[i] = 'vote' AND v_t_kind <> 'poll' OR NOT EXISTS (
                    SELECT FROM delivery_member m WHERE m.conversation = v_c AND m.member = p_sender[i]
                    AND m.joined_seq <= v_t AND (m.left_seq = 0 OR m.left_seq >= v_t)) THEN
                v_outcome := 6;
            ELSIF p_kind[i] = 'edit' AND v_t_sender <> p_sender[i] THEN
                v_outcome := 7;
            ELSIF p_kind[i] = 'delete' AND v_t_sender <> p_sender[i] AND (v_direct[v_k] OR NOT EXISTS (
                    SELECT FROM delivery_member m WHERE m.conversation = v_c AND m.member = p_sender[i]
                    AND m.left_seq = 0 AND m.speaker)) THEN
                v_outcome := 7;
            ELSIF v_t_gone OR v_t_until <= p_now THEN
                v_outcome := 8;
            ELSIF v_t_at < p_oldest[i] THEN
                v_outcome := 9;
            ELSIF p_kind[i] IN ('reaction', 'vote') THEN
                SELECT e.seq, e.content INTO v_old, v_old_content FROM delivery_event e
                WHERE e.conversation = v_c AND e.target = v_t AND e.sender = p_sender[i] AND e.superseded IS NULL
                  AND e.kind = p_kind[i] ORDER BY e.seq DESC LIMIT 1;
                IF v_content = '' AND (v_old IS NULL OR v_old_content = '') THEN
                    v_outcome := 6;
                ELSIF p_kind[i] = 'reaction' AND v_content <> '' AND NOT EXISTS (
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
            IF NOT v_hidden AND v_message THEN
                v_ordinal[v_k] := v_ordinal[v_k] + 1;
            END IF;
            IF v_message THEN
                v_own := NULL;
                IF v_withholds[v_k] THEN
                    SELECT w.timer INTO v_own FROM delivery_withheld w WHERE w.conversation = v_c AND w.sender = p_sender[i];
                END IF;
                v_until := p_now + least(nullif(p_lasts[i], 0), 1000 * nullif(coalesce(v_own, v_timer[v_k]), 0)::bigint);
            ELSIF p_kind[i] <> 'delete' THEN
                v_until := v_t_until;  -- what is said about a message goes with it
            END IF;
            INSERT INTO delivery_event (seq, ordinal, at, sent_at, seq_num, conversation, sender, device, message_id, kind,
                                        body_hash, content, extra, envelopes, target, withheld, until)
            VALUES (v_place, v_ordinal[v_k], p_now, p_sent_at[i], p_seq_num[i], v_c, p_sender[i], p_device[i],
                    p_message_id[i], p_kind[i], v_hash, v_content, v_extra,
                    substr(p_body, p_offset[i] + 17 + coalesce(p_content[i], 0) + coalesce(p_extra[i], 0), p_envelopes[i]),
                    CASE WHEN p_target[i] IS NOT NULL THEN v_t END, CASE WHEN v_hidden THEN true END, v_until);
            IF v_message AND v_until IS NOT NULL THEN
                INSERT INTO delivery_vanishing (at, seq, conversation) VALUES (v_until, v_place, v_c);
            END IF;
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
                UPDATE delivery_event SET content = NULL, extra = NULL, envelopes = NULL, edited = NULL, replaced = NULL,
                       until = NULL
                WHERE conversation = v_c AND seq = v_t;
                UPDATE delivery_event SET content = NULL, extra = NULL, superseded = true
                WHERE conversation = v_c AND target = v_t AND superseded IS NULL AND seq <> v_place;
            ELSIF p_kind[i] IN ('reaction', 'vote') THEN
                UPDATE delivery_event SET content = NULL, extra = NULL, superseded = true
                WHERE conversation = v_c AND target = v_t AND sender = p_sender[i] AND kind = p_kind[i]
                  AND superseded IS NULL AND seq <> v_place;
            END IF;
        END IF;
        o_outcome[i] := v_outcome;
        o_seq[i] := CASE WHEN v_outcome <= 1 THEN v_place ELSE 0 END;
        o_until[i] := coalesce(v_until, 0);
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
    dependencies = [("delivery", "0012_history_window")]

    operations = [
        migrations.AddField(
            model_name="event",
            name="until",
            field=models.BigIntegerField(
                help_text="when its content is gone, or that of the message it is about", null=True
            ),
        ),
        migrations.AddField(
            model_name="head",
            name="timer",
            field=models.IntegerField(help_text="seconds that messages are kept", null=True),
        ),
        migrations.AddField(
            model_name="withheld",
            name="timer",
            field=models.IntegerField(
                help_text="what the sender has set since, in seconds, 0: none; of the sender's messages alone",
                null=True,
            ),
        ),
        # No way back: the earlier functions would keep what is to go.
        migrations.RunSQL(TIMER),
        migrations.RunSQL(KEEP),
        migrations.RunSQL(VANISH),
        migrations.RunSQL(APPEND),
        migrations.RunSQL(AMEND),
    ]
