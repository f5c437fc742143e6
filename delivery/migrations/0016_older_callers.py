"""Processes of the version before, which go on for a while when this is migrated: they call two functions as these were before
0013_timers. Whoever gives one of them other parameters names its own in ``DROP FUNCTION``, and takes these away."""

from __future__ import annotations

from django.db import migrations

OLDER = """
CREATE FUNCTION delivery_keep_until(
    p_head bigint[], p_seq bigint[], p_outcome integer[], p_send integer[], p_conversation uuid[], p_place integer[],
    p_rank integer[], p_until bigint[]
) RETURNS bigint LANGUAGE sql AS $$
    SELECT delivery_keep_until(p_head, p_seq, p_outcome, 0::bigint, p_send, p_conversation, p_place, p_rank, p_until)
$$;

CREATE FUNCTION delivery_amend(
    p_writer uuid, p_now bigint, p_lock_ms integer, p_skip boolean, p_conversation uuid[], p_place integer[],
    p_sender uuid[], p_device uuid[], p_message_id uuid[], p_sent_at bigint[], p_seq_num bigint[], p_kind text[],
    p_target uuid[], p_oldest bigint[], p_distinct integer[],
    p_body bytea, p_offset integer[], p_content integer[], p_extra integer[], p_envelopes integer[],
    OUT o_row bigint, OUT o_head bigint[], OUT o_seq bigint[], OUT o_outcome integer[], OUT o_at bigint[],
    OUT o_expected bigint[], OUT o_withheld integer[]
) LANGUAGE sql AS $$
    SELECT a.o_row, a.o_head, a.o_seq, a.o_outcome, a.o_at, a.o_expected, a.o_withheld
    FROM delivery_amend(p_writer, p_now, p_lock_ms, p_skip, p_conversation, p_place, p_sender, p_device, p_message_id,
                        p_sent_at, p_seq_num, p_kind, p_target, p_oldest, p_distinct, NULL::bigint[],
                        p_body, p_offset, p_content, p_extra, p_envelopes) a
$$;
"""

NEWER = """
DROP FUNCTION delivery_keep_until(
    bigint[], bigint[], integer[], integer[], uuid[], integer[], integer[], bigint[]);
DROP FUNCTION delivery_amend(
    uuid, bigint, integer, boolean, uuid[], integer[], uuid[], uuid[], uuid[], bigint[], bigint[], text[], uuid[], bigint[],
    integer[], bytea, integer[], integer[], integer[], integer[]);
"""


class Migration(migrations.Migration):
    dependencies = [("delivery", "0015_accept_heads_first")]

    operations = [migrations.RunSQL(OLDER, reverse_sql=NEWER)]
