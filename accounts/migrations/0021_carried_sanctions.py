"""What outlives an account of its sanctions."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0020_sms_traffic"),
    ]

    operations = [
        migrations.CreateModel(
            name="CarriedSanction",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.BinaryField(max_length=32)),
                ("sanction", models.UUIDField(unique=True)),
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
                ("reason", models.CharField(max_length=64)),
                ("imposed_at", models.BigIntegerField()),
                ("imposed_by", models.CharField(max_length=150)),
                ("step", models.PositiveSmallIntegerField(null=True)),
                ("until", models.BigIntegerField(null=True)),
                ("kept_until", models.BigIntegerField(db_index=True)),
            ],
            options={
                "default_permissions": ("view",),
                "indexes": [models.Index(fields=["number"], name="accounts_carried_number")],
            },
        ),
    ]
