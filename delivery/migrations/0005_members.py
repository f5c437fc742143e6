"""How many members a group has: above 32 its senders are told counts of receipts."""

from __future__ import annotations

from django.db import migrations, models

_FILL = """
UPDATE delivery_head h SET members = (
    SELECT count(*) FROM delivery_member m WHERE m.conversation = h.conversation AND m.left_seq = 0)
WHERE h.kind = 'group'"""


class Migration(migrations.Migration):
    dependencies = [("delivery", "0004_roster_seq")]

    operations = [
        migrations.AddField(
            model_name="head",
            name="members",
            field=models.IntegerField(db_default=0, help_text="of a group, now"),
        ),
        migrations.RunSQL(_FILL, reverse_sql=migrations.RunSQL.noop),
    ]
