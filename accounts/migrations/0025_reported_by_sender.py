"""Copies of what somebody wrote are found by who wrote it, when that one is erased; the index is built beside the traffic."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Adding an index concurrently cannot be done in a transaction.
    atomic = False

    dependencies = [
        ("accounts", "0024_lists_of_staff"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="reportedmessage",
            index=models.Index(fields=["sender"], name="accounts_reported_sender"),
        ),
    ]
