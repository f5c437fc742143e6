"""Whom a message mentions."""

from __future__ import annotations

from django.db import migrations, models

# Called behind delivery_append in the same statement, and only for a batch in which somebody is mentioned: other batches pay
# nothing. Its own statement has a snapshot taken after the heads were locked, so it sees who is a member at these seqs.
MENTION = """
CREATE FUNCTION delivery_mention(
    p_head bigint[], p_seq bigint[], p_outcome integer[],  -- of delivery_append
    p_at bigint,
    -- One item a mention.
    p_send integer[],          -- its send in the list of sends
    p_conversation uuid[],
    p_place integer[],         -- of the conversation in p_head
    p_rank integer[],          -- of the send among those to its conversation
    p_member uuid[]
) RETURNS bigint LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_count bigint;
BEGIN
    WITH mention AS (
        SELECT p_conversation[i] AS conversation, p_member[i] AS member,
               CASE WHEN p_head IS NOT NULL THEN p_head[p_place[i]] + p_rank[i]
                    WHEN p_outcome[p_send[i]] = 0 THEN p_seq[p_send[i]] END AS seq
        FROM generate_series(1, array_length(p_member, 1)) i
    )
    INSERT INTO delivery_mention (seq, at, conversation, member)
    SELECT n.seq, p_at, n.conversation, n.member FROM mention n
    WHERE EXISTS (
        SELECT FROM delivery_member m
        WHERE m.conversation = n.conversation AND m.member = n.member
          AND m.joined_seq <= n.seq AND (m.left_seq = 0 OR n.seq <= m.left_seq))
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("delivery", "0007_flags")]

    operations = [
        migrations.CreateModel(
            name="Mention",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "conversation",
                        "member",
                        "seq",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("seq", models.BigIntegerField()),
                ("at", models.BigIntegerField(help_text="server time of the append")),
                ("conversation", models.UUIDField()),
                ("member", models.UUIDField()),
            ],
            options={
                "db_table": "delivery_mention",
                "indexes": [models.Index(fields=["at"], name="delivery_mention_oldest")],
            },
        ),
        migrations.RunSQL(MENTION, reverse_sql="DROP FUNCTION delivery_mention"),
    ]
