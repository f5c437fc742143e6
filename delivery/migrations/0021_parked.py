"""A change for a store elsewhere that cannot be carried out is parked, and no longer holds up what comes behind it."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("delivery", "0020_moving")]

    operations = [
        migrations.AddField(
            "pending",
            "written_at",
            models.BigIntegerField(db_default=0, help_text="0: by a version that did not say"),
        ),
        migrations.AddField(
            "pending",
            "failures",
            models.IntegerField(db_default=0, help_text="tries that failed although the store answers"),
        ),
        migrations.AddField(
            "pending",
            "parked",
            models.BooleanField(db_default=False, help_text="nobody tries it until staff say so"),
        ),
        migrations.AddField(
            "pending", "error", models.TextField(db_default="", help_text="what the last failure was")
        ),
    ]
