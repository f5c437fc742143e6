"""Accounts that ended are looked for every few minutes. Built beside the traffic."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("accounts", "0010_contacts_of_a_user"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="account",
            index=models.Index(
                condition=models.Q(("retired_at__isnull", False)),
                fields=["retired_at"],
                name="accounts_account_retired",
            ),
        ),
    ]
