"""What was to be kept for a while before 0013_timers says so from now on. In small transactions, beside those who send and read."""

from __future__ import annotations

from django.db import migrations

# Heads first, as in delivery_vanish: whoever amends one of these messages comes before or after.
KNOWN = """
DO $$
DECLARE
    v_at bigint := 0; v_conversation uuid := '00000000-0000-0000-0000-000000000000'; v_seq bigint := 0;
    v_ats bigint[]; v_conversations uuid[]; v_seqs bigint[];
BEGIN
    LOOP
        SELECT array_agg(v.at ORDER BY v.at, v.conversation, v.seq), array_agg(v.conversation ORDER BY v.at, v.conversation, v.seq),
               array_agg(v.seq ORDER BY v.at, v.conversation, v.seq)
        INTO v_ats, v_conversations, v_seqs FROM (
            SELECT at, conversation, seq FROM delivery_vanishing WHERE (at, conversation, seq) > (v_at, v_conversation, v_seq)
            ORDER BY at, conversation, seq LIMIT 500) v;
        EXIT WHEN v_ats IS NULL;
        PERFORM 1 FROM delivery_head WHERE conversation = ANY (v_conversations) ORDER BY conversation FOR NO KEY UPDATE;
        FOR i IN 1 .. array_length(v_ats, 1) LOOP
            UPDATE delivery_event SET until = v_ats[i]
            WHERE conversation = v_conversations[i] AND seq = v_seqs[i] AND until IS NULL AND content IS NOT NULL;
            UPDATE delivery_event SET until = v_ats[i]
            WHERE conversation = v_conversations[i] AND target = v_seqs[i] AND superseded IS NULL AND kind <> 'delete'
              AND until IS NULL;
        END LOOP;
        v_at := v_ats[array_length(v_ats, 1)];
        v_conversation := v_conversations[array_length(v_ats, 1)];
        v_seq := v_seqs[array_length(v_ats, 1)];
        COMMIT;
    END LOOP;
END $$
"""


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("delivery", "0016_older_callers")]

    operations = [migrations.RunSQL(KNOWN, reverse_sql=migrations.RunSQL.noop)]
