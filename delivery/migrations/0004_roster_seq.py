"""Where the members of a conversation last changed: how long a list of them serves."""

from __future__ import annotations

from django.db import migrations, models

# Groups made before have their changes in the intervals.
_FILL = """
UPDATE delivery_head h SET roster_seq = coalesce((
    SELECT max(greatest(m.joined_seq, m.left_seq)) FROM delivery_member m WHERE m.conversation = h.conversation), 0)
WHERE h.kind = 'group'"""


class Migration(migrations.Migration):
    dependencies = [("delivery", "0003_append")]

    operations = [
        migrations.AddField(
            model_name="head",
            name="roster_seq",
            field=models.BigIntegerField(db_default=0, help_text="seq of the last change of members"),
        ),
        migrations.RunSQL(_FILL, reverse_sql=migrations.RunSQL.noop),
    ]
