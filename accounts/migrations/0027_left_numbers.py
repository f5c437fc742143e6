"""Sanctions follow to numbers that their account has left.

A new column with a constant default: no table is rewritten, and older processes go on writing rows without it. One sanction may
be kept for several numbers; older processes keep it for the last one.
"""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0026_sanctions_of_two"),
    ]

    operations = [
        migrations.CreateModel(
            name="LeftNumber",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("sealed", models.BinaryField(max_length=64)),
                ("left_at", models.BigIntegerField(db_index=True)),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.account"
                    ),
                ),
            ],
            options={"default_permissions": ("view",)},
        ),
        migrations.AddField(
            model_name="sanction",
            name="follows",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
        # By its name, which PostgreSQL gave it: to look for it takes a database, and what locks a migration takes is read without.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "ALTER TABLE accounts_carriedsanction DROP CONSTRAINT accounts_carriedsanction_sanction_key",
                    "ALTER TABLE accounts_carriedsanction ADD CONSTRAINT accounts_carriedsanction_sanction_key UNIQUE (sanction)",
                )
            ],
            state_operations=[
                migrations.AlterField(
                    model_name="carriedsanction",
                    name="sanction",
                    field=models.UUIDField(),
                ),
            ],
        ),
    ]
