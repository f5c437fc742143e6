"""Changes of Django code that a store outside this database is still to be told of: ``delivery/store/pending.py``."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("delivery", "0017_until_of_old")]

    operations = [
        migrations.CreateModel(
            name="Pending",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "subject",
                    models.UUIDField(
                        help_text="a conversation or a user: what is about one is carried out in order"
                    ),
                ),
                ("due_at", models.BigIntegerField(help_text="from then on the sweep carries it out")),
                ("tries", models.IntegerField(db_default=0)),
                (
                    "pair",
                    models.TextField(
                        help_text="of two users whose conversation it opens", null=True, unique=True
                    ),
                ),
                ("operation", models.BinaryField(help_text="msgpack")),
            ],
            options={
                "db_table": "delivery_pending",
                "indexes": [
                    models.Index(fields=["subject", "id"], name="delivery_pending_subject"),
                    models.Index(fields=["due_at"], name="delivery_pending_due"),
                ],
            },
        ),
    ]
