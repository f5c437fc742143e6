"""Where the history of a new device begins."""

from __future__ import annotations

from django.db import migrations

# Seqs are dense above the floor and times ascend with them, so the log is halved, not read: a handful of looks at the primary key
# for each conversation, and one for those that have been quiet. Where clocks disagree, times may step back by as much; then what
# is found is a place within that step.
BEFORE = """
CREATE FUNCTION delivery_before(p_conversation uuid, p_floor bigint, p_head bigint, p_since bigint) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_low bigint := p_floor;   -- at or below it everything is older
    v_high bigint := p_head;   -- above it nothing is
    v_middle bigint := p_head; -- most are quiet: the last event first
    v_at bigint;
BEGIN
    WHILE v_low < v_high LOOP
        SELECT at INTO v_at FROM delivery_event WHERE conversation = p_conversation AND seq = v_middle;
        IF v_at < p_since THEN
            v_low := v_middle;
        ELSE
            v_high := v_middle - 1;
        END IF;
        v_middle := (v_low + v_high + 1) / 2;
    END LOOP;
    RETURN v_low;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("delivery", "0011_withheld")]

    operations = [migrations.RunSQL(BEFORE, reverse_sql="DROP FUNCTION delivery_before")]
