"""What the retention has done, day by day."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0015_own_limits"),
    ]

    operations = [
        migrations.CreateModel(
            name="RetentionDay",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("policy", models.CharField(max_length=64)),
                ("day", models.IntegerField(help_text="days since the epoch")),
                ("purged", models.BigIntegerField(default=0)),
                ("ran_at", models.BigIntegerField(help_text="when a job last looked, ms", null=True)),
                (
                    "overdue",
                    models.IntegerField(help_text="what should have been gone, at the last check", null=True),
                ),
                ("checked_at", models.BigIntegerField(null=True)),
            ],
            options={
                "default_permissions": ("view",),
                "indexes": [models.Index(fields=["day"], name="accounts_retention_day")],
                "constraints": [
                    models.UniqueConstraint(fields=("policy", "day"), name="accounts_retention_day_once")
                ],
            },
        ),
    ]
