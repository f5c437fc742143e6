from __future__ import annotations

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import accounts.models.account


class Migration(migrations.Migration):
    dependencies = [
        ("staff", "0002_pending_change"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Approval",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=accounts.models.account.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("kind", models.CharField(max_length=64)),
                (
                    "subject",
                    models.CharField(help_text="what it is about: the id of an object", max_length=200),
                ),
                (
                    "payload",
                    models.JSONField(default=dict, help_text="what the handler needs; no personal data"),
                ),
                ("reason", models.CharField(max_length=500)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("approved", "Approved"),
                            ("rejected", "Rejected"),
                            ("withdrawn", "Withdrawn"),
                            ("expired", "Expired"),
                        ],
                        default="waiting",
                        max_length=16,
                    ),
                ),
                ("asked_name", models.CharField(max_length=150)),
                ("asked_at", models.BigIntegerField()),
                ("expires_at", models.BigIntegerField()),
                ("decided_name", models.CharField(blank=True, default="", max_length=150)),
                ("decided_at", models.BigIntegerField(blank=True, null=True)),
                (
                    "decision",
                    models.CharField(
                        blank=True, default="", help_text="why it was decided so", max_length=500
                    ),
                ),
                (
                    "asked_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "waiting")),
                        fields=["expires_at"],
                        name="staff_approval_waiting",
                    ),
                    models.Index(fields=["-asked_at"], name="staff_approval_newest"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "waiting")),
                        fields=("kind", "subject"),
                        name="staff_approval_one_waiting",
                    )
                ],
            },
        ),
    ]
