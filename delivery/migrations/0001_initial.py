"""The tables of the delivery engine."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="DevicePosition",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "device",
                        "conversation",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("acked", models.BigIntegerField()),
                (
                    "expired",
                    models.BigIntegerField(db_default=0, help_text="up to here events expired unread"),
                ),
                ("device", models.UUIDField()),
                ("conversation", models.UUIDField()),
            ],
            options={
                "db_table": "delivery_position",
            },
        ),
        migrations.CreateModel(
            name="DeviceSeqNum",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "device",
                        "conversation",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("last", models.BigIntegerField()),
                ("device", models.UUIDField()),
                ("conversation", models.UUIDField()),
            ],
            options={
                "db_table": "delivery_seqnum",
            },
        ),
        migrations.CreateModel(
            name="Direct",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "low", "high", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("low", models.UUIDField()),
                ("high", models.UUIDField()),
                ("conversation", models.UUIDField()),
            ],
            options={
                "db_table": "delivery_direct",
            },
        ),
        migrations.CreateModel(
            name="MemberReceipt",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "conversation",
                        "member",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("delivered", models.BigIntegerField(db_default=0)),
                ("read", models.BigIntegerField(db_default=0)),
                (
                    "sent",
                    models.BigIntegerField(
                        db_default=0, help_text="highest own seq; counts as read for oneself only"
                    ),
                ),
                (
                    "changed_at",
                    models.BigIntegerField(db_default=0, help_text="when delivered or read last moved"),
                ),
                ("conversation", models.UUIDField()),
                ("member", models.UUIDField()),
            ],
            options={
                "db_table": "delivery_receipt",
            },
        ),
        migrations.CreateModel(
            name="Outbox",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "writer", "row", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("row", models.BigIntegerField(help_text="identity, given by the database")),
                ("at", models.BigIntegerField()),
                ("writer", models.UUIDField()),
                (
                    "conversations",
                    django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), size=None),
                ),
                (
                    "seqs",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(),
                        help_text="highest seq of each conversation in this batch",
                        size=None,
                    ),
                ),
            ],
            options={
                "db_table": "delivery_outbox",
            },
        ),
        migrations.CreateModel(
            name="Progress",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "writer", "epoch", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("row", models.BigIntegerField()),
                ("at", models.BigIntegerField()),
                ("writer", models.UUIDField()),
                ("epoch", models.TextField()),
            ],
            options={
                "db_table": "delivery_progress",
            },
        ),
        migrations.CreateModel(
            name="Device",
            fields=[
                ("device", models.UUIDField(primary_key=True, serialize=False)),
                ("member", models.UUIDField()),
                ("linked_at", models.BigIntegerField()),
            ],
            options={
                "db_table": "delivery_device",
                "indexes": [models.Index(fields=["member"], name="delivery_device_by_user")],
            },
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "conversation", "seq", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("seq", models.BigIntegerField()),
                (
                    "ordinal",
                    models.BigIntegerField(
                        help_text="messages, not other events, up to and including this row"
                    ),
                ),
                ("at", models.BigIntegerField(help_text="server time of the append")),
                ("sent_at", models.BigIntegerField(help_text="the client's clock")),
                (
                    "seq_num",
                    models.BigIntegerField(
                        help_text="the sending device's own count, 0 if it does not count"
                    ),
                ),
                ("conversation", models.UUIDField()),
                ("sender", models.UUIDField()),
                ("device", models.UUIDField()),
                ("message_id", models.UUIDField()),
                ("kind", models.TextField()),
                (
                    "body_hash",
                    models.BinaryField(
                        help_text="16 bytes; outlives the content, so that a retry is still recognised"
                    ),
                ),
                ("content", models.BinaryField(null=True)),
                ("extra", models.BinaryField(null=True)),
                ("envelopes", models.BinaryField(null=True)),
            ],
            options={
                "db_table": "delivery_event",
                "constraints": [
                    models.UniqueConstraint(fields=("message_id", "sender"), name="delivery_event_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="Head",
            fields=[
                ("conversation", models.UUIDField(primary_key=True, serialize=False)),
                ("head", models.BigIntegerField(db_default=0, help_text="seq of the last event")),
                ("ordinal", models.BigIntegerField(db_default=0, help_text="messages up to head")),
                (
                    "floor",
                    models.BigIntegerField(db_default=0, help_text="everything up to here has expired"),
                ),
                ("floor_ordinal", models.BigIntegerField(db_default=0, help_text="messages up to floor")),
                (
                    "oldest_at",
                    models.BigIntegerField(
                        help_text="time of the event above floor; null when there is none", null=True
                    ),
                ),
                ("created_at", models.BigIntegerField()),
                ("kind", models.TextField(help_text="direct or group")),
            ],
            options={
                "db_table": "delivery_head",
                "indexes": [
                    models.Index(
                        condition=models.Q(("oldest_at__isnull", False)),
                        fields=["oldest_at"],
                        name="delivery_head_oldest",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Member",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "conversation",
                        "member",
                        "joined_seq",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("joined_seq", models.BigIntegerField()),
                ("left_seq", models.BigIntegerField(db_default=0)),
                ("conversation", models.UUIDField()),
                ("member", models.UUIDField()),
            ],
            options={
                "db_table": "delivery_member",
                "indexes": [models.Index(fields=["member", "conversation"], name="delivery_member_by_user")],
            },
        ),
    ]
