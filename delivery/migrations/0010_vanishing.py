"""Messages that say how long they are to be kept."""

from __future__ import annotations

from django.db import migrations, models

# As delivery_mention: behind the append in the same statement, and only for a batch in which a message ends early.
KEEP = """
CREATE FUNCTION delivery_keep_until(
    p_head bigint[], p_seq bigint[], p_outcome integer[],  -- of the append
    -- One item a message that ends.
    p_send integer[],          -- its send in the list of sends
    p_conversation uuid[],
    p_place integer[],         -- of the conversation in p_head
    p_rank integer[],          -- of the send among those to its conversation
    p_until bigint[]
) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO delivery_vanishing (at, seq, conversation)
    SELECT v.at, v.seq, v.conversation FROM (
        SELECT p_until[i] AS at, p_conversation[i] AS conversation,
               CASE WHEN p_head IS NOT NULL THEN p_head[p_place[i]] + p_rank[i]
                    WHEN p_outcome[p_send[i]] = 0 THEN p_seq[p_send[i]] END AS seq
        FROM generate_series(1, array_length(p_send, 1)) i) v
    WHERE v.seq IS NOT NULL;
    RETURN 0;
END $$;
"""

# Heads are locked in sorted order, as an append does: whoever amends one of these messages meanwhile comes before or after.
VANISH = """
CREATE FUNCTION delivery_vanish(p_now bigint, p_limit bigint) RETURNS bigint LANGUAGE plpgsql AS $$
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
        UPDATE delivery_event e SET content = NULL, extra = NULL, envelopes = NULL, edited = NULL
        FROM due d WHERE e.conversation = d.conversation AND e.seq = d.seq
    ), about AS (
        UPDATE delivery_event e SET content = NULL, extra = NULL, superseded = true
        FROM due d WHERE e.conversation = d.conversation AND e.target = d.seq AND e.superseded IS NULL
          AND e.kind <> 'delete'
    )
    SELECT count(*) INTO v_count FROM due;
    RETURN v_count;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("delivery", "0009_amendments")]

    operations = [
        migrations.CreateModel(
            name="Vanishing",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "at",
                        "conversation",
                        "seq",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("at", models.BigIntegerField(help_text="from then on its content is gone")),
                ("seq", models.BigIntegerField()),
                ("conversation", models.UUIDField()),
            ],
            options={"db_table": "delivery_vanishing"},
        ),
        migrations.RunSQL(KEEP, reverse_sql="DROP FUNCTION delivery_keep_until"),
        migrations.RunSQL(VANISH, reverse_sql="DROP FUNCTION delivery_vanish"),
    ]
