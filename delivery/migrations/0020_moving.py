"""A log that moves to another store: where it is on its way, what was copied, and the function behind the fence that holds off
whoever still writes here (``delivery/store/moving.py``)."""

from __future__ import annotations

from django.db import migrations, models

# 55M01 is of the class that psycopg calls OperationalError: a store that meets it says ``unavailable``.
AWAY = """
CREATE FUNCTION delivery_moved_away() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is not written here: it moves, or has moved, to another store' USING ERRCODE = '55M01';
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("delivery", "0019_view_once")]

    operations = [
        migrations.CreateModel(
            name="Move",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("state", models.TextField(help_text="copying, fenced, compared, moved or final")),
                ("began_at", models.BigIntegerField(db_default=0)),
                ("fenced_at", models.BigIntegerField(db_default=0, help_text="nobody writes here since")),
                ("moved_at", models.BigIntegerField(db_default=0)),
            ],
            options={"db_table": "delivery_move"},
        ),
        migrations.CreateModel(
            name="MovedCopy",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "kind", "key", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("kind", models.TextField(help_text="conversation, device or flags")),
                ("key", models.UUIDField()),
                (
                    "prints",
                    models.JSONField(help_text="of what was copied: of the log of a conversation by bucket"),
                ),
                ("compared", models.BooleanField(db_default=False, help_text="and read back since")),
            ],
            options={"db_table": "delivery_moved_copy"},
        ),
        migrations.RunSQL(AWAY, reverse_sql="DROP FUNCTION delivery_moved_away() CASCADE"),
    ]
