"""Legal holds, consents, and exports for authorities."""

import django.db.models.deletion
from django.db import migrations, models

import accounts.models.account


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0018_moderation_queue"),
    ]

    operations = [
        migrations.CreateModel(
            name="LawfulRequest",
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
                ("authority", models.CharField(max_length=200)),
                ("reference", models.CharField(help_text="of the authority", max_length=100)),
                ("legal_basis", models.CharField(max_length=300)),
                ("users", models.JSONField(default=list, help_text="ids of accounts")),
                ("since", models.BigIntegerField(help_text="ms")),
                ("until", models.BigIntegerField(help_text="ms")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("asked", "Asked"),
                            ("refused", "Refused"),
                            ("building", "Building"),
                            ("ready", "Ready"),
                            ("fetched", "Fetched"),
                            ("expired", "Expired"),
                        ],
                        default="asked",
                        max_length=8,
                    ),
                ),
                ("asked_by", models.CharField(max_length=150)),
                ("asked_at", models.BigIntegerField()),
                ("approved_by", models.CharField(blank=True, default="", max_length=150)),
                ("approved_at", models.BigIntegerField(blank=True, null=True)),
                ("leased_until", models.BigIntegerField(default=0)),
                ("worker", models.UUIDField(null=True)),
                ("ready_at", models.BigIntegerField(blank=True, null=True)),
                ("size", models.BigIntegerField(default=0)),
                ("sha256", models.CharField(blank=True, default="", max_length=64)),
                (
                    "expires_at",
                    models.BigIntegerField(
                        blank=True, help_text="from then on the file is gone, ms", null=True
                    ),
                ),
                ("fetched_at", models.BigIntegerField(blank=True, null=True)),
                ("fetched_by", models.CharField(blank=True, default="", max_length=150)),
            ],
            options={
                "permissions": [
                    ("ask_lawfulrequest", "Ask for exports for authorities, and fetch them"),
                    ("approve_lawfulrequest", "Approve exports for authorities"),
                ],
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("expires_at__isnull", False)),
                        fields=["expires_at"],
                        name="accounts_lawful_expiry",
                    ),
                    models.Index(
                        condition=models.Q(("state", "building")),
                        fields=["leased_until"],
                        name="accounts_lawful_building",
                    ),
                    models.Index(fields=["asked_at"], name="accounts_lawful_asked"),
                ],
            },
        ),
        migrations.CreateModel(
            name="LegalHold",
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
                ("user", models.UUIDField(help_text="id of the account")),
                ("matter", models.CharField(help_text="reference of who wants it; no names", max_length=100)),
                ("placed_at", models.BigIntegerField(help_text="ms")),
                ("placed_by", models.CharField(help_text="who of the staff", max_length=150)),
                (
                    "review_at",
                    models.BigIntegerField(help_text="by then somebody asks whether it is needed still, ms"),
                ),
                ("released_at", models.BigIntegerField(blank=True, null=True)),
                ("released_by", models.CharField(blank=True, default="", max_length=150)),
                ("release_reason", models.CharField(blank=True, default="", max_length=500)),
            ],
            options={
                "permissions": [
                    ("place_hold", "Place legal holds, and ask for their end"),
                    ("release_hold", "Approve the end of legal holds"),
                ],
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("released_at__isnull", True)),
                        fields=["review_at"],
                        name="accounts_legalhold_review",
                    ),
                    models.Index(
                        condition=models.Q(("released_at__isnull", False)),
                        fields=["released_at"],
                        name="accounts_legalhold_over",
                    ),
                    models.Index(fields=["user"], name="accounts_legalhold_user"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("released_at__isnull", True)),
                        fields=("user", "matter"),
                        name="accounts_legalhold_once",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Consent",
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
                ("document", models.CharField(help_text="terms, or a purpose", max_length=32)),
                ("version", models.CharField(max_length=64)),
                ("given_at", models.BigIntegerField()),
                ("withdrawn_at", models.BigIntegerField(blank=True, null=True)),
                ("device", models.UUIDField(help_text="with which it was given", null=True)),
                ("withdrawn_with", models.UUIDField(null=True)),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="consents",
                        to="accounts.account",
                    ),
                ),
            ],
            options={
                "default_permissions": ("view",),
                "indexes": [models.Index(fields=["account", "-given_at"], name="accounts_consent_newest")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("withdrawn_at__isnull", True)),
                        fields=("account", "document", "version"),
                        name="accounts_consent_once",
                    )
                ],
            },
        ),
    ]
