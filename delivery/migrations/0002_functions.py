"""Storage settings of the hot tables, and the function that expires the logs."""

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
        migrations.RunSQL(EXPIRE, reverse_sql="DROP FUNCTION delivery_expire"),
    ]
