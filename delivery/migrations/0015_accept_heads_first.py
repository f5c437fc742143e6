"""Who accepts somebody takes the conversation's head first, as an append does: an append passes by a head that another transaction
holds, but it would wait for a member's row, and all of its batch with it."""

from __future__ import annotations

from django.db import migrations

# As 0014_requests, and: the heads.
ACCEPT = """
CREATE OR REPLACE FUNCTION delivery_accept(p_conversation uuid[], p_member uuid[], p_now bigint) RETURNS uuid[]
LANGUAGE plpgsql AS $$
DECLARE
    v_done uuid[];
BEGIN
    -- Rows are locked in the order of their keys, here and below as in whatever else writes several of them.
    PERFORM 1 FROM delivery_head WHERE conversation = ANY (p_conversation) ORDER BY conversation FOR NO KEY UPDATE;
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
"""


class Migration(migrations.Migration):
    dependencies = [("delivery", "0014_requests")]

    # The earlier function does as well, only worse.
    operations = [migrations.RunSQL(ACCEPT, reverse_sql=migrations.RunSQL.noop)]
