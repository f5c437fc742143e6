"""Edits, deletes and reactions: events that change what a message of the log says."""

from __future__ import annotations

from django.db import migrations, models

# Send by send, as if each were a call of its own, so that a message and its edit may come in one batch. Heads are locked as
# delivery_append locks them, so nothing changes these conversations meanwhile: what is judged here is what is written.
# A target is the first message with this id in the conversation: a later one with the same id, by somebody else, is out of
# reach, because clients could not tell which of the two is meant.
# Outcomes: 0 stored, 1 duplicate, 2 conflict, 3 out of order, 4 no conversation, 5 held by another transaction, 6 target not
# found, 7 forbidden, 8 gone, 9 window expired, 10 limit exceeded.
AMEND = """
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
    OUT o_seq bigint[], OUT o_outcome integer[], OUT o_at bigint[], OUT o_expected bigint[]
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
    v_t bigint; v_t_sender uuid; v_t_at bigint; v_t_gone boolean; v_t_edited bigint; v_t_message boolean;
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
    SELECT array_agg(h.head ORDER BY c.i), array_agg(h.ordinal ORDER BY c.i), array_agg(h.kind = 'direct' ORDER BY c.i)
    INTO v_head, v_ordinal, v_direct
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
                   t.kind <> ALL ('{edit,delete,reaction,member_added,member_removed,role,info,timer}')
            INTO v_t, v_t_sender, v_t_at, v_t_gone, v_t_edited, v_t_message
            FROM (SELECT * FROM delivery_event WHERE message_id = p_target[i] OFFSET 0) t
            WHERE t.conversation = v_c ORDER BY t.seq LIMIT 1;
            IF NOT FOUND OR NOT v_t_message OR NOT EXISTS (
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
                  AND e.kind = 'reaction';
                IF v_content = '' AND (v_old IS NULL OR v_old_content = '') THEN
                    v_outcome := 6;
                ELSIF v_content <> '' AND NOT EXISTS (
                        SELECT FROM delivery_event e WHERE e.conversation = v_c AND e.target = v_t
                        AND e.superseded IS NULL AND e.kind = 'reaction' AND e.content = v_content)
                    AND (SELECT count(DISTINCT e.content) FROM delivery_event e WHERE e.conversation = v_c
                         AND e.target = v_t AND e.superseded IS NULL AND e.kind = 'reaction' AND e.content <> ''
                         AND e.sender <> p_sender[i]) >= p_distinct[i] THEN
                    v_outcome := 10;
                END IF;
            END IF;
        END IF;

        IF v_outcome = 0 THEN
            v_place := v_head[v_k] + 1;
            v_head[v_k] := v_place;
            IF p_kind[i] <> ALL ('{edit,delete,reaction,member_added,member_removed,role,info,timer}') THEN
                v_ordinal[v_k] := v_ordinal[v_k] + 1;
            END IF;
            INSERT INTO delivery_event (seq, ordinal, at, sent_at, seq_num, conversation, sender, device, message_id, kind,
                                        body_hash, content, extra, envelopes, target)
            VALUES (v_place, v_ordinal[v_k], p_now, p_sent_at[i], p_seq_num[i], v_c, p_sender[i], p_device[i],
                    p_message_id[i], p_kind[i], v_hash, v_content, v_extra,
                    substr(p_body, p_offset[i] + 17 + coalesce(p_content[i], 0) + coalesce(p_extra[i], 0), p_envelopes[i]),
                    CASE WHEN p_target[i] IS NOT NULL THEN v_t END);
            IF p_seq_num[i] > 0 THEN
                INSERT INTO delivery_seqnum (last, device, conversation) VALUES (p_seq_num[i], p_device[i], v_c)
                ON CONFLICT (device, conversation) DO UPDATE SET last = excluded.last;
            END IF;
            IF p_target[i] IS NULL THEN
                NULL;
            ELSIF p_kind[i] = 'edit' THEN
                UPDATE delivery_event SET content = NULL, extra = NULL, superseded = true
                WHERE conversation = v_c AND seq = v_t_edited;
                UPDATE delivery_event SET content = v_content, edited = v_place
                WHERE conversation = v_c AND seq = v_t;
            ELSIF p_kind[i] = 'delete' THEN
                UPDATE delivery_event SET content = NULL, extra = NULL, envelopes = NULL, edited = NULL
                WHERE conversation = v_c AND seq = v_t;
                UPDATE delivery_event SET content = NULL, extra = NULL, superseded = true
                WHERE conversation = v_c AND target = v_t AND superseded IS NULL AND seq <> v_place;
            ELSIF p_kind[i] = 'reaction' THEN
                UPDATE delivery_event SET content = NULL, extra = NULL, superseded = true
                WHERE conversation = v_c AND seq = v_old;
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
    dependencies = [("delivery", "0008_mentions")]

    operations = [
        migrations.AddField(
            model_name="event",
            name="target",
            field=models.BigIntegerField(help_text="seq of the message that this event is about", null=True),
        ),
        migrations.AddField(
            model_name="event",
            name="edited",
            field=models.BigIntegerField(help_text="of a message: seq of its last edit", null=True),
        ),
        migrations.AddField(
            model_name="event",
            name="superseded",
            field=models.BooleanField(help_text="a later event took its place: owed to nobody", null=True),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(
                fields=["conversation", "target", "sender"],
                name="delivery_event_about",
                condition=models.Q(("superseded__isnull", True), ("target__isnull", False)),
            ),
        ),
        migrations.RunSQL(AMEND, reverse_sql="DROP FUNCTION delivery_amend"),
    ]
