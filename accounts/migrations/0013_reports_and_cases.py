"""What a report counted, whether its words were proven, and until when evidence is kept; triggers that open cases."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0012_staff_side"),
    ]

    operations = [
        migrations.CreateModel(
            name="CaseTrigger",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("trigger", models.CharField(max_length=64)),
                ("evidence", models.JSONField(default=dict)),
                ("at", models.BigIntegerField()),
                (
                    "case",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="triggers",
                        to="accounts.case",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="case",
            name="purged_at",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="case",
            name="verified",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="case",
            name="weight",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="report",
            name="counts",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="report",
            name="verdict",
            field=models.CharField(blank=True, db_default="", default="", max_length=16),
        ),
        migrations.AddField(
            model_name="report",
            name="weight",
            field=models.PositiveSmallIntegerField(db_default=0, default=0),
        ),
        migrations.AlterField(
            model_name="report",
            name="note",
            field=models.CharField(blank=True, default="", max_length=12000),
        ),
        migrations.AlterField(
            model_name="reportedmessage",
            name="content",
            field=models.BinaryField(max_length=66000),
        ),
        migrations.AddIndex(
            model_name="case",
            index=models.Index(
                condition=models.Q(("purged_at", None), ("state", "closed")),
                fields=["closed_at"],
                name="accounts_case_to_purge",
            ),
        ),
    ]
