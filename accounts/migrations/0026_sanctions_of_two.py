"""That two have decided a ban is known where the ban is; rows that are there stay as they are.

New columns with a constant default: no table is rewritten, and older processes go on writing rows without them.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0025_reported_by_sender"),
    ]

    operations = [
        migrations.AddField(
            model_name="carriedsanction",
            name="of_two",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="installationban",
            name="of_two",
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
