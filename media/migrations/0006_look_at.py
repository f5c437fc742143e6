"""Media are looked at when there may be something to see, not all of them each hour. Built beside the traffic."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("media", "0005_presigned"),
    ]

    operations = [
        migrations.AddField(
            model_name="media",
            name="look_at",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        AddIndexConcurrently(
            model_name="media",
            index=models.Index(fields=["state", "look_at"], name="media_to_look_at"),
        ),
    ]
