"""Who may send in a group in which not everybody may."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("delivery", "0005_members")]

    operations = [
        migrations.AddField(
            model_name="head",
            name="restricted",
            field=models.BooleanField(db_default=False, help_text="only speakers may send"),
        ),
        migrations.AddField(
            model_name="member",
            name="speaker",
            field=models.BooleanField(db_default=False, help_text="may send when only speakers may"),
        ),
    ]
