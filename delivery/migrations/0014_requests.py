"""Message requests: a member of a direct conversation who has not accepted the other user yet; and when ``delivered`` last moved,
so that who is not told what was read is not told when, either."""

from __future__ import annotations

from django.db import migrations, models

ACCEPT = """
-- Each p_member[i] accepts the other user of the direct conversation p_conversation[i]. Returns where that was a change.
CREATE FUNCTION delivery_accept(p_conversation uuid[], p_member uuid[], p_now bigint) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    v_done uuid[];
BEGIN
    -- Rows are locked in the order of their keys, here and below as in whatever else writes several of them.
    PERFORM 1 FROM delivery_member m
    JOIN unnest(p_conversation, p_member) AS a (conversation, member) ON m.conversation = a.conversation AND m.member = a.member
    WHERE m.unaccepted ORDER BY m.conversation, m.member FOR NO KEY UPDATE OF m;
    WITH done AS (
        UPDATE delivery_member m SET unaccepted = false
        FROM (SELECT DISTINCT conversation, member FROM unnest(p_conversation, p_member) AS u (conversation, member)) a
        WHERE m.conversation = a.conversation AND m.member = a.member AND m.unaccepted
        RETURNING m.conversation
    ) SELECT array_agg(conversation) INTO v_done FROM done;
    IF v_done IS NOT NULL THEN
        -- To the other user, who was told nothing so far, all of it is new.
        PERFORM 1 FROM delivery_receipt r
        JOIN unnest(p_conversation, p_member) AS a (conversation, member)
          ON r.conversation = a.conversation AND r.member = a.member
        WHERE r.conversation = ANY (v_done) ORDER BY r.conversation, r.member FOR NO KEY UPDATE OF r;
        UPDATE delivery_receipt r
        SET changed_at = greatest(r.changed_at, p_now), delivered_at = greatest(r.delivered_at, p_now)
        FROM (SELECT DISTINCT conversation, member FROM unnest(p_conversation, p_member) AS u (conversation, member)) a
        WHERE r.conversation = a.conversation AND r.member = a.member AND r.conversation = ANY (v_done)
          AND (r.delivered > 0 OR r.read > 0);
    END IF;
    RETURN v_done;
END $$;

-- As delivery_mention: behind the append in the same statement, and only for a batch with a send of who has not accepted yet.
CREATE FUNCTION delivery_answer(
    p_outcome integer[],      -- of the append
    -- One item a send of such a member.
    p_send integer[],         -- its send in the list of sends
    p_conversation uuid[], p_member uuid[],
    p_now bigint
) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    v_conversation uuid[];
    v_member uuid[];
BEGIN
    SELECT array_agg(p_conversation[i]), array_agg(p_member[i]) INTO v_conversation, v_member
    FROM generate_series(1, array_length(p_send, 1)) i WHERE p_outcome IS NULL OR p_outcome[p_send[i]] = 0;
    RETURN CASE WHEN v_conversation IS NULL THEN NULL ELSE delivery_accept(v_conversation, v_member, p_now) END;
END $$;

-- Whether p_member has a direct conversation with p_other and has not accepted p_other yet.
CREATE FUNCTION delivery_unaccepted(p_member uuid, p_other uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM delivery_direct d JOIN delivery_member m ON m.conversation = d.conversation AND m.member = p_member
        WHERE d.low = least(p_member, p_other) AND d.high = greatest(p_member, p_other) AND m.unaccepted)
$$;
"""

# As 0011_withheld, and: delivered_at.
WITHHOLD = """
CREATE OR REPLACE FUNCTION delivery_withhold(p_member uuid, p_sender uuid, p_on boolean, p_now bigint) RETURNS uuid
LANGUAGE plpgsql AS $$
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
                delivered_at = CASE WHEN delivered > shown_delivered THEN greatest(delivered_at, p_now) ELSE delivered_at END,
                shown_delivered = NULL, shown_read = NULL, shown_at = NULL
            WHERE conversation = v_conversation AND shown_at IS NOT NULL;
        END IF;
    END IF;
    RETURN v_conversation;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("delivery", "0013_timers")]

    operations = [
        migrations.AddField(
            model_name="member",
            name="unaccepted",
            field=models.BooleanField(
                db_default=False,
                help_text="of a direct conversation: has not accepted the other user yet",
            ),
        ),
        migrations.AddField(
            model_name="memberreceipt",
            name="delivered_at",
            field=models.BigIntegerField(db_default=0, help_text="when delivered last moved, 0: not known"),
        ),
        migrations.RunSQL(
            ACCEPT, reverse_sql="DROP FUNCTION delivery_accept, delivery_answer, delivery_unaccepted"
        ),
        # The earlier function does as well without the column.
        migrations.RunSQL(WITHHOLD, reverse_sql=migrations.RunSQL.noop),
    ]
