"""What the archive of the backups says that it has."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("staff", "0006_lists_of_staff"),
    ]

    operations = [
        migrations.CreateModel(
            name="Backups",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("looked_at", models.BigIntegerField(help_text="when it had everything last")),
                ("newest_at", models.BigIntegerField(help_text="end of the newest base backup")),
                ("oldest_at", models.BigIntegerField(help_text="end of the oldest one that is kept")),
                ("number", models.IntegerField(help_text="base backups that are kept")),
                ("sealed", models.BooleanField(help_text="whether their age ends them, by their keys")),
            ],
            options={
                "verbose_name": "backups",
                "verbose_name_plural": "backups",
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="staff_backups_one")
                ],
            },
        ),
    ]
