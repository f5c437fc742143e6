"""Archives of what is held about a person."""

import uuid

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0016_retention_days"),
    ]

    operations = [
        migrations.CreateModel(
            name="Export",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("waiting", "Waiting"), ("ready", "Ready"), ("expired", "Expired")],
                        default="waiting",
                        max_length=8,
                    ),
                ),
                ("asked_at", models.BigIntegerField()),
                ("leased_until", models.BigIntegerField(default=0)),
                ("worker", models.UUIDField(null=True)),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("size", models.BigIntegerField(default=0)),
                ("ready_at", models.BigIntegerField(null=True)),
                ("expires_at", models.BigIntegerField(help_text="from then on the file is gone, ms")),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="exports",
                        to="accounts.account",
                    ),
                ),
            ],
            options={
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["account", "-asked_at"], name="accounts_export_newest"),
                    models.Index(
                        condition=models.Q(("state", "expired"), _negated=True),
                        fields=["expires_at"],
                        name="accounts_export_expiry",
                    ),
                    models.Index(
                        condition=models.Q(("state", "waiting")),
                        fields=["leased_until"],
                        name="accounts_export_waiting",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "waiting")),
                        fields=("account",),
                        name="accounts_export_one_waiting",
                    )
                ],
            },
        ),
    ]
