"""Who has a user in the address book is read in batches by owner; the index takes the place of that of the user alone.

Built beside the traffic: address books are a large table.
"""

import django.db.models.deletion
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("accounts", "0009_pin_and_numbers"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="contact",
            index=models.Index(fields=["user", "owner"], name="accounts_contact_of"),
        ),
        # AlterField would check the foreign key anew, and keep address books waiting for it.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "DROP INDEX CONCURRENTLY IF EXISTS accounts_contact_user_id_e56c2696",
                    "CREATE INDEX CONCURRENTLY accounts_contact_user_id_e56c2696 ON accounts_contact (user_id)",
                ),
            ],
            state_operations=[
                migrations.AlterField(
                    model_name="contact",
                    name="user",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.account",
                    ),
                ),
            ],
        ),
    ]
