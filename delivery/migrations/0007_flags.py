"""What a user sets for a conversation: mute, pin, archive, draft."""

from __future__ import annotations

from django.db import migrations, models

# Drafts are encrypted by the client: compressing them costs time and gains nothing.
_STORAGE = "ALTER TABLE delivery_flags ALTER COLUMN draft SET STORAGE EXTERNAL"


class Migration(migrations.Migration):
    dependencies = [("delivery", "0006_speakers")]

    operations = [
        migrations.CreateModel(
            name="ConversationFlags",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "member",
                        "conversation",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("muted_until", models.BigIntegerField(help_text="0: not muted")),
                ("changed_at", models.BigIntegerField()),
                ("version", models.BigIntegerField(help_text="how often it was changed")),
                ("member", models.UUIDField()),
                ("conversation", models.UUIDField()),
                ("pinned", models.BooleanField()),
                ("archived", models.BooleanField()),
                ("draft", models.BinaryField(help_text="encrypted by the client", null=True)),
            ],
            options={"db_table": "delivery_flags"},
        ),
        migrations.RunSQL(_STORAGE, reverse_sql=migrations.RunSQL.noop),
    ]
