"""What the staff side stands on: limits of one account or class, sanctions, reports and cases, accounts on their way out."""

import django.db.models.deletion
from django.db import migrations, models

import accounts.models.account


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0011_ended_accounts"),
    ]

    operations = [
        migrations.AddField(
            model_name="account",
            name="limit_class",
            field=models.CharField(blank=True, db_default="", default="", max_length=32),
        ),
        migrations.CreateModel(
            name="Case",
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
                (
                    "subject_kind",
                    models.CharField(
                        choices=[("user", "User"), ("group", "Group"), ("media", "Media")], max_length=8
                    ),
                ),
                ("subject", models.UUIDField()),
                ("priority", models.IntegerField(default=0)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "Open"),
                            ("claimed", "Claimed"),
                            ("waiting", "Waiting"),
                            ("closed", "Closed"),
                        ],
                        default="open",
                        max_length=8,
                    ),
                ),
                ("category", models.CharField(help_text="the gravest that was reported", max_length=32)),
                ("report_count", models.PositiveIntegerField(default=0)),
                (
                    "flagged_at",
                    models.BigIntegerField(blank=True, help_text="ten reports within 24 hours", null=True),
                ),
                ("opened_at", models.BigIntegerField()),
                ("due_at", models.BigIntegerField(help_text="when it should be decided")),
                ("claimed_by", models.CharField(blank=True, default="", max_length=150)),
                ("claimed_at", models.BigIntegerField(blank=True, null=True)),
                ("closed_at", models.BigIntegerField(blank=True, null=True)),
                ("closed_by", models.CharField(blank=True, default="", max_length=150)),
                ("outcome", models.CharField(blank=True, default="", max_length=32)),
                ("outcome_reason", models.CharField(blank=True, default="", max_length=500)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "closed"), _negated=True),
                        fields=["-priority", "due_at", "id"],
                        name="accounts_case_queue",
                    ),
                    models.Index(fields=["subject", "-opened_at"], name="accounts_case_subject"),
                    models.Index(fields=["-closed_at"], name="accounts_case_closed"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "closed"), _negated=True),
                        fields=("subject_kind", "subject"),
                        name="accounts_case_one_open",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Erasure",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("user", models.UUIDField(unique=True)),
                ("user_hash", models.BinaryField(max_length=32, unique=True)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("soft", "Soft"),
                            ("erasing", "Erasing"),
                            ("verifying", "Verifying"),
                            ("held", "Held"),
                            ("done", "Done"),
                        ],
                        default="soft",
                        max_length=16,
                    ),
                ),
                ("asked_at", models.BigIntegerField()),
                ("erase_at", models.BigIntegerField(help_text="when the data begins to go, ms")),
                ("due_at", models.BigIntegerField(help_text="when all of it must be gone, ms")),
                ("stores", models.JSONField(default=dict)),
                ("identifiers", models.BinaryField(null=True)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("next_at", models.BigIntegerField(help_text="when somebody looks at it again, ms")),
                (
                    "error",
                    models.CharField(
                        blank=True, default="", help_text="class of the last error", max_length=200
                    ),
                ),
                ("finished_at", models.BigIntegerField(blank=True, null=True)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "done"), _negated=True),
                        fields=["next_at"],
                        name="accounts_erasure_next",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="LimitOverride",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("scope", models.CharField(choices=[("user", "User"), ("class", "Class")], max_length=8)),
                (
                    "subject",
                    models.CharField(help_text="the id of an account, or the name of a class", max_length=36),
                ),
                ("name", models.CharField(help_text="the limit", max_length=64)),
                ("value", models.BigIntegerField()),
                ("until", models.BigIntegerField(blank=True, help_text="ms; empty: for good", null=True)),
                ("reason", models.CharField(max_length=500)),
                ("made_by", models.CharField(help_text="who of the staff, or 'automatic'", max_length=150)),
                ("created_at", models.BigIntegerField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("scope", "subject", "name"), name="accounts_limit_override_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Report",
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
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("user", "User"),
                            ("message", "Message"),
                            ("group", "Group"),
                            ("media", "Media"),
                        ],
                        max_length=8,
                    ),
                ),
                ("category", models.CharField(max_length=32)),
                ("note", models.CharField(blank=True, default="", max_length=2000)),
                ("reporter", models.UUIDField(help_text="empty: the account was erased", null=True)),
                ("reported", models.UUIDField(help_text="the account; empty for a group", null=True)),
                ("conversation", models.UUIDField(null=True)),
                ("media", models.UUIDField(null=True)),
                ("created_at", models.BigIntegerField()),
                (
                    "case",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="reports",
                        to="accounts.case",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ReportedMessage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("position", models.PositiveSmallIntegerField()),
                ("message_id", models.UUIDField()),
                ("sender", models.UUIDField()),
                ("sent_at", models.BigIntegerField(help_text="the server's time, ms")),
                ("kind", models.CharField(default="text", max_length=32)),
                ("content", models.BinaryField(max_length=65536)),
                ("media", models.UUIDField(null=True)),
                (
                    "verdict",
                    models.CharField(
                        choices=[
                            ("verified", "Verified"),
                            ("forged", "Forged"),
                            ("unverifiable", "Unverifiable"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "report",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="messages",
                        to="accounts.report",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Sanction",
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
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("slow_down", "Slow Down"),
                            ("limit", "Limit"),
                            ("suspension", "Suspension"),
                            ("permanent", "Permanent"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "reason",
                    models.CharField(
                        help_text="a code: the trigger, or a category of reports", max_length=64
                    ),
                ),
                ("evidence", models.JSONField(default=dict)),
                ("imposed_at", models.BigIntegerField()),
                (
                    "imposed_by",
                    models.CharField(help_text="who of the staff, or 'automatic'", max_length=150),
                ),
                ("until", models.BigIntegerField(blank=True, help_text="ms; empty: for good", null=True)),
                ("lifted_at", models.BigIntegerField(blank=True, null=True)),
                ("lifted_by", models.CharField(blank=True, default="", max_length=150)),
                ("lift_reason", models.CharField(blank=True, default="", max_length=500)),
                (
                    "appeal",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "None"),
                            ("asked", "Asked"),
                            ("upheld", "Upheld"),
                            ("granted", "Granted"),
                        ],
                        default="",
                        max_length=8,
                    ),
                ),
                ("appeal_at", models.BigIntegerField(blank=True, null=True)),
                ("appeal_text", models.CharField(blank=True, default="", max_length=2000)),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="sanctions",
                        to="accounts.account",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="report",
            index=models.Index(fields=["reported", "-created_at"], name="accounts_report_reported"),
        ),
        migrations.AddIndex(
            model_name="report",
            index=models.Index(fields=["reporter", "-created_at"], name="accounts_report_reporter"),
        ),
        migrations.AddIndex(
            model_name="report",
            index=models.Index(fields=["-created_at"], name="accounts_report_newest"),
        ),
        migrations.AddConstraint(
            model_name="reportedmessage",
            constraint=models.UniqueConstraint(
                fields=("report", "position"), name="accounts_reported_message_once"
            ),
        ),
        migrations.AddIndex(
            model_name="sanction",
            index=models.Index(fields=["account", "-imposed_at"], name="accounts_sanction_newest"),
        ),
        migrations.AddIndex(
            model_name="sanction",
            index=models.Index(
                condition=models.Q(("appeal", "asked")),
                fields=["appeal_at"],
                name="accounts_sanction_appeals",
            ),
        ),
    ]
