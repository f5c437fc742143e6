"""What a sanction takes back when it ends, and which step of the ladder it was."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Adding an index concurrently cannot be done in a transaction.
    atomic = False

    dependencies = [
        ("accounts", "0013_reports_and_cases"),
    ]

    operations = [
        migrations.AddField(
            model_name="sanction",
            name="step",
            field=models.PositiveSmallIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="sanction",
            name="class_before",
            field=models.CharField(blank=True, db_default="", default="", max_length=32),
        ),
        migrations.AddField(
            model_name="sanction",
            name="ended_at",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        AddIndexConcurrently(
            model_name="sanction",
            index=models.Index(
                condition=models.Q(("ended_at__isnull", True), ("until__isnull", False)),
                fields=["until"],
                name="accounts_sanction_ending",
            ),
        ),
    ]
