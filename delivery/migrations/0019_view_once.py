"""A message that may be seen once is not edited: the edit would be an event with a content that nobody takes away."""

from __future__ import annotations

import importlib

from django.db import migrations

_AMEND = importlib.import_module("delivery.migrations.0013_timers").AMEND
_CHECK = """            ELSIF p_kind[i] = 'edit' AND v_t_sender <> p_sender[i] THEN
                v_outcome := 7;
"""
# The pair of a msgpack map that says it. Nothing else of an extra holds these bytes unless its sender put them there.
_ONCE = """            ELSIF p_kind[i] = 'edit' AND EXISTS (
                    SELECT FROM delivery_event e WHERE e.conversation = v_c AND e.seq = v_t
                    AND position('\\xa9766965775f6f6e6365c3'::bytea IN coalesce(e.extra, '')) > 0) THEN
                v_outcome := 7;
"""
_CREATE = _AMEND.replace("DROP FUNCTION delivery_amend;\nCREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
AMEND = _CREATE.replace(_CHECK, _CHECK + _ONCE)
assert AMEND.count("v_outcome := 7;") == 3, "0013_timers is not what this was written for"


class Migration(migrations.Migration):
    dependencies = [("delivery", "0018_pending")]

    operations = [migrations.RunSQL(AMEND, reverse_sql=_CREATE)]
